"""The PVH entry of ELF kernels built by GNU as and ld."""

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from mpvm.abi.errors import BootImageError
from mpvm.boot.loader import load
from mpvm.boot.request import BootMachine, BootRequest
from mpvm.cpu.state import CpuState

START_INFO_FIELDS = (
    *("magic", "version", "flags", "nr_modules", "modlist_paddr", "cmdline_paddr", "rsdp_paddr"),
    *("memmap_paddr", "memmap_entries", "reserved"),
)


def start_info(machine: BootMachine, state: CpuState) -> dict[str, int]:
    values = struct.unpack("<IIIIQQQQII", machine.ram.read(state.rbx, 56))
    return dict(zip(START_INFO_FIELDS, values, strict=True))


def test_the_kernel_starts_at_the_address_of_its_note(pvh_elf: Path, machine: BootMachine) -> None:
    state = load(BootRequest("elf", pvh_elf), machine)
    assert machine.ram.read(state.rip, 1) == b"\xf4"


def test_the_cpu_is_in_the_state_that_pvh_demands(pvh_elf: Path, machine: BootMachine) -> None:
    state = load(BootRequest("elf", pvh_elf), machine)
    assert state.cr0 & 0x80000001 == 1
    assert state.cr4 == 0
    assert (state.cs.base, state.cs.limit, state.cs.access_rights) == (0, 0xFFFFFFFF, 0xC09B)
    assert (state.ds.base, state.ds.limit, state.ds.access_rights) == (0, 0xFFFFFFFF, 0xC093)
    assert (state.tr.base, state.tr.limit, state.tr.access_rights) == (0, 0x67, 0x8B)
    assert state.rflags & (1 << 17 | 1 << 9 | 1 << 8) == 0


def test_the_start_information_tells_everything(pvh_elf: Path, machine: BootMachine) -> None:
    state = load(BootRequest("elf", pvh_elf, append="quiet"), machine)
    info = start_info(machine, state)
    assert (info["magic"], info["version"], info["flags"], info["reserved"]) == (0x336EC578, 1, 0, 0)
    assert info["rsdp_paddr"] == 0xE0000
    assert (info["nr_modules"], info["modlist_paddr"]) == (0, 0)
    assert machine.ram.read(info["cmdline_paddr"], 6) == b"quiet\0"


def test_the_memory_map_is_the_machines(pvh_elf: Path, machine: BootMachine) -> None:
    info = start_info(machine, load(BootRequest("elf", pvh_elf), machine))
    data = machine.ram.read(info["memmap_paddr"], 24 * info["memmap_entries"])
    assert list(struct.iter_unpack("<QQII", data)) == [(*entry, 0) for entry in machine.e820]


def test_the_initrd_is_the_first_module(
    pvh_elf: Path, machine: BootMachine, initrd: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"other")
    request = BootRequest("elf", pvh_elf, initrd, modules=((other, "with words"),))
    info = start_info(machine, load(request, machine))
    assert info["nr_modules"] == 2
    first, second = struct.iter_unpack("<QQQQ", machine.ram.read(info["modlist_paddr"], 64))
    assert machine.ram.read(first[0], first[1]) == initrd.read_bytes()
    assert first[2:] == (0, 0)
    assert machine.ram.read(second[0], second[1]) == b"other"
    assert machine.ram.read(second[2], 11) == b"with words\0"


def test_an_elf_file_without_the_note_is_refused(plain_elf: Path, machine: BootMachine) -> None:
    with pytest.raises(
        BootImageError, match=rf"^kernel {plain_elf}: is an ELF file without the PVH entry note"
    ):
        load(BootRequest("elf", plain_elf), machine)


PVH_NOTE = struct.pack("<III4s", 4, 4, 18, b"Xen\0")


def patched(source: Path, target: Path, change: Callable[[bytearray], None]) -> Path:
    data = bytearray(source.read_bytes())
    change(data)
    target.write_bytes(data)
    return target


def set_bytes(offset: int, value: bytes) -> Callable[[bytearray], None]:
    def change(data: bytearray) -> None:
        data[offset : offset + len(value)] = value

    return change


def lengthen_note(data: bytearray) -> None:
    at = data.index(PVH_NOTE)
    data[at + 4 : at + 8] = struct.pack("<I", 0x1000)


def empty_note(data: bytearray) -> None:
    at = data.index(PVH_NOTE)
    data[at + 4 : at + 8] = struct.pack("<I", 0)


def keep(size: int) -> Callable[[bytearray], None]:
    def change(data: bytearray) -> None:
        del data[size:]

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_bytes(0, b"MZ"), "is no ELF file"),
        (set_bytes(4, b"\3"), "cut off or of no known class"),
        (set_bytes(5, b"\2"), "is a big-endian ELF file"),
        (set_bytes(16, b"\1\0"), r"of type 1; a linked executable \(2\) is right"),
        (set_bytes(18, b"\xb7\0"), r"for machine 183; one for i386 \(3\) or x86-64 \(62\) is right"),
        (set_bytes(32, b"\xff\xff\xff"), "program headers are cut off"),
        (set_bytes(54, b"\0\0"), "program headers are cut off"),
        (set_bytes(64 + 32, b"\xff\xff\xff"), "segment 0 is cut off"),
        (set_bytes(64 + 40, bytes(8)), "segment 0 is larger in the file than in memory"),
        (set_bytes(56, b"\0\0"), "without the PVH entry note"),
        (lengthen_note, "an ELF note leaves its segment"),
        (empty_note, "its PVH note is malformed"),
        (keep(4), "its ELF header is cut off"),
        (keep(57), "its ELF header is cut off"),
        (keep(100), "program headers are cut off"),
        (keep(4097), "segment 0 is cut off"),
    ],
    ids=lambda value: value if isinstance(value, str) else "file",
)
def test_a_damaged_elf_file_is_refused_by_what_is_damaged(
    pvh_elf: Path, machine: BootMachine, tmp_path: Path, change: Callable[[bytearray], None], message: str
) -> None:
    image = patched(pvh_elf, tmp_path / "damaged", change)
    with pytest.raises(BootImageError, match=rf"^kernel {image}: .*{message}"):
        load(BootRequest("elf", image), machine)


def test_no_prefix_of_an_elf_file_escapes_with_another_error(
    pvh_elf: Path, machine: BootMachine, tmp_path: Path
) -> None:
    data = pvh_elf.read_bytes()
    offset, _, _, file_size = struct.unpack_from("<4Q", data, 64 + 8)
    image = tmp_path / "prefix"
    for size in (*range(1, 200), *range(offset, offset + file_size)):
        image.write_bytes(data[:size])
        with pytest.raises(BootImageError, match=rf"^kernel {image}: "):
            load(BootRequest("elf", image), machine)
