"""Backends of chardevs that do I/O: the terminal, files. They live in the coordinator's event loop."""
