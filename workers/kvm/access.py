"""An I/O or MMIO exit of KVM as the accesses that the machine sees, in order.

A string instruction's exit is many accesses to one port; an MMIO exit may have a size that no bus knows.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from mpvm.abi.exits import ExitReason
from mpvm.abi.kvm import structs

_MMIO_DATA: Final = structs.Run.exit.offset + structs.RunMmio.data.offset


class Access(NamedTuple):
    """One access in the `IoDirection`; its data are `size` bytes at `place` of the vCPU's mapping."""

    reason: ExitReason
    direction: int
    address: int
    size: int
    place: int


def of_port(run: structs.Run) -> Iterator[Access]:
    """What a KVM_EXIT_IO is about."""
    io = run.io
    for index in range(io.count):
        yield Access(ExitReason.IO, io.direction, io.port, io.size, io.data_offset + index * io.size)


def of_memory(run: structs.Run) -> Iterator[Access]:
    """What a KVM_EXIT_MMIO is about: sizes are powers of two."""
    mmio = run.mmio
    done = 0
    while done < mmio.len:
        size = 1 << (mmio.len - done).bit_length() - 1
        yield Access(ExitReason.MMIO, mmio.is_write, mmio.phys_addr + done, size, _MMIO_DATA + done)
        done += size
