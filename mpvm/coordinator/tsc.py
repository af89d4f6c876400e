"""The host's TSC frequency, which guests read from CPUID.

Linux does not tell it everywhere, so it is measured against CLOCK_MONOTONIC, the clock that the guest's
timers run by: from the import of this module to the first `frequency_khz`, a time in which there is
enough else to do.
"""

import ctypes
import mmap
import time
from collections.abc import Callable
from typing import Final

from mpvm.abi.errors import StartError
from mpvm.hw.clock import NS_PER_SECOND

# lfence; rdtsc; shl rdx, 32; or rax, rdx; ret
_CODE: Final = bytes.fromhex("0fae e8 0f31 48c1e220 4809d0 c3".replace(" ", ""))
_TRIES: Final = 5
# Samples are good to about 0.2 us: 20 ms make that 10 ppm.
_SHORTEST_NS: Final = 20_000_000


def _reader() -> Callable[[], int] | None:
    """A function that reads the TSC; None where the system does not let a process make code."""
    try:
        page = mmap.mmap(-1, len(_CODE), prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    except OSError:
        return None
    page.write(_CODE)
    function = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(ctypes.c_char.from_buffer(page)))

    # The page lives as long as the function that refers to it.
    def read(_page: mmap.mmap = page) -> int:
        return int(function())

    return read


def _sample(read: Callable[[], int]) -> tuple[int, int]:
    """CLOCK_MONOTONIC in ns and the TSC at the same time: of a few tries, the one least disturbed."""
    tries = []
    for _ in range(_TRIES):
        before = time.monotonic_ns()
        ticks = read()
        after = time.monotonic_ns()
        tries.append((after - before, (before + after) // 2, ticks))
    _, now, ticks = min(tries)
    return now, ticks


class TscMeter:
    """Measures from its construction on."""

    def __init__(self) -> None:
        self._read = _reader()
        self._start = _sample(self._read) if self._read is not None else (0, 0)

    def frequency_khz(self) -> int:
        """The TSC's frequency. Raises `StartError` where a process may not make code, as an engine does."""
        if self._read is None:
            raise StartError(
                "this system does not let a process map memory that is writable and executable, "
                "which the engine needs; a policy that allows it (SELinux: execmem) is right"
            )
        now, ticks = _sample(self._read)
        if (short := self._start[0] + _SHORTEST_NS - now) > 0:
            time.sleep(short / NS_PER_SECOND)
            now, ticks = _sample(self._read)
        hz = (ticks - self._start[1]) * NS_PER_SECOND // (now - self._start[0])
        return (hz + 500) // 1000


METER: Final = TscMeter()
