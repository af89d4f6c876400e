"""Categories of the log, as both sides know them (QEMU's include/qemu/log.h)."""

from enum import IntFlag


class LogItem(IntFlag):
    """What `mpvm run -d` may ask for. `INT` and `CPU_RESET` are logged by the workers."""

    INT = 1
    CPU_RESET = 2
    GUEST_ERRORS = 4
    UNIMP = 8


WORKERS = LogItem.INT | LogItem.CPU_RESET
