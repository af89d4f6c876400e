"""Accelerators: what runs guest code. Importing the package registers them all."""

from mpvm.accel import kvm, unicorn
from mpvm.accel.base import ACCELERATORS, Accelerator, accelerator

__all__ = ["ACCELERATORS", "Accelerator", "accelerator", "kvm", "unicorn"]
