"""Telling boot protocols apart, and the lines that wrong requests end in."""

import os
from pathlib import Path

import pytest

from mpvm.abi.errors import BootImageError, ConfigError
from mpvm.boot.detect import detect
from mpvm.boot.loader import PROTOCOLS, load
from mpvm.boot.request import BootMachine, BootRequest


@pytest.mark.parametrize(
    ("image", "protocol"),
    [("multiboot_elf32", "multiboot"), ("multiboot_binary", "multiboot"), ("pvh_elf", "elf")],
)
def test_a_built_kernel_is_told_by_its_content(
    image: str, protocol: str, request: pytest.FixtureRequest
) -> None:
    path = request.getfixturevalue(image)
    assert detect(path.read_bytes(), path) == protocol


def test_a_bzimage_is_a_linux_kernel() -> None:
    data = bytearray(4096)
    data[0x1FE:0x206] = b"\x55\xaa\xeb\x6aHdrS"
    assert detect(bytes(data), Path("vmlinuz")) == "linux"


def test_a_boot_sector_is_a_flat_image() -> None:
    assert detect(bytes(510) + b"\x55\xaa", Path("sector")) == "flat"


def test_an_elf_file_for_no_protocol_is_refused(plain_elf: Path) -> None:
    with pytest.raises(BootImageError, match="with neither a Multiboot header nor a PVH note"):
        detect(plain_elf.read_bytes(), plain_elf)


@pytest.mark.parametrize("data", [b"x", b"#!/bin/sh\n", bytes(4096)], ids=["a byte", "a script", "zeros"])
def test_a_file_that_is_no_kernel_is_refused_with_what_would_be(data: bytes) -> None:
    with pytest.raises(
        BootImageError, match=r"^kernel notes\.txt: is no kernel known by its content; a bzImage"
    ):
        detect(data, Path("notes.txt"))


@pytest.mark.parametrize("protocol", [None, "auto"])
def test_without_a_protocol_the_image_decides(
    protocol: str | None, multiboot_elf32: Path, machine: BootMachine
) -> None:
    assert load(BootRequest(protocol, multiboot_elf32), machine).rax == 0x2BADB002


def test_an_unknown_protocol_is_refused_with_the_known_ones(
    multiboot_elf32: Path, machine: BootMachine
) -> None:
    with pytest.raises(ConfigError, match=r"'uefi' is no boot protocol; linux, multiboot, elf, flat or auto"):
        load(BootRequest("uefi", multiboot_elf32), machine)


@pytest.mark.parametrize("protocol", [name for name in PROTOCOLS if name != "flat"])
def test_only_flat_images_take_a_load_address(
    protocol: str, multiboot_elf32: Path, machine: BootMachine
) -> None:
    with pytest.raises(BootImageError, match=f"the {protocol} protocol takes no load address"):
        load(BootRequest(protocol, multiboot_elf32, load_address=0x100000), machine)


def test_a_missing_kernel_is_named(machine: BootMachine) -> None:
    with pytest.raises(
        BootImageError, match=r"^kernel /no/such: cannot be read \(no such file or directory\); give"
    ):
        load(BootRequest(None, Path("/no/such")), machine)


def test_an_empty_kernel_is_named(machine: BootMachine, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    with pytest.raises(BootImageError, match=rf"^kernel {empty}: is empty; give a kernel image"):
        load(BootRequest(None, empty), machine)


def test_a_folder_is_no_kernel(machine: BootMachine, tmp_path: Path) -> None:
    with pytest.raises(BootImageError, match=rf"^kernel {tmp_path}: is no regular file"):
        load(BootRequest(None, tmp_path), machine)


def test_a_device_is_no_kernel(machine: BootMachine) -> None:
    with pytest.raises(BootImageError, match=r"^kernel /dev/null: is no regular file"):
        load(BootRequest(None, Path("/dev/null")), machine)


def test_a_pipe_is_refused_at_once(machine: BootMachine, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(BootImageError, match="is no regular file"):
        load(BootRequest(None, pipe), machine)
