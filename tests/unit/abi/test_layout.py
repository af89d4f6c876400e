"""The shared-memory layouts: nothing overlaps, everything fits, and the C header is made from them."""

import ctypes
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from mpvm.abi import cheader, control_block, layout

STRUCTURES = [
    value
    for value in vars(layout).values()
    if isinstance(value, type) and issubclass(value, ctypes.Structure) and value is not ctypes.Structure
]


@pytest.mark.parametrize("structure", STRUCTURES, ids=lambda structure: structure.__name__)
def test_the_fields_of_a_structure_are_aligned_and_do_not_overlap(structure: type[ctypes.Structure]) -> None:
    fields = [getattr(structure, field[0]) for field in structure._fields_]
    for (name, *_), field in zip(structure._fields_, fields, strict=True):
        unit = min(8, field.size & -field.size)
        assert field.offset % unit == 0, name
    for before, after in pairwise(fields):
        assert before.offset + before.size <= after.offset


def test_the_parts_of_the_vm_block_do_not_overlap() -> None:
    smp, ram = 64, 1 << 30
    holders, writers = layout.holders_offset(smp), layout.writers_offset(smp, ram)
    assert ctypes.sizeof(layout.VmPage) <= layout.VCPU_OFFSET
    assert ctypes.sizeof(layout.VcpuArea) <= layout.VCPU_STRIDE
    assert layout.VCPU_OFFSET + smp * layout.VCPU_STRIDE <= holders
    assert holders + ram // layout.PAGE_SIZE * 8 <= writers
    dirty = layout.dirty_offset(smp, ram)
    assert writers + ram // layout.PAGE_SIZE * 8 <= dirty
    assert dirty + ram // layout.PAGE_SIZE // 8 <= layout.vm_block_size(smp, ram)


def test_a_bit_a_vcpu_fits_into_a_page_map_word() -> None:
    assert 8 * ctypes.sizeof(control_block.u64) >= layout.MAX_VCPUS


def test_the_c_compiler_agrees_with_every_offset(tmp_path: Path) -> None:
    header = tmp_path / "abi.h"
    header.write_text(cheader.generate())
    subprocess.run(
        ["cc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-x", "c", str(header)], check=True
    )


def test_the_header_asserts_every_field_of_every_structure() -> None:
    text = cheader.generate()
    for structure in STRUCTURES:
        for field in structure._fields_:
            assert f'"{structure.__name__}.{field[0]}"' in text


def test_a_wrong_offset_would_not_compile(tmp_path: Path) -> None:
    wrong = cheader.generate().replace(
        "offsetof(struct mpvm_vm_page, smp) == 8", "offsetof(struct mpvm_vm_page, smp) == 12"
    )
    header = tmp_path / "abi.h"
    header.write_text(wrong)
    compiled = subprocess.run(
        ["cc", "-std=c11", "-fsyntax-only", "-x", "c", str(header)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert compiled.returncode != 0
    assert "VmPage.smp" in compiled.stderr
