"""What the boards tell by fw_cfg."""

from pathlib import Path
from typing import Any

import pytest

from mpvm.abi.errors import ConfigError
from mpvm.accel.unicorn import UnicornAccelerator
from mpvm.boot.e820 import e820_map, encode
from mpvm.cpu.topology import topology
from mpvm.hw.nvram.fw_cfg import FwCfg, Key
from mpvm.machine import BootSpec, MachineSpec
from mpvm.machine.fw_cfg import add_items, hpet_item
from mpvm.memory.dma import DmaMemory
from mpvm.memory.ram import GuestRam, ram_slots
from tests.unit.hw.plug import plug

MEMORY = 16 << 20
TOPOLOGY = topology(3, maxcpus=4)
SETUP = 5 * 512


def bzimage(setup_sectors: int) -> bytes:
    """A file with a bzImage's header in the places that count here."""
    image = bytearray(SETUP) + b"protected-mode code"
    image[0x1F1] = setup_sectors
    image[0x202:0x206] = b"HdrS"
    return bytes(image)


class Told:
    """The device of a machine that boots `image`."""

    def __init__(
        self, folder: Path, image: bytes = b"kernel", initrd: bytes | None = None, **more: Any
    ) -> None:
        kernel = folder / "kernel"
        kernel.write_bytes(image)
        self.initrd = folder / "initrd" if initrd is not None else None
        if self.initrd is not None:
            self.initrd.write_bytes(initrd or b"")
        self.ram = GuestRam(memoryview(bytearray(MEMORY)), ram_slots(MEMORY))
        boot = BootSpec(kernel=kernel, initrd=self.initrd, append="console=ttyS0 é")
        spec = MachineSpec(TOPOLOGY, UnicornAccelerator().max_model(), memory_bytes=MEMORY, boot=boot, **more)
        self.device = FwCfg()
        add_items(self.device, spec, self.ram)
        plug(self.device, dma=DmaMemory(self.ram, lambda offset, data: None))

    def item(self, key: int, size: int) -> bytes:
        ((_, region),) = self.device.ports()
        region.write(0, 2, key)
        return bytes(region.read(1, 1) for _ in range(size))

    def number(self, key: int, size: int = 4) -> int:
        return int.from_bytes(self.item(key, size), "little")

    def pair(self, size: Key, data: Key) -> bytes:
        return self.item(data, self.number(size))


def test_the_size_of_the_machine(tmp_path: Path) -> None:
    told = Told(tmp_path)
    assert told.number(Key.RAM_SIZE, 8) == MEMORY
    assert (told.number(Key.NB_CPUS, 2), told.number(Key.MAX_CPUS, 2)) == (3, 4)


def test_the_memory_map_is_a_file(tmp_path: Path) -> None:
    told = Told(tmp_path)
    directory = told.item(Key.FILE_DIR, 4 + 64)
    size, key = int.from_bytes(directory[4:8], "big"), int.from_bytes(directory[8:10], "big")
    assert directory[12:].rstrip(b"\0") == b"etc/e820"
    assert told.item(key, size) == encode(e820_map(told.ram.slots))


def test_the_users_files_are_among_the_machines(tmp_path: Path) -> None:
    told = Told(tmp_path, fw_cfg=[("opt/b", b"two"), ("opt/a", b"")])
    directory = told.item(Key.FILE_DIR, 4 + 3 * 64)
    entries = [directory[4 + 64 * n : 68 + 64 * n] for n in range(3)]
    names = [entry[8:].rstrip(b"\0") for entry in entries]
    assert names == [b"etc/e820", b"opt/a", b"opt/b"]
    sizes = [int.from_bytes(entry[:4], "big") for entry in entries]
    assert sizes[1:] == [0, 3]
    assert told.item(0x22, 4) == b"two\0"


def test_a_file_of_the_machines_own_is_not_the_users(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the machine has a file etc/e820 itself, another name is right"):
        Told(tmp_path, fw_cfg=[("etc/e820", b"")])


def test_the_uuid_is_in_the_order_of_its_text(tmp_path: Path) -> None:
    assert Told(tmp_path).item(Key.UUID, 16) == bytes(16)
    assert Told(tmp_path, uuid=bytes(range(16))).item(Key.UUID, 17) == bytes(range(16)) + b"\0"


def test_an_hpet_is_told_with_its_address_or_that_there_is_none() -> None:
    told = hpet_item(0x8086A201)
    assert told[:13] == bytes.fromhex("01 01a28680 0000d0fe00000000")
    assert len(told) == len(hpet_item(None)) == 121
    assert hpet_item(None)[:2] == b"\xff\0"


def test_the_timers_interrupt_is_said_to_be_at_another_pin(tmp_path: Path) -> None:
    assert Told(tmp_path).number(Key.IRQ0_OVERRIDE) == 1


def test_the_command_line_ends_with_zero(tmp_path: Path) -> None:
    told = Told(tmp_path)
    assert told.pair(Key.CMDLINE_SIZE, Key.CMDLINE_DATA) == "console=ttyS0 é\0".encode()


@pytest.mark.parametrize("setup_sectors", [4, 0])
def test_a_linux_image_comes_in_two_parts(tmp_path: Path, setup_sectors: int) -> None:
    image = bzimage(setup_sectors)
    told = Told(tmp_path, image)
    assert told.pair(Key.SETUP_SIZE, Key.SETUP_DATA) == image[:SETUP]
    assert told.pair(Key.KERNEL_SIZE, Key.KERNEL_DATA) == b"protected-mode code"


def test_another_image_comes_in_one(tmp_path: Path) -> None:
    told = Told(tmp_path, b"\x7fELF and so on")
    assert told.number(Key.SETUP_SIZE) == 0
    assert told.pair(Key.KERNEL_SIZE, Key.KERNEL_DATA) == b"\x7fELF and so on"


@pytest.mark.parametrize("initrd", [None, b"", b"cpio"])
def test_the_initrd(tmp_path: Path, initrd: bytes | None) -> None:
    told = Told(tmp_path, initrd=initrd)
    assert told.pair(Key.INITRD_SIZE, Key.INITRD_DATA) == (initrd or b"")


def test_images_are_read_when_they_are_asked_for(tmp_path: Path) -> None:
    told = Told(tmp_path, initrd=b"early")
    assert told.initrd is not None
    told.initrd.write_bytes(b"late")
    assert told.pair(Key.INITRD_SIZE, Key.INITRD_DATA) == b"late"
