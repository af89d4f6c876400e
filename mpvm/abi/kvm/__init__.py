"""The kernel's KVM interface: numbers, layouts and thin handles over `/dev/kvm`, a VM and a vCPU.

Documentation/virt/kvm/api.rst of the kernel is the reference; names are its own without the prefix KVM.
A handle does what the ioctl of its name does, and raises `OSError` with the kernel's errno. Imported only by
what uses KVM.
"""
