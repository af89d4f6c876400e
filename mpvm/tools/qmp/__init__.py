"""The QEMU Machine Protocol: JSON over a Unix socket, for programs that look at a running VM.

Nothing of it is imported before the first client connects (`mpvm.coordinator.monitor`). A command is a
decorated function in a file of `commands`; nothing else has to know of it.
"""
