"""mpvm: an x86 SMP virtual machine whose every vCPU is an operating-system process."""

__version__ = "0.1.0"
