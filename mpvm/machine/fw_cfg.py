"""What a board tells firmware and kernels by fw_cfg: its size, its memory map, and what was to be booted."""

import functools
import struct
from collections.abc import Mapping
from typing import Final

from mpvm.abi.errors import ConfigError
from mpvm.boot import headers, linux
from mpvm.boot.e820 import e820_map, encode
from mpvm.boot.image import read_image
from mpvm.boot.place import command_line
from mpvm.hw.nvram.fw_cfg import FwCfg, Item, Key
from mpvm.machine.base import BootSpec, MachineSpec
from mpvm.memory.ram import GuestRam

_HPET: Final = struct.Struct("<IQHB")
_HPETS_MAX: Final = 8
_NO_HPET: Final = 0xFF
_SETUP_SECTORS_DEFAULT: Final = 4  # "for backwards compatibility, if the field contains 0" (boot.rst)


def add_items(device: FwCfg, spec: MachineSpec, ram: GuestRam) -> None:
    """Tell `device`, before it is realized, of the machine that `spec` describes.

    Images are read when the guest asks for them.
    """
    device.items.update(_machine_items(spec))
    if spec.boot is not None:
        device.items.update(_boot_items(spec.boot))
    device.files["etc/e820"] = lambda: _e820(ram)
    for name, content in spec.fw_cfg:
        if name in device.files:
            raise ConfigError(f"fw_cfg: the machine has a file {name} itself, another name is right")
        device.files[name] = functools.partial(bytes, content)


def hpet_item(block_id: int | None) -> bytes:
    """QEMU's hpet_fw_config: how many HPETs, and eight places for one; `block_id` None: there is none."""
    # Imported here: next to no guest asks.
    from mpvm.hw.acpi.tables import HPET_BASE

    if block_id is None:
        return bytes([_NO_HPET]) + bytes(_HPETS_MAX * _HPET.size)
    # No least tick is told, nor a protection of its page.
    return b"\x01" + _HPET.pack(block_id, HPET_BASE, 0, 0).ljust(_HPETS_MAX * _HPET.size, b"\0")


def _e820(ram: GuestRam) -> bytes:
    return encode(e820_map(ram.slots))


def _machine_items(spec: MachineSpec) -> Mapping[int, Item]:
    cpus, max_cpus = (count.to_bytes(2, "little") for count in (spec.smp, spec.topology.maxcpus))
    return {
        Key.UUID: lambda: spec.uuid,
        Key.RAM_SIZE: lambda: spec.memory_bytes.to_bytes(8, "little"),
        Key.NOGRAPHIC: lambda: (1).to_bytes(2, "little"),
        Key.NB_CPUS: lambda: cpus,
        Key.MAX_CPUS: lambda: max_cpus,
        Key.BOOT_MENU: lambda: (0).to_bytes(2, "little"),
        # The MADT has the timer's interrupt at pin 2.
        Key.IRQ0_OVERRIDE: lambda: (1).to_bytes(4, "little"),
    }


def _boot_items(boot: BootSpec) -> dict[int, Item]:
    @functools.cache
    def kernel() -> tuple[bytes, bytes]:
        return _split_kernel(read_image("kernel", boot.kernel))

    @functools.cache
    def initrd() -> bytes:
        return read_image("initrd", boot.initrd) if boot.initrd is not None else b""

    def cmdline() -> bytes:
        return command_line(boot.append, boot.kernel) + b"\0"

    data: dict[tuple[Key, Key], Item] = {
        (Key.SETUP_SIZE, Key.SETUP_DATA): lambda: kernel()[0],
        (Key.KERNEL_SIZE, Key.KERNEL_DATA): lambda: kernel()[1],
        (Key.INITRD_SIZE, Key.INITRD_DATA): initrd,
        (Key.CMDLINE_SIZE, Key.CMDLINE_DATA): cmdline,
    }
    items: dict[int, Item] = {}
    for (size_key, data_key), item in data.items():
        items[size_key] = functools.partial(_size_of, item)
        items[data_key] = item
    return items


def _size_of(item: Item) -> bytes:
    return len(item()).to_bytes(4, "little")


def _split_kernel(image: bytes) -> tuple[bytes, bytes]:
    """A bzImage's real-mode setup code and the rest; any other image has no setup code."""
    if image[headers.MAGIC_OFFSET :][: len(headers.MAGIC)] != headers.MAGIC:
        return b"", image
    sectors = image[linux.HEADER_START] or _SETUP_SECTORS_DEFAULT
    end = (1 + sectors) * linux.SECTOR
    return image[:end], image[end:]
