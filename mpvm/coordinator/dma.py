"""Devices' stores to guest RAM, by the machine's part in the coherence protocol (docs/coherence.md).

That part needs atomic instructions, so it is in the engine core (``workers/engine/dma.c``), which is opened
here without an engine behind it, at the first store of a run.
"""

import ctypes
import functools
from collections.abc import Callable, Sequence
from typing import Any, Final

from mpvm.abi.core import open_core
from mpvm.abi.errors import WorkerError
from mpvm.abi.layout import VcpuArea, VcpuMode
from mpvm.hw.clock import NS_PER_SECOND

# How often a wait for vCPUs is broken off for a look whether their processes are there.
_LOOK_NS: Final = 100_000_000


@functools.cache
def _dma_write() -> Callable[..., int]:
    function = open_core().engine_dma_write
    block, u64 = ctypes.c_void_p, ctypes.c_uint64
    function.argtypes = [block, block, u64, ctypes.c_char_p, u64, u64]
    function.restype = u64
    return function


class DmaEngine:
    """Stores into the RAM block `ram` of the VM whose VM block is `vm`, in one order with its translations.

    `alive` says whether every worker's process is there: one that has died does not answer. One that is there
    and silent for `limit_seconds` is an error.
    """

    def __init__(
        self,
        vm: memoryview,
        ram: memoryview,
        areas: Sequence[VcpuArea],
        alive: Callable[[], bool],
        limit_seconds: float,
    ) -> None:
        # These keep both blocks from being unmapped, as the views do.
        self._anchors: list[Any] = [ctypes.c_char.from_buffer(block) for block in (vm, ram)]
        self._ram = ram
        self._areas = areas
        self._alive = alive
        self._limit_ns = int(limit_seconds * NS_PER_SECOND)

    def store(self, offset: int, data: bytes) -> None:
        """Store `data` at `offset` of the RAM block; on return no vCPU runs what was there before.

        Raises `WorkerError` when a vCPU does not let go of its translations in time.
        """
        write, (vm, ram) = _dma_write(), map(ctypes.addressof, self._anchors)
        waited_ns = 0
        while (done := write(vm, ram, offset, data, len(data), _LOOK_NS)) < len(data):
            offset, data = offset + done, data[done:]
            waited_ns = 0 if done else waited_ns + _LOOK_NS
            if not self._alive():
                # The run is over, and nobody's translations matter any more.
                self._ram[offset : offset + len(data)] = data
                return
            if waited_ns >= self._limit_ns:
                raise self._silence()

    def _silence(self) -> WorkerError:
        running = [str(area.index) for area in self._areas if area.mode == VcpuMode.IN_GUEST]
        return WorkerError(
            f"a device's store to guest RAM has waited {self._limit_ns / NS_PER_SECOND:g} s for a vCPU that"
            f" runs; these do: {', '.join(running) or 'none'}"
        )

    def close(self) -> None:
        """Let go of the blocks; nothing can be stored any more."""
        self._anchors.clear()
        del self._ram, self._areas
