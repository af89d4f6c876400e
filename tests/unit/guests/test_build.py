"""Guests build to images that a Multiboot 1 loader takes (Multiboot 0.6.96, sections 3.1 and 3.1.3)."""

import struct
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

from mpvm.guests.build import build_all

ROOT = Path(__file__).resolve().parents[3]
HEADER_MAGIC = 0x1BADB002
HEADER_SEARCH_BYTES = 8192
ELFCLASS32 = 1
EM_386 = 3
PT_LOAD = 1


class Segment(NamedTuple):
    """A program header of an ELF32 file."""

    type: int
    offset: int
    virtual: int
    physical: int
    file_bytes: int
    memory_bytes: int
    flags: int
    alignment: int


def segments(image: bytes) -> list[Segment]:
    """Return the loadable segments of an ELF32 image."""
    table, entry_bytes, count = (
        *struct.unpack_from("<I", image, 28),
        *struct.unpack_from("<HH", image, 42),
    )
    headers = (Segment(*struct.unpack_from("<8I", image, table + i * entry_bytes)) for i in range(count))
    return [segment for segment in headers if segment.type == PT_LOAD]


@pytest.fixture(scope="module")
def smp_image(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    built = build_all(ROOT / "mpvm" / "guests", tmp_path_factory.mktemp("guests"))
    assert [path.name for path in built] == ["smp.elf"]
    return built[0].read_bytes()


def test_the_smp_guest_is_an_elf32_for_the_i386(smp_image: bytes) -> None:
    assert smp_image[:4] == b"\x7fELF"
    assert smp_image[4] == ELFCLASS32
    assert struct.unpack_from("<H", smp_image, 18) == (EM_386,)


def test_the_multiboot_header_is_aligned_and_sums_to_zero_in_the_first_8_kib(smp_image: bytes) -> None:
    at = smp_image.find(struct.pack("<I", HEADER_MAGIC))
    assert 0 <= at <= HEADER_SEARCH_BYTES - 12
    assert at % 4 == 0
    magic, flags, checksum = struct.unpack_from("<III", smp_image, at)
    assert (magic + flags + checksum) & 0xFFFFFFFF == 0
    assert flags & 0xFFFF == 0, "a mandatory flag that a loader may refuse"


def test_the_segments_lie_above_1_mib_do_not_overlap_and_hold_the_entry(smp_image: bytes) -> None:
    loaded = sorted(segments(smp_image), key=lambda segment: segment.physical)
    assert loaded[0].physical == 0x100000
    assert all(a.physical + a.memory_bytes <= b.physical for a, b in pairwise(loaded))
    assert all(segment.file_bytes <= segment.memory_bytes for segment in loaded)
    (entry,) = struct.unpack_from("<I", smp_image, 24)
    assert loaded[0].physical <= entry < loaded[0].physical + loaded[0].file_bytes


def test_no_segment_is_both_writable_and_executable(smp_image: bytes) -> None:
    assert {segment.flags for segment in segments(smp_image)} == {5, 6}


def test_the_same_sources_give_the_same_bytes(smp_image: bytes, tmp_path: Path) -> None:
    (again,) = build_all(ROOT / "mpvm" / "guests", tmp_path)
    assert again.read_bytes() == smp_image


def test_nothing_but_the_images_is_left_in_the_output_folder(tmp_path: Path) -> None:
    built = build_all(ROOT / "mpvm" / "guests", tmp_path)
    assert sorted(tmp_path.iterdir()) == built


def test_the_test_guests_build_by_their_folders_names(tmp_path: Path) -> None:
    sources = ROOT / "tests" / "guests"
    built = build_all(sources, tmp_path)
    folders = {path.parent.relative_to(sources) for path in sources.rglob("*.[cS]")}
    assert {path.stem for path in built} == {"-".join(folder.parts) for folder in folders}
    assert {path.name for path in built if path.suffix != ".elf"} == {"real-mode.bin"}
    boot_sector = (tmp_path / "real-mode.bin").read_bytes()
    assert len(boot_sector) == 512
    assert boot_sector.endswith(b"\x55\xaa")


def test_a_source_that_does_not_compile_leaves_no_image(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    sources = tmp_path / "sources"
    (sources / "broken").mkdir(parents=True)
    (sources / "broken" / "main.c").write_text("_Noreturn void guest_main(void) { undeclared(); }\n")
    with pytest.raises(subprocess.CalledProcessError):
        build_all(sources, tmp_path / "out")
    assert "undeclared" in capfd.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []


def test_a_missing_compiler_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(FileNotFoundError, match=r"\$CC is 'no-such-compiler'"):
        build_all(ROOT / "mpvm" / "guests", tmp_path)
