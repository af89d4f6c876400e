"""Categories of the log, as both sides know them (QEMU's include/qemu/log.h)."""

from enum import IntFlag


class LogItem(IntFlag):
    """What `mpvm run -d` may ask for."""

    GUEST_ERRORS = 1
