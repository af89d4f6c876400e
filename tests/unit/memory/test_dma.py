"""Guest memory as a device sees it."""

from collections.abc import Callable

import pytest

from mpvm.memory.dma import DmaMemory
from mpvm.memory.ram import GuestRam, ram_slots

MEMORY = 2 << 20
VGA = 0xA0000


class Block:
    """The RAM block, and who stores into it."""

    def __init__(self) -> None:
        self.stores: list[tuple[int, bytes]] = []
        self.ram = GuestRam(memoryview(bytearray(MEMORY)), ram_slots(MEMORY))
        self.dma = DmaMemory(self.ram, lambda offset, data: self.stores.append((offset, data)))


def test_a_load_reads_ram() -> None:
    block = Block()
    block.ram.write(0x1000, b"data")
    assert block.dma.read(0x0FFF, 6) == b"\0data\0"


def test_a_store_is_made_by_who_keeps_translated_code_right() -> None:
    block = Block()
    assert block.dma.write(0x1000, b"data")
    assert block.stores == [(0x1000, b"data")]
    assert block.ram.read(0x1000, 4) == bytes(4)


@pytest.mark.parametrize("gpa", [VGA, VGA - 1, MEMORY - 1, MEMORY, 1 << 63, (1 << 64) - 1])
def test_what_is_not_ram_all_of_it_neither_loads_nor_stores(gpa: int) -> None:
    block = Block()
    assert block.dma.read(gpa, 2) is None
    assert not block.dma.write(gpa, b"ab")
    assert block.stores == []


def test_what_is_not_ram_is_a_guest_error(logged: Callable[[], list[str]]) -> None:
    block = Block()
    block.dma.write(0, b"inside")
    block.dma.read(0, 8)
    assert logged() == []
    block.dma.write(MEMORY - 2, b"four")
    block.dma.read(1 << 40, 8)
    assert logged() == [
        "guest_errors: DMA: a write of 4 bytes at 0x1ffffe, which is no RAM",
        "guest_errors: DMA: a read of 8 bytes at 0x10000000000, which is no RAM",
    ]
