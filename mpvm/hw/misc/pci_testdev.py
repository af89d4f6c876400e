"""QEMU's `pci-testdev`: counts a guest's writes to memory and to ports (QEMU's docs/specs/pci-testdev.txt).

A guest selects a test by a byte at offset 0 of either BAR, reads from its header where to write what, writes,
and reads how many of the writes have been counted.
"""

import struct
from typing import Any, Final, NamedTuple

from mpvm.hw.pci.bar import Bar
from mpvm.hw.pci.function import PciFunction, header
from mpvm.memory.region import Region
from mpvm.qom import properties
from mpvm.qom.type_info import register_type

VENDOR_REDHAT: Final = 0x1B36
DEVICE_TEST: Final = 0x0005
CLASS_OTHER: Final = 0x00FF00

# Half of each BAR is for the header, half for what is written to.
MEMORY_HALF: Final = 2048
PORTS_HALF: Final = 128
_MEMORY, _PORTS = range(2)
_NONE: Final = -1

# test, width, two bytes of padding, offset, data, three bytes of padding, count; the name follows.
_HEADER: Final = struct.Struct("<BBxxIBxxxI")
_WIDTH: Final = 1
_MATCH_DATA: Final = 0xFA
_ANY_DATA: Final = 0xCE


class IoTest(NamedTuple):
    """A test: writes of a byte at `offset` count, those of `data` alone or (`wildcard`) of any.

    With an `eventfd`, an access of exactly one byte that would count is signalled there instead: whoever does
    so does not ask the device, which does not count it.
    """

    number: int
    space: int
    name: str
    offset: int
    wildcard: bool
    eventfd: bool

    @property
    def data(self) -> int:
        """What is to be written."""
        return _ANY_DATA if self.wildcard else _MATCH_DATA

    def header(self, count: int) -> bytes:
        """The test as the guest reads it."""
        packed = _HEADER.pack(self.number, _WIDTH, self.offset, self.data, count)
        return packed + self.name.encode("ascii") + b"\0"

    def counts(self, offset: int, value: int) -> bool:
        """Whether a byte `value` at `offset` does."""
        return offset == self.offset and (self.wildcard or value == self.data)


_KINDS: Final = ("no-eventfd", "wildcard-eventfd", "datamatch-eventfd")
TESTS: Final = tuple(
    IoTest(
        number=number,
        space=number // len(_KINDS),
        name=f"{space}-{kind}",
        offset=half + number * _WIDTH,
        wildcard=kind.startswith("wildcard"),
        eventfd=kind != "no-eventfd",
    )
    for number, (space, half, kind) in enumerate(
        (space, half, kind)
        for space, half in (("mmio", MEMORY_HALF), ("portio", PORTS_HALF))
        for kind in _KINDS
    )
)


@register_type("pci-testdev", description="PCI Test Device")
class PciTestdev(PciFunction):
    """BAR 0 is memory, BAR 1 ports; each offers its half of `TESTS`. BAR 2 is `membar` bytes of nothing.

    Its registers are bytes: a wider access is made of byte accesses, and one that is not at a multiple of its
    width is none.
    """

    user_creatable = True

    membar = properties.size(0, "bytes of a third BAR, 64-bit memory")

    def realize(self) -> None:
        """Lay out configuration space and both BARs; no test is selected."""
        self._selected = _NONE
        self._counts = [0] * len(TESTS)
        bars = [
            Bar(0, 2 * MEMORY_HALF, self._region("pci-testdev-mmio", _MEMORY, 2 * MEMORY_HALF)),
            Bar(1, 2 * PORTS_HALF, self._region("pci-testdev-portio", _PORTS, 2 * PORTS_HALF), io=True),
        ]
        if self.membar:
            bars.append(Bar(2, self.membar, None, is_64_bit=True, prefetchable=True))
        self.set_registers(header(VENDOR_REDHAT, DEVICE_TEST, CLASS_OTHER), bars)

    def _region(self, name: str, space: int, size: int) -> Region:
        return Region(
            name,
            size,
            self._read,
            lambda offset, width, value: self._write(space, offset, width, value),
        )

    def reset_enter(self) -> None:
        """No test is selected; counts stay until theirs is."""
        super().reset_enter()
        self._selected = _NONE

    def _read(self, offset: int, size: int) -> int:
        if self._selected == _NONE or offset % size:
            return 0
        data = TESTS[self._selected].header(self._counts[self._selected])
        return int.from_bytes(data[offset : offset + size].ljust(size, b"\0"), "little")

    def _write(self, space: int, offset: int, size: int, value: int) -> None:
        if offset % size:
            return
        if size == _WIDTH and self._is_signalled(space, offset, value):
            return
        for i in range(size):
            self._write_byte(space, offset + i, value >> 8 * i & 0xFF)

    def _is_signalled(self, space: int, offset: int, value: int) -> bool:
        if self._selected == _NONE:
            return False
        test = TESTS[self._selected]
        return test.eventfd and test.space == space and test.counts(offset, value)

    def _write_byte(self, space: int, offset: int, value: int) -> None:
        if offset == 0:
            self._select(space, value)
        elif self._selected != _NONE and TESTS[self._selected].counts(offset, value):
            self._counts[self._selected] += 1

    def _select(self, space: int, kind: int) -> None:
        self._selected = _NONE
        if kind < len(_KINDS):
            self._selected = space * len(_KINDS) + kind
            self._counts[self._selected] = 0

    def state(self) -> dict[str, Any]:
        """Configuration space, the test and the counts."""
        return {**super().state(), "selected": self._selected, "counts": list(self._counts)}

    def load(self, state: dict[str, Any]) -> None:
        """Take over `state`."""
        super().load(state)
        self._selected = state["selected"]
        self._counts = list(state["counts"])
