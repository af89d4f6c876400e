"""fw_cfg after QEMU's docs/specs/fw_cfg.rst: selector, data, directory, DMA."""

import functools
import struct

import pytest

from mpvm.abi.errors import DeviceError
from mpvm.hw.nvram.fw_cfg import FwCfg, Key
from mpvm.memory.dma import DmaMemory
from mpvm.memory.ram import GuestRam, ram_slots
from mpvm.memory.region import Region
from tests.unit.hw.plug import plug

MEMORY = 4 << 20
SELECTOR, DATA, DMA_HIGH, DMA_LOW = 0x510, 0x511, 0x514, 0x518
ACCESS, BUFFER = 0x1000, 0x2000
ERROR, READ, SKIP, SELECT, WRITE = 1, 2, 4, 8, 16
FILES = {"opt/b": b"second", "etc/a": b"first of all"}


class Guest:
    """The device's ports as a guest uses them."""

    def __init__(self) -> None:
        block = memoryview(bytearray(MEMORY))
        self.ram = GuestRam(block, ram_slots(MEMORY))
        dma = DmaMemory(
            self.ram, lambda offset, data: block.__setitem__(slice(offset, offset + len(data)), data)
        )
        self.made: list[str] = []
        files = {name: functools.partial(self.make, name) for name in FILES}
        self.device = FwCfg()
        self.device.items[Key.NB_CPUS] = lambda: b"\4\0"
        self.device.files.update(files)
        plug(self.device, dma=dma)
        self.device.reset()

    def make(self, name: str) -> bytes:
        self.made.append(name)
        return FILES[name]

    def region(self, port: int) -> tuple[int, Region]:
        return next((base, r) for base, r in self.device.ports() if base <= port < base + r.size)

    def out(self, port: int, size: int, value: int) -> None:
        base, region = self.region(port)
        region.write(port - base, size, value)

    def into(self, port: int, size: int = 1) -> int:
        base, region = self.region(port)
        return int(region.read(port - base, size))

    def select(self, key: int) -> None:
        self.out(SELECTOR, 2, key)

    def read(self, size: int) -> bytes:
        return bytes(self.into(DATA) for _ in range(size))

    def dma(self, control: int, length: int = 0, address: int = BUFFER, at: int = ACCESS) -> int:
        """One DMA access; what its control field is afterwards."""
        self.ram.write(at, struct.pack(">IIQ", control, length, address))
        self.out(DMA_HIGH, 4, int.from_bytes((at >> 32).to_bytes(4, "big"), "little"))
        self.out(DMA_LOW, 4, int.from_bytes((at & 0xFFFFFFFF).to_bytes(4, "big"), "little"))
        return int.from_bytes(self.ram.read(at, 4), "big")


@pytest.fixture
def guest() -> Guest:
    return Guest()


def directory(guest: Guest) -> dict[str, tuple[int, int]]:
    """Name to size and key, as the directory has them."""
    guest.select(Key.FILE_DIR)
    count = int.from_bytes(guest.read(4), "big")
    entries = [struct.unpack(">IHH56s", guest.read(64)) for _ in range(count)]
    assert all(reserved == 0 for _, _, reserved, _ in entries)
    return {name.rstrip(b"\0").decode(): (size, key) for size, key, _, name in entries}


def test_the_signature_is_selected_after_a_reset(guest: Guest) -> None:
    assert guest.read(4) == b"QEMU"
    guest.select(Key.NB_CPUS)
    guest.device.reset()
    assert guest.read(4) == b"QEMU"


def test_the_id_says_that_there_is_dma(guest: Guest) -> None:
    guest.select(Key.ID)
    assert guest.read(4) == b"\3\0\0\0"


def test_selecting_starts_at_the_first_byte(guest: Guest) -> None:
    guest.read(2)
    guest.select(Key.SIGNATURE)
    assert guest.read(4) == b"QEMU"


def test_behind_the_end_of_an_item_are_zeros(guest: Guest) -> None:
    guest.select(Key.NB_CPUS)
    assert guest.read(5) == b"\4\0\0\0\0"


def test_a_key_without_an_item_reads_as_zeros(guest: Guest) -> None:
    guest.select(0x7F)
    assert guest.read(3) == bytes(3)


def test_the_write_channel_reads_like_the_other(guest: Guest) -> None:
    guest.select(Key.NB_CPUS | 0x4000)
    assert guest.read(2) == b"\4\0"


def test_architecture_items_are_others(guest: Guest) -> None:
    guest.select(Key.NB_CPUS | 0x8000)
    assert guest.read(2) == b"\0\0"


def test_writes_to_the_data_port_are_ignored(guest: Guest) -> None:
    guest.out(DATA, 1, 0x55)
    guest.out(SELECTOR, 1, Key.NB_CPUS)
    assert guest.read(4) == b"QEMU"


def test_both_ports_read_data_and_only_bytes_of_it(guest: Guest) -> None:
    assert guest.into(SELECTOR) == ord("Q")
    for port, size in ((SELECTOR, 2), (SELECTOR, 4), (DATA, 2), (DATA, 4)):
        assert guest.into(port, size) == 0
    assert guest.read(3) == b"EMU"


def test_what_is_between_the_ports_and_dma_is_nobodys(guest: Guest) -> None:
    assert (guest.into(0x512), guest.into(0x513, 2)) == (0xFF, 0xFFFF)


def test_the_directory_lists_files_by_name(guest: Guest) -> None:
    assert directory(guest) == {"etc/a": (12, 0x20), "opt/b": (6, 0x21)}
    for name, (size, key) in directory(guest).items():
        guest.select(key)
        assert guest.read(size) == FILES[name]


def test_an_item_is_made_when_it_is_asked_for(guest: Guest) -> None:
    guest.select(0x21)
    assert guest.made == []
    guest.read(1)
    assert set(guest.made) == {"opt/b"}


def test_the_dma_address_reads_as_a_signature(guest: Guest) -> None:
    assert bytes(guest.into(DMA_HIGH + i) for i in range(8)) == b"QEMU CFG"
    assert guest.into(DMA_LOW, 4).to_bytes(4, "little") == b" CFG"


def test_dma_reads_a_selected_item_into_memory(guest: Guest) -> None:
    assert guest.dma(0x20 << 16 | SELECT | READ, 12) == 0
    assert guest.ram.read(BUFFER - 1, 14) == b"\0first of all\0"


def test_dma_goes_on_where_the_last_access_ended(guest: Guest) -> None:
    guest.select(0x20)
    guest.read(2)
    assert guest.dma(READ, 3) == 0
    assert guest.dma(SKIP, 1) == 0
    assert guest.dma(READ, 2, BUFFER + 3) == 0
    assert guest.ram.read(BUFFER, 5) == b"rstof"
    assert guest.read(1) == b" "


def test_select_alone_selects(guest: Guest) -> None:
    assert guest.dma(0x21 << 16 | SELECT, 100) == 0
    assert guest.read(6) == b"second"


def test_dma_reads_zeros_behind_the_end(guest: Guest) -> None:
    guest.ram.write(BUFFER, b"\xff" * 16)
    assert guest.dma(Key.NB_CPUS << 16 | SELECT | READ, 6) == 0
    assert guest.ram.read(BUFFER, 7) == b"\4\0\0\0\0\0\xff"


def test_skip_ends_at_the_end(guest: Guest) -> None:
    assert guest.dma(0x21 << 16 | SELECT | SKIP, 0xFFFFFFFF) == 0
    assert guest.read(2) == bytes(2)


def test_read_is_done_when_skip_and_write_are_asked_for_too(guest: Guest) -> None:
    assert guest.dma(0x21 << 16 | SELECT | READ | SKIP | WRITE, 6) == 0
    assert guest.ram.read(BUFFER, 6) == b"second"


def test_a_long_read_is_made_in_pieces(guest: Guest) -> None:
    length = MEMORY - (1 << 20)
    guest.ram.write(1 << 20, b"\xff" * length)
    assert guest.dma(0x21 << 16 | SELECT | READ, length, 1 << 20) == 0
    assert guest.ram.read(1 << 20, length) == b"second".ljust(length, b"\0")


@pytest.mark.parametrize(
    ("control", "length", "address"),
    [(READ, 4, MEMORY - 2), (READ, 1, 0xA0000), (READ, 0xFFFFFFFF, BUFFER), (WRITE, 4, BUFFER)],
)
def test_what_can_not_be_done_sets_error(guest: Guest, control: int, length: int, address: int) -> None:
    assert guest.dma(0x20 << 16 | SELECT | control, length, address) == ERROR


def test_a_write_of_nothing_is_no_error(guest: Guest) -> None:
    assert guest.dma(WRITE, 0) == 0


def test_a_descriptor_that_reaches_out_of_memory_is_told_of_its_error(guest: Guest) -> None:
    guest.ram.write(MEMORY - 8, b"\xff" * 8)
    guest.out(DMA_LOW, 4, int.from_bytes((MEMORY - 8).to_bytes(4, "big"), "little"))
    assert guest.ram.read(MEMORY - 8, 4) == b"\0\0\0\1"


def test_a_descriptor_where_no_memory_is_does_nothing(guest: Guest) -> None:
    guest.out(DMA_HIGH, 4, 0xFFFFFFFF)
    guest.out(DMA_LOW, 4, 0xFFFFFFFF)
    assert guest.read(4) == b"QEMU"


def test_the_upper_half_of_the_address_is_for_one_access(guest: Guest) -> None:
    guest.out(DMA_HIGH, 4, 0x01000000)
    guest.out(DMA_LOW, 4, 0)
    guest.ram.write(0, struct.pack(">IIQ", 0x21 << 16 | SELECT, 0, 0))
    guest.out(DMA_LOW, 4, 0)
    assert guest.read(6) == b"second"


@pytest.mark.parametrize(("port", "size"), [(DMA_LOW, 1), (DMA_LOW, 2), (DMA_LOW + 1, 4), (DMA_HIGH + 2, 4)])
def test_only_whole_halves_of_the_address_start_dma(guest: Guest, port: int, size: int) -> None:
    guest.ram.write(0, struct.pack(">IIQ", 0x21 << 16 | SELECT, 0, 0))
    guest.out(port, size, 0)
    assert guest.read(4) == b"QEMU"


def test_nobody_waits_for_the_selector_and_the_first_half_of_the_address(guest: Guest) -> None:
    assert [sorted(region.posted) for _, region in guest.device.ports()] == [[0, 1, 4, 5, 6, 7]]


def test_state_moves_to_another_device(guest: Guest) -> None:
    guest.select(0x20)
    guest.read(6)
    guest.out(DMA_HIGH, 4, 0x01000000)
    other = Guest()
    other.device.load(guest.device.state())
    assert other.read(2) == b"of"
    assert other.device.state()["dma_address"] == 1 << 32


@pytest.mark.parametrize("names", [["x" * 56], [str(i) for i in range(33)]])
def test_files_that_the_directory_does_not_hold_are_refused(guest: Guest, names: list[str]) -> None:
    dma = DmaMemory(guest.ram, lambda offset, data: None)
    device = FwCfg()
    device.files.update({name: lambda: b"" for name in names})
    with pytest.raises(DeviceError, match="32 files with names of 55 bytes"):
        plug(device, dma=dma)
