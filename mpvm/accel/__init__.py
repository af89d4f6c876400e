"""Accelerators: what runs guest code. Importing the package registers them all."""

from mpvm.accel import kvm, unicorn
from mpvm.accel.base import ACCEL_SUFFIX, Accelerator, accelerator, accelerator_classes

__all__ = ["ACCEL_SUFFIX", "Accelerator", "accelerator", "accelerator_classes", "kvm", "unicorn"]
