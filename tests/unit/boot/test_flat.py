"""Raw images, and where and in which mode they start."""

from pathlib import Path

import pytest

from mpvm.abi.errors import BootImageError
from mpvm.boot.loader import load
from mpvm.boot.request import BootMachine, BootRequest


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "flat.bin"
    path.write_bytes(b"\xf4" + bytes(509) + b"\x55\xaa")
    return path


def test_a_boot_sector_starts_in_real_mode_at_0x7c00(image: Path, machine: BootMachine) -> None:
    state = load(BootRequest("flat", image), machine)
    assert machine.ram.read(0x7C00, 512) == image.read_bytes()
    assert (state.cs.selector, state.cs.base, state.rip) == (0, 0, 0x7C00)
    assert state.cr0 & 1 == 0
    assert state.rflags & 1 << 9 == 0
    assert state.rdx & 0xFF == 0x80
    assert (state.ss.base, state.rsp) == (0, 0x7C00)
    assert (state.idtr.base, state.idtr.limit) == (0, 0x3FF)


def test_an_image_beyond_the_first_64_kib_starts_in_a_segment_of_its_own(
    image: Path, machine: BootMachine
) -> None:
    state = load(BootRequest("flat", image, load_address=0x12345), machine)
    assert (state.cs.selector, state.cs.base, state.rip) == (0x1234, 0x12340, 5)


def test_an_image_at_1_mib_starts_in_protected_mode(image: Path, machine: BootMachine) -> None:
    state = load(BootRequest("flat", image, load_address=0x100000), machine)
    assert state.cr0 & 0x80000001 == 1
    assert (state.rip, state.cs.base, state.cs.limit) == (0x100000, 0, 0xFFFFFFFF)
    assert machine.ram.read(0x100000, 1) == b"\xf4"


@pytest.mark.parametrize("address", [0xA0000, 0x9FFFF, 16 << 20])
def test_an_image_outside_ram_is_refused(image: Path, machine: BootMachine, address: int) -> None:
    with pytest.raises(
        BootImageError, match=rf"^kernel {image}: its 512 bytes do not lie in RAM at {address:#x};"
    ):
        load(BootRequest("flat", image, load_address=address), machine)


def test_what_a_raw_image_cannot_take_is_refused(image: Path, machine: BootMachine) -> None:
    for request, what in (
        (BootRequest("flat", image, initrd=image), "initrd"),
        (BootRequest("flat", image, modules=((image, ""),)), "modules"),
        (BootRequest("flat", image, append="x"), "append"),
    ):
        with pytest.raises(BootImageError, match=f"no way to pass {what}; leave it out"):
            load(request, machine)
