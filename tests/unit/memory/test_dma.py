"""Guest memory as a device sees it."""

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
