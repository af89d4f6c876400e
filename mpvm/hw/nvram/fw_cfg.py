"""QEMU's firmware configuration device: named pieces of data for firmware and kernels, by port or by DMA.

After QEMU's docs/specs/fw_cfg.rst and Linux's include/uapi/linux/qemu_fw_cfg.h, whose names are used. The
data is the machine's and is read-only; an item is made when it is asked for.
"""

import functools
import struct
from collections.abc import Callable
from enum import IntEnum, IntFlag
from typing import Any, Final

from mpvm.abi.errors import DeviceError
from mpvm.hw.bus import SysBusDevice
from mpvm.memory.dma import DmaMemory
from mpvm.memory.region import Region
from mpvm.qom import properties
from mpvm.qom.object import cast
from mpvm.qom.type_info import register_type

FW_CFG_PORT: Final = 0x510
FW_CFG_PORTS: Final = 12
DMA_ADDRESS_OFFSET: Final = 4

FILE_FIRST: Final = 0x20
FILE_SLOTS: Final = 0x20
FILE_NAME_BYTES: Final = 56
WRITE_CHANNEL: Final = 0x4000
_ENTRY_MASK: Final = 0xFFFF & ~WRITE_CHANNEL

_SIGNATURE: Final = b"QEMU"
_DMA_SIGNATURE: Final = b"QEMU CFG"
_VERSION_TRADITIONAL, _VERSION_DMA = 1, 2
_FILE: Final = struct.Struct(f">IHH{FILE_NAME_BYTES}s")
_DMA_ACCESS: Final = struct.Struct(">IIQ")
# As much as is copied at once, so that what a guest asks for does not decide how much memory that takes.
_CHUNK_BYTES: Final = 1 << 20

Item = Callable[[], bytes]


class Key(IntEnum):
    """The items that have a number of their own."""

    SIGNATURE = 0x00
    ID = 0x01
    UUID = 0x02
    RAM_SIZE = 0x03
    NOGRAPHIC = 0x04
    NB_CPUS = 0x05
    KERNEL_SIZE = 0x08
    INITRD_SIZE = 0x0B
    BOOT_MENU = 0x0E
    MAX_CPUS = 0x0F
    KERNEL_DATA = 0x11
    INITRD_DATA = 0x12
    CMDLINE_SIZE = 0x14
    CMDLINE_DATA = 0x15
    SETUP_SIZE = 0x17
    SETUP_DATA = 0x18
    FILE_DIR = 0x19
    # The architecture's own (FW_CFG_ARCH_LOCAL).
    IRQ0_OVERRIDE = 0x8002
    HPET = 0x8004


class DmaControl(IntFlag):
    """The low half of the control field; its high half is the key that SELECT selects."""

    ERROR = 0x01
    READ = 0x02
    SKIP = 0x04
    SELECT = 0x08
    WRITE = 0x10


@register_type("fw_cfg_io", description="firmware configuration, by port and DMA")
class FwCfg(SysBusDevice):
    """Selector at 0x510, data at 0x511, DMA address at 0x514, which is big-endian; its low half starts DMA.

    The board adds `items`, which are numbered, beside the device's own (SIGNATURE, ID, FILE_DIR), and
    `files`, which are found by name in the directory, before it is realized.
    """

    dma_enabled = properties.boolean(True, "whether the guest may let it copy into RAM", name="dma_enabled")
    file_slots = properties.uint16(FILE_SLOTS, "how many files fit", name="x-file-slots")

    def instance_init(self) -> None:
        """No items."""
        super().instance_init()
        self.items: dict[int, Item] = {}
        self.files: dict[str, Item] = {}

    def realize(self) -> None:
        """Make the directory. Raises `DeviceError` for files that it can't hold."""
        files = self.files
        if len(files) > self.file_slots or any(len(name) >= FILE_NAME_BYTES for name in files):
            raise DeviceError(
                f"fw_cfg: {self.file_slots} files with names of {FILE_NAME_BYTES - 1} bytes are possible"
            )
        self._dma = cast(self.wiring.dma, DmaMemory)
        self._names = sorted(files)
        version = _VERSION_TRADITIONAL | (_VERSION_DMA if self.dma_enabled else 0)
        self._items: dict[int, Item] = {
            **self.items,
            Key.SIGNATURE: lambda: _SIGNATURE,
            Key.ID: lambda: version.to_bytes(4, "little"),
            Key.FILE_DIR: functools.cache(self._directory),
            **{FILE_FIRST + slot: files[name] for slot, name in enumerate(self._names)},
        }
        self._key = int(Key.SIGNATURE)
        self._offset = 0
        self._dma_address = 0
        # The selector and the upper half of the DMA address do nothing by themselves: nobody waits for them.
        # One region: an access that begins at one register and reaches into another is for neither.
        size = FW_CFG_PORTS if self.dma_enabled else DMA_ADDRESS_OFFSET
        posted = {0, 1, *range(DMA_ADDRESS_OFFSET, DMA_ADDRESS_OFFSET + 4)}
        self._registers = Region(
            "fw_cfg",
            size,
            self._read_register,
            self._write_register,
            posted=frozenset(posted & {*range(size)}),
        )

    def ports(self) -> list[tuple[int, Region]]:
        """Where the ports are."""
        return [(FW_CFG_PORT, self._registers)]

    def reset_enter(self) -> None:
        """The signature is selected."""
        self._select_key(Key.SIGNATURE)
        self._dma_address = 0

    def state(self) -> dict[str, Any]:
        """What is selected, how far it is read, and half a DMA address."""
        return {"key": self._key, "offset": self._offset, "dma_address": self._dma_address}

    def load(self, state: dict[str, Any]) -> None:
        """Take over `state`."""
        self._key, self._offset = state["key"], state["offset"]
        self._dma_address = state["dma_address"]

    def _directory(self) -> bytes:
        entries = [
            _FILE.pack(len(self._items[FILE_FIRST + slot]()), FILE_FIRST + slot, 0, name.encode("ascii"))
            for slot, name in enumerate(self._names)
        ]
        return len(entries).to_bytes(4, "big") + b"".join(entries)

    def _select_key(self, key: int) -> None:
        self._key = key
        self._offset = 0

    def _data(self) -> bytes:
        """The selected item; nothing for a key that has none."""
        item = self._items.get(self._key & _ENTRY_MASK)
        return item() if item is not None else b""

    # --- Ports ----------------------------------------------------------------------------------------

    def _write_register(self, offset: int, size: int, value: int) -> None:
        # Bytes to the data port are ignored: nothing here is written that way (since QEMU 2.4).
        if (offset, size) == (0, 2):
            self._select_key(value)
        elif offset >= DMA_ADDRESS_OFFSET:
            self._write_dma_address(offset - DMA_ADDRESS_OFFSET, size, value)

    def _read_register(self, offset: int, size: int) -> int:
        if offset >= DMA_ADDRESS_OFFSET:
            return self._read_signature(offset - DMA_ADDRESS_OFFSET, size)
        if offset > 1:
            # The ports in between are nobody's.
            return (1 << 8 * size) - 1
        # As on QEMU, the selector reads the data, too, and only bytes are read.
        return self._next_byte() if size == 1 else 0

    def _next_byte(self) -> int:
        data, at = self._data(), self._offset
        if at >= len(data):
            return 0
        self._offset += 1
        return data[at]

    def _read_signature(self, offset: int, size: int) -> int:
        return int.from_bytes(_DMA_SIGNATURE[offset : offset + size], "little")

    def _write_dma_address(self, offset: int, size: int, value: int) -> None:
        if size != 4 or offset not in (0, 4):
            return
        half = int.from_bytes(value.to_bytes(4, "little"), "big")
        if offset == 0:
            self._dma_address = half << 32
            return
        address, self._dma_address = self._dma_address | half, 0
        self._transfer(address)

    # --- DMA ------------------------------------------------------------------------------------------

    def _transfer(self, access: int) -> None:
        """Do what the `fw_cfg_dma_access` at `access` asks for; its control field then tells the outcome."""
        descriptor = self._dma.read(access, _DMA_ACCESS.size)
        done = False
        if descriptor is not None:
            control, length, address = _DMA_ACCESS.unpack(descriptor)
            if control & DmaControl.SELECT:
                self._select_key(control >> 16)
            if control & DmaControl.READ:
                done = self._read(address, length)
            elif control & DmaControl.WRITE:
                done = length == 0
            else:
                done = True
                if control & DmaControl.SKIP:
                    self._take(length)
        self._dma.write(access, (0 if done else DmaControl.ERROR).to_bytes(4, "big"))

    def _take(self, length: int) -> bytes:
        """The next bytes of the item, at most `length`."""
        data = self._data()[self._offset : self._offset + length]
        self._offset += len(data)
        return data

    def _read(self, address: int, length: int) -> bool:
        """The next `length` bytes of the item, and zeros from its end on, into guest memory."""
        while length > 0:
            size = min(length, _CHUNK_BYTES)
            if not self._dma.write(address, self._take(size).ljust(size, b"\0")):
                return False
            address, length = address + size, length - size
        return True
