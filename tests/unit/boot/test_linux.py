"""The Linux/x86 64-bit boot protocol, with bzImages made from a table of header fields."""

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from mpvm.abi.errors import BootImageError
from mpvm.boot.e820 import E820Entry, E820Type, e820_map
from mpvm.boot.linux import PARAMS, SetupDataType, put_setup_data
from mpvm.boot.loader import load
from mpvm.boot.request import BootMachine, BootRequest
from mpvm.cpu.state import CpuState
from mpvm.memory.ram import HIGH_RAM_START, GuestRam, Slot

MIB, GIB = 1 << 20, 1 << 30
SETUP_SECTS = 3
CODE = bytes(n * 13 & 0xFF for n in range(40 * 1024))

# A modern kernel's header, as Debian's 6.1 has it but for sizes.
HEADER = {
    "setup_sects": SETUP_SECTS,
    "syssize": len(CODE) // 16,
    "boot_flag": 0xAA55,
    "version": 0x020F,
    "loadflags": 0x01,
    "code32_start": 0x100000,
    "initrd_addr_max": 0x7FFFFFFF,
    "kernel_alignment": 0x200000,
    "relocatable_kernel": 1,
    "min_alignment": 21,
    "xloadflags": 0x3F,
    "cmdline_size": 2047,
    "pref_address": 0x400000,
    "init_size": 0x300000,
}
HEADER_END = 0x26C


def bzimage(path: Path, /, *, code: bytes = CODE, **changes: int) -> Path:
    data = bytearray((SETUP_SECTS + 1) * 512)
    for name, value in {**HEADER, **changes}.items():
        struct.pack_into(PARAMS[name].format, data, PARAMS[name].offset, value)
    data[0x200:0x206] = bytes([0xEB, HEADER_END - 0x202]) + b"HdrS"
    # Behind the header lies setup code, which must not reach the zero page.
    data[HEADER_END:] = b"\xcc" * (len(data) - HEADER_END)
    path.write_bytes(data + code)
    return path


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    return bzimage(tmp_path / "vmlinuz")


def param(machine: BootMachine, state: CpuState, name: str) -> int:
    offset, layout = PARAMS[name]
    value: int = struct.unpack(layout, machine.ram.read(state.rsi + offset, struct.calcsize(layout)))[0]
    return value


def translate(machine: BootMachine, state: CpuState, address: int) -> int:
    """Walk the page tables as a CPU with 2 MiB pages does (SDM vol. 3, 4.5)."""
    table = state.cr3
    for shift in (39, 30, 21):
        (entry,) = struct.unpack("<Q", machine.ram.read(table + (address >> shift & 511) * 8, 8))
        assert entry & 3 == 3, f"{address:#x} is not mapped"
        table = entry & 0x000FFFFFFFFFF000
    assert entry & 0x80
    return table | address & 0x1FFFFF


def test_the_kernel_goes_to_its_preferred_address_and_starts_at_0x200(
    kernel: Path, machine: BootMachine
) -> None:
    state = load(BootRequest("linux", kernel), machine)
    assert machine.ram.read(0x400000, len(CODE)) == CODE
    assert state.rip == 0x400200


def test_the_cpu_is_in_64_bit_mode_with_flat_segments(kernel: Path, machine: BootMachine) -> None:
    state = load(BootRequest("linux", kernel), machine)
    assert state.efer == 1 << 8 | 1 << 10
    assert state.cr0 & (1 << 31 | 1) == 1 << 31 | 1
    assert state.cr4 & 1 << 5
    assert (state.cs.selector, state.cs.access_rights & 1 << 13) == (0x10, 1 << 13)
    assert {s.selector for s in (state.ds, state.es, state.ss)} == {0x18}
    assert state.rflags & 1 << 9 == 0


def test_the_gdt_holds_the_segments_that_are_loaded(kernel: Path, machine: BootMachine) -> None:
    state = load(BootRequest("linux", kernel), machine)
    assert state.gdtr.limit == 0x1F
    for segment in (state.cs, state.ds):
        (descriptor,) = struct.unpack("<Q", machine.ram.read(state.gdtr.base + segment.selector, 8))
        limit = (descriptor >> 48 & 0xF) << 16 | descriptor & 0xFFFF
        base = descriptor >> 16 & 0xFFFFFF | descriptor >> 56 << 24
        rights = descriptor >> 40 & 0xFF | (descriptor >> 52 & 0xF) << 12
        assert (base, limit << 12 | 0xFFF, rights) == (segment.base, segment.limit, segment.access_rights)


@pytest.mark.parametrize("address", [0, 0x7000, 0x400000, 0x12345678, 4 * GIB - 1])
def test_the_first_4_gib_are_mapped_to_themselves(kernel: Path, machine: BootMachine, address: int) -> None:
    state = load(BootRequest("linux", kernel), machine)
    assert translate(machine, state, address) == address


def test_the_zero_page_holds_the_header_and_nothing_else_of_the_file(
    kernel: Path, machine: BootMachine
) -> None:
    state = load(BootRequest("linux", kernel), machine)
    page = machine.ram.read(state.rsi, 4096)
    assert page[0x202:0x206] == b"HdrS"
    for name in ("setup_sects", "syssize", "version", "pref_address", "init_size", "xloadflags"):
        assert param(machine, state, name) == HEADER[name]
    assert page[HEADER_END:0x2D0] == bytes(0x2D0 - HEADER_END)
    assert page[:0x70] == bytes(0x70)
    assert page[0x1EF] == 0, "the sentinel says that the rest is not to be trusted"


def test_the_loader_says_who_it_is_and_where_things_are(
    kernel: Path, machine: BootMachine, initrd: Path
) -> None:
    state = load(BootRequest("linux", kernel, initrd, append="console=ttyS0"), machine)
    assert param(machine, state, "type_of_loader") == 0xFF
    assert param(machine, state, "loadflags") & 1
    assert param(machine, state, "code32_start") == 0x400000
    assert param(machine, state, "acpi_rsdp_addr") == 0xE0000
    text = machine.ram.read(param(machine, state, "cmd_line_ptr"), 14)
    assert text == b"console=ttyS0\0"


def test_the_memory_map_is_the_machines(kernel: Path, machine: BootMachine) -> None:
    state = load(BootRequest("linux", kernel), machine)
    count = param(machine, state, "e820_entries")
    table = machine.ram.read(state.rsi + 0x2D0, 20 * count)
    assert list(struct.iter_unpack("<QQI", table)) == [tuple(entry) for entry in machine.e820]


def test_the_initrd_lies_at_the_top_of_ram_on_a_page(
    kernel: Path, machine: BootMachine, initrd: Path
) -> None:
    state = load(BootRequest("linux", kernel, initrd), machine)
    address, size = (param(machine, state, name) for name in ("ramdisk_image", "ramdisk_size"))
    assert (address, size) == (16 * MIB - 8192, 5000)
    assert machine.ram.read(address, size) == initrd.read_bytes()


def test_the_initrd_stays_below_what_an_older_kernel_can_reach(
    tmp_path: Path, machine: BootMachine, initrd: Path
) -> None:
    kernel = bzimage(tmp_path / "vmlinuz", initrd_addr_max=0x9FFFFF, xloadflags=1)
    state = load(BootRequest("linux", kernel, initrd), machine)
    assert param(machine, state, "ramdisk_image") == 0xA00000 - 8192


def test_a_kernel_that_reaches_everything_gets_a_large_initrd_above_its_stated_limit(
    tmp_path: Path, machine: BootMachine, initrd: Path
) -> None:
    kernel = bzimage(tmp_path / "vmlinuz", initrd_addr_max=0x4FFFFF)
    state = load(BootRequest("linux", kernel, initrd), machine)
    assert param(machine, state, "ramdisk_image") == 16 * MIB - 8192


def test_setup_data_carries_a_seed_for_the_random_number_generator(
    kernel: Path, machine: BootMachine
) -> None:
    state = load(BootRequest("linux", kernel), machine)
    head = param(machine, state, "setup_data")
    following, kind, size = struct.unpack("<QII", machine.ram.read(head, 16))
    assert (following, kind, size) == (0, 9, 32)
    assert machine.ram.read(head + 16, size) == bytes(range(32))


def test_setup_data_is_a_list(machine: BootMachine) -> None:
    items = [(SetupDataType.RNG_SEED, b"a" * 5), (SetupDataType.E820_EXT, b"b" * 20)]
    address, found = put_setup_data(machine.ram, items), []
    while address:
        address_, kind, size = struct.unpack("<QII", machine.ram.read(address, 16))
        found.append((kind, machine.ram.read(address + 16, size)))
        address = address_
    assert found == items


def test_no_setup_data_is_a_null_pointer(machine: BootMachine) -> None:
    assert put_setup_data(machine.ram, []) == 0


def test_two_machines_get_different_seeds() -> None:
    ram = GuestRam(memoryview(bytearray(MIB)), [Slot(0, MIB, 0)])
    assert BootMachine(ram, []).rng_seed != BootMachine(ram, []).rng_seed


def test_a_relocatable_kernel_moves_down_when_its_place_is_no_ram(
    tmp_path: Path, machine: BootMachine
) -> None:
    kernel = bzimage(tmp_path / "vmlinuz", pref_address=0x1000000)
    state = load(BootRequest("linux", kernel), machine)
    assert state.rip == 0x200200
    assert machine.ram.read(0x200000, 64) == CODE[:64]


def test_it_keeps_only_its_smallest_alignment_where_the_other_does_not_fit(
    tmp_path: Path, machine: BootMachine
) -> None:
    kernel = bzimage(
        tmp_path / "vmlinuz", pref_address=0x1000000, kernel_alignment=0x1000000, min_alignment=20
    )
    assert load(BootRequest("linux", kernel), machine).rip == 0x100200


def high_machine() -> BootMachine:
    """Little RAM below 4 GiB and 12 MiB above."""
    slots = [Slot(0, 0xA0000, 0), Slot(0xC0000, 0x140000, 0xC0000), Slot(HIGH_RAM_START, 12 * MIB, 2 * MIB)]
    return BootMachine(GuestRam(memoryview(bytearray(14 * MIB)), slots), e820_map(slots))


def test_a_kernel_may_lie_above_4_gib_and_is_mapped_there(tmp_path: Path) -> None:
    machine = high_machine()
    state = load(BootRequest("linux", bzimage(tmp_path / "vmlinuz")), machine)
    assert state.rip == HIGH_RAM_START + 0x200
    assert machine.ram.read(HIGH_RAM_START, 64) == CODE[:64]
    for address in (state.rip, HIGH_RAM_START + HEADER["init_size"] - 1, 0x7000):
        assert translate(machine, state, address) == address


def test_a_kernel_that_cannot_run_above_4_gib_is_not_put_there(tmp_path: Path) -> None:
    kernel = bzimage(tmp_path / "vmlinuz", xloadflags=1)
    with pytest.raises(BootImageError, match="memory of 7 MiB or more is right"):
        load(BootRequest("linux", kernel), high_machine())


def test_zero_setup_sectors_mean_four(tmp_path: Path, machine: BootMachine) -> None:
    kernel = bzimage(tmp_path / "vmlinuz", code=bytes(512) + CODE, setup_sects=0)
    load(BootRequest("linux", kernel), machine)
    assert machine.ram.read(0x400000, len(CODE)) == CODE


def test_a_signature_behind_the_kernel_is_not_loaded(tmp_path: Path, machine: BootMachine) -> None:
    kernel = bzimage(tmp_path / "vmlinuz", code=CODE + b"signature")
    load(BootRequest("linux", kernel), machine)
    assert machine.ram.read(0x400000 + len(CODE), 9) == b"\xee" * 9


def test_a_last_unit_that_is_not_whole_is_no_truncation(tmp_path: Path, machine: BootMachine) -> None:
    kernel = bzimage(tmp_path / "vmlinuz", code=CODE[:-15])
    load(BootRequest("linux", kernel), machine)
    assert machine.ram.read(0x400000, len(CODE) - 15) == CODE[:-15]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"version": 0x0207, "xloadflags": 0},
            r"no 64-bit entry point \(boot protocol 2\.07\); a 64-bit bzImage",
        ),
        ({"xloadflags": 2}, "has no 64-bit entry point"),
        ({"loadflags": 0}, "is a zImage, loaded below 1 MiB; a bzImage is right"),
        (
            {"syssize": len(CODE)},
            rf"is truncated: {2048 + len(CODE) * 16} bytes .*, {2048 + len(CODE)} in the",
        ),
        (
            {"init_size": 0x2000000},
            "needs 33554432 bytes of RAM at 0x400000, .*; memory of 36 MiB or more is right",
        ),
        ({"pref_address": 0x1000000, "relocatable_kernel": 0}, "memory of 19 MiB or more is right"),
        ({"boot_flag": 0}, "is no Linux kernel"),
    ],
)
def test_a_kernel_that_cannot_be_started_is_refused(
    tmp_path: Path, machine: BootMachine, changes: dict[str, int], message: str
) -> None:
    kernel = bzimage(tmp_path / "vmlinuz", code=CODE, **changes)
    with pytest.raises(BootImageError, match=rf"^kernel {kernel}: .*{message}"):
        load(BootRequest("linux", kernel), machine)


@pytest.mark.parametrize("size", [0x206, 0x26B, 2048])
def test_a_kernel_cut_off_anywhere_is_truncated(kernel: Path, machine: BootMachine, size: int) -> None:
    kernel.write_bytes(kernel.read_bytes()[:size])
    with pytest.raises(BootImageError, match=rf"^kernel {kernel}: is truncated"):
        load(BootRequest("linux", kernel), machine)


def test_a_command_line_as_long_as_the_kernel_takes_is_taken(kernel: Path, machine: BootMachine) -> None:
    state = load(BootRequest("linux", kernel, append="x" * 2047), machine)
    assert machine.ram.read(param(machine, state, "cmd_line_ptr"), 2048) == b"x" * 2047 + b"\0"


def test_a_longer_command_line_is_refused(kernel: Path, machine: BootMachine) -> None:
    with pytest.raises(BootImageError, match="its command line has 2048 bytes; it takes 2047 at most"):
        load(BootRequest("linux", kernel, append="x" * 2048), machine)


def test_an_initrd_that_does_not_fit_names_the_memory_it_wants(
    kernel: Path, machine: BootMachine, tmp_path: Path
) -> None:
    big = tmp_path / "big.img"
    with big.open("wb") as file:
        file.truncate(10 * MIB)
    with pytest.raises(
        BootImageError, match=rf"^initrd {big}: its 10485760 bytes do not fit .*; memory of 17 MiB or more"
    ):
        load(BootRequest("linux", kernel, big), machine)


def test_a_missing_initrd_is_named(kernel: Path, machine: BootMachine) -> None:
    with pytest.raises(BootImageError, match=r"^initrd /no/such: cannot be read"):
        load(BootRequest("linux", kernel, Path("/no/such")), machine)


def test_modules_are_refused(kernel: Path, machine: BootMachine, initrd: Path) -> None:
    with pytest.raises(BootImageError, match="takes no modules; give an initrd"):
        load(BootRequest("linux", kernel, modules=((initrd, ""),)), machine)


def test_more_memory_ranges_than_the_zero_page_holds_are_refused(kernel: Path, machine: BootMachine) -> None:
    many = [E820Entry(n, 1, E820Type.RESERVED) for n in range(129)]
    with pytest.raises(BootImageError, match="can be told of 128 memory ranges, not 129"):
        load(BootRequest("linux", kernel), BootMachine(machine.ram, many))


def test_low_memory_holds_each_thing_in_a_place_of_its_own(
    kernel: Path, machine_of: Callable[[int], BootMachine]
) -> None:
    machine = machine_of(16)
    state = load(BootRequest("linux", kernel, append="x" * 2047), machine)
    ranges = sorted(
        [
            (state.gdtr.base, state.gdtr.limit + 1),
            (state.rsi, 4096),
            (state.cr3, 6 * 4096),
            (param(machine, state, "setup_data"), 48),
            (param(machine, state, "cmd_line_ptr"), 2048),
        ]
    )
    ends = [start + size for start, size in ranges]
    assert all(end <= start for end, (start, _) in zip(ends, ranges[1:], strict=False))
    assert ends[-1] <= 0x9FC00
