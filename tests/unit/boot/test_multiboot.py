"""Multiboot kernels built by GNU as, ld and objcopy, and broken ones."""

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from mpvm.abi.errors import BootImageError
from mpvm.boot.e820 import E820Type
from mpvm.boot.headers import find_header
from mpvm.boot.loader import load
from mpvm.boot.request import BootMachine, BootRequest
from mpvm.cpu.state import CpuState, SegmentState

INFO_FIELDS = (
    *("flags", "mem_lower", "mem_upper", "boot_device", "cmdline", "mods_count", "mods_addr"),
    *("syms0", "syms1", "syms2", "syms3", "mmap_length", "mmap_addr", "drives_length", "drives_addr"),
    *("config_table", "boot_loader_name", "apm_table"),
)


def information(machine: BootMachine, state: CpuState) -> dict[str, int]:
    return dict(zip(INFO_FIELDS, struct.unpack("<18I", machine.ram.read(state.rbx, 72)), strict=True))


def c_string(machine: BootMachine, address: int) -> bytes:
    return machine.ram.read(address, 256).split(b"\0")[0]


def code_at(machine: BootMachine, address: int) -> bytes:
    return machine.ram.read(address, 1)


HLT = b"\xf4"


@pytest.mark.parametrize(("bits", "offset"), [(32, 0), (32, 0x40000000), (64, 0), (64, 0x40000000)], ids=str)
def test_an_elf_kernel_starts_where_its_entry_was_loaded(
    multiboot_elf: Callable[..., Path], machine: BootMachine, bits: int, offset: int
) -> None:
    state = load(BootRequest("multiboot", multiboot_elf(bits, offset)), machine)
    assert 0x200000 <= state.rip < 0x201000
    assert code_at(machine, state.rip) == HLT


def test_a_raw_kernel_is_loaded_by_its_address_fields(multiboot_binary: Path, machine: BootMachine) -> None:
    data = multiboot_binary.read_bytes()
    state = load(BootRequest("multiboot", multiboot_binary), machine)
    assert machine.ram.read(0x200000, len(data)) == data
    assert code_at(machine, state.rip) == HLT


def test_a_header_further_into_a_raw_file_still_puts_it_right(
    multiboot_binary: Path, machine: BootMachine, tmp_path: Path
) -> None:
    shifted = tmp_path / "shifted"
    shifted.write_bytes(bytes(4096) + multiboot_binary.read_bytes())
    state = load(BootRequest("multiboot", shifted), machine)
    assert machine.ram.read(0x200000, 4) == struct.pack("<I", 0x1BADB002)
    assert code_at(machine, state.rip) == HLT


@pytest.mark.parametrize("image", ["multiboot_elf32", "multiboot_binary"])
def test_the_bss_is_zero_even_in_used_ram(
    image: str, machine: BootMachine, request: pytest.FixtureRequest
) -> None:
    path = request.getfixturevalue(image)
    load(BootRequest("multiboot", path), machine)
    text = machine.ram.read(0x200000, 0x3000)
    end_of_data = text.index(b"data of the kernel\0") + 19
    assert text[end_of_data : end_of_data + 8192] == bytes(8192)


def test_the_cpu_is_in_the_state_of_chapter_3_2(multiboot_elf32: Path, machine: BootMachine) -> None:
    state = load(BootRequest("multiboot", multiboot_elf32), machine)
    assert state.rax == 0x2BADB002
    assert (state.cs.base, state.cs.limit, state.cs.access_rights) == (0, 0xFFFFFFFF, 0xC09B)
    for segment in (state.ds, state.es, state.fs, state.gs, state.ss):
        assert segment == SegmentState(0, 0xFFFFFFFF, 0x10, 0xC093)
    # Beyond the specification: what the selectors say is in a GDT, out of what the kernel takes for RAM.
    gdt = struct.unpack("<5Q", machine.ram.read(state.gdtr.base, state.gdtr.limit + 1))
    assert (gdt[1], gdt[2]) == (0x00CF9B000000FFFF, 0x00CF93000000FFFF)
    assert any(e.base <= state.gdtr.base < e.end for e in machine.e820 if e.type is E820Type.RESERVED)
    assert state.cr0 & 0x80000001 == 1
    assert state.rflags & (1 << 17 | 1 << 9) == 0


def test_the_information_tells_memory_command_line_and_loader(
    multiboot_elf32: Path, machine: BootMachine
) -> None:
    state = load(BootRequest("multiboot", multiboot_elf32, append="one two=3", argv0="./kernel"), machine)
    info = information(machine, state)
    assert info["flags"] == 1 << 0 | 1 << 1 | 1 << 2 | 1 << 3 | 1 << 6 | 1 << 9
    assert (info["mem_lower"], info["mem_upper"]) == (639, 15 * 1024)
    assert info["boot_device"] == 0x8000FFFF
    assert c_string(machine, info["cmdline"]) == b"./kernel one two=3"
    assert c_string(machine, info["boot_loader_name"]) == b"qemu"
    assert info["mods_count"] == 0


def test_the_name_in_front_of_the_command_line_is_the_kernels_path_where_no_other_is_given(
    multiboot_elf32: Path, machine: BootMachine
) -> None:
    info = information(machine, load(BootRequest("multiboot", multiboot_elf32, append="x"), machine))
    assert c_string(machine, info["cmdline"]) == f"{multiboot_elf32} x".encode()


def test_fields_without_a_flag_are_zero(multiboot_elf32: Path, machine: BootMachine) -> None:
    state = load(BootRequest("multiboot", multiboot_elf32), machine)
    info = information(machine, state)
    assert [name for name in INFO_FIELDS if info[name] == 0xEEEEEEEE] == []
    assert machine.ram.read(state.rbx + 72, 88 - 72) == bytes(88 - 72)


def test_the_memory_map_is_the_machines(multiboot_elf32: Path, machine: BootMachine) -> None:
    info = information(machine, load(BootRequest("multiboot", multiboot_elf32), machine))
    data = machine.ram.read(info["mmap_addr"], info["mmap_length"])
    entries = []
    while data:
        size, *entry = struct.unpack_from("<IQQI", data)
        entries.append(tuple(entry))
        data = data[size + 4 :]
    assert entries == [tuple(entry) for entry in machine.e820]


def test_modules_lie_on_pages_with_their_strings(
    multiboot_elf32: Path, machine: BootMachine, initrd: Path, tmp_path: Path
) -> None:
    second = tmp_path / "second"
    second.write_bytes(b"second module")
    request = BootRequest("multiboot", multiboot_elf32, modules=((initrd, "first arg=1"), (second, "")))
    info = information(machine, load(request, machine))
    assert info["mods_count"] == 2
    modules = [struct.unpack("<4I", machine.ram.read(info["mods_addr"] + 16 * n, 16)) for n in range(2)]
    for (start, end, string, reserved), path, text in zip(
        modules, (initrd, second), (b"first arg=1", bytes(second)), strict=True
    ):
        assert start % 4096 == 0
        assert machine.ram.read(start, end - start) == path.read_bytes()
        assert c_string(machine, string) == text
        assert reserved == 0


def test_an_initrd_is_the_first_module(
    multiboot_elf32: Path, machine: BootMachine, initrd: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"x")
    request = BootRequest("multiboot", multiboot_elf32, initrd=initrd, modules=((other, ""),))
    info = information(machine, load(request, machine))
    start, end, *_ = struct.unpack("<4I", machine.ram.read(info["mods_addr"], 16))
    assert end - start == 5000


def test_information_stays_clear_of_the_kernel_and_its_bss(
    multiboot_elf32: Path, machine: BootMachine, initrd: Path
) -> None:
    request = BootRequest("multiboot", multiboot_elf32, append="x", modules=((initrd, "y"),))
    state = load(request, machine)
    info = information(machine, state)
    bss_end = 0x202000
    addresses = [info[name] for name in ("cmdline", "mods_addr", "boot_loader_name")]
    assert min(addresses) >= bss_end
    assert (info["mmap_addr"], state.rbx) == (0x9000, 0x9500)


def test_information_does_not_go_where_a_kernel_in_low_memory_is(
    tmp_path: Path, machine: BootMachine
) -> None:
    addresses = (0x8000, 0x8000, 0, 0, 0x8020)
    kernel = header_file(tmp_path, *with_checksum(1 << 16), *addresses)
    state = load(BootRequest("multiboot", kernel), machine)
    info = information(machine, state)
    assert min(state.rbx, info["mmap_addr"]) >= 1 << 20
    assert machine.ram.read(0x8000, 16384) == kernel.read_bytes()


def header_file(tmp_path: Path, *words: int, at: int = 0, size: int = 16384) -> Path:
    path = tmp_path / "kernel"
    data = bytearray(size)
    struct.pack_into(f"<{len(words)}I", data, at, *words)
    path.write_bytes(data)
    return path


def with_checksum(flags: int) -> tuple[int, int, int]:
    return 0x1BADB002, flags, -(0x1BADB002 + flags) & 0xFFFFFFFF


def test_a_header_is_found_up_to_the_end_of_8_kib(tmp_path: Path) -> None:
    inside = header_file(tmp_path, *with_checksum(0), at=8192 - 12).read_bytes()
    header = find_header(inside)
    assert header is not None
    assert header.offset == 8192 - 12


@pytest.mark.parametrize("at", [8192 - 8, 8192, 4098], ids=["across the end", "behind the end", "unaligned"])
def test_a_header_elsewhere_is_none(tmp_path: Path, at: int) -> None:
    assert find_header(header_file(tmp_path, *with_checksum(0), at=at).read_bytes()) is None


def test_a_wrong_checksum_is_no_header(tmp_path: Path, machine: BootMachine) -> None:
    path = header_file(tmp_path, 0x1BADB002, 3, 0)
    with pytest.raises(
        BootImageError, match=rf"^kernel {path}: has no Multiboot header in its first 8192 bytes"
    ):
        load(BootRequest("multiboot", path), machine)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (with_checksum(4), "wants a video mode"),
        (with_checksum(8), r"wants unknown Multiboot features \(flags 0x8\)"),
        (with_checksum(3), "neither ELF nor says where to load it"),
        ((*with_checksum(0x10000), 0x100000, 0x100004, 0, 0, 0x100000), "contradict each other"),
        ((*with_checksum(0x10000), 0x100100, 0x100000, 0, 0, 0x100000), "contradict each other"),
        (
            (*with_checksum(0x10000), 0x100000, 0x100000, 0x108000, 0, 0),
            "is truncated: 32768 bytes .*, 16384 in",
        ),
        ((*with_checksum(0x10000), 0x100000, 0x100000, 0, 0x2000000, 0), "memory of 32 MiB or more is right"),
        ((*with_checksum(0x10000), 0xA0000, 0xA0000, 0, 0, 0), "does not lie in RAM"),
    ],
)
def test_a_kernel_that_cannot_be_loaded_is_refused(
    tmp_path: Path, machine: BootMachine, words: tuple[int, ...], message: str
) -> None:
    path = header_file(tmp_path, *words)
    with pytest.raises(BootImageError, match=rf"^kernel {path}: .*{message}"):
        load(BootRequest("multiboot", path), machine)


def test_a_module_that_does_not_fit_names_itself_and_the_memory_it_wants(
    multiboot_elf32: Path, machine_of: Callable[[int], BootMachine], tmp_path: Path
) -> None:
    big = tmp_path / "big.mod"
    with big.open("wb") as file:
        file.truncate(3 << 20)
    with pytest.raises(
        BootImageError, match=rf"^module {big}: its 3145728 bytes .* memory of 6 MiB or more is right"
    ):
        load(BootRequest("multiboot", multiboot_elf32, modules=((big, ""),)), machine_of(4))


def test_a_missing_module_is_named(multiboot_elf32: Path, machine: BootMachine) -> None:
    with pytest.raises(
        BootImageError, match=r"^module /no/such: cannot be read \(no such file or directory\)"
    ):
        load(BootRequest("multiboot", multiboot_elf32, modules=((Path("/no/such"), ""),)), machine)


def test_an_elf_kernel_beyond_ram_is_refused(
    multiboot_elf32: Path, machine_of: Callable[[int], BootMachine]
) -> None:
    with pytest.raises(BootImageError, match=r"does not lie in RAM, which ends at 0x200000; memory of 3 MiB"):
        load(BootRequest("multiboot", multiboot_elf32), machine_of(2))


def test_a_nul_in_the_command_line_is_refused(multiboot_elf32: Path, machine: BootMachine) -> None:
    with pytest.raises(BootImageError, match="its command line holds a NUL"):
        load(BootRequest("multiboot", multiboot_elf32, append="a\0b"), machine)
