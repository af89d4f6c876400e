"""The lines by which perf(1) names translated code."""

import ctypes
import os
import re
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.unit.engine.long_mode import LongModeMachine
from tests.unit.engine.machine import Machine
from tests.unit.engine.real_mode import ORIGIN, RealModeMachine
from workers.symbols import NO_SYMBOLS, Symbols

# Two blocks, of which neither touches memory, before the one that ends the program.
PROGRAM = "first: movl $1, %eax; jmp second; second: movl $2, %ebx; jmp third; third: done"
_JMP_REL32 = 0xE9


class Line(NamedTuple):
    """A stretch of code: its address on the host, bytes, and name."""

    start: int
    size: int
    name: str


def lines(path: Path) -> list[Line]:
    words = [line.split(" ", 2) for line in path.read_text().splitlines()]
    return [Line(int(start, 16), int(size, 16), name) for start, size, name in words]


def write_map(machine: Machine, path: Path, symbols: Symbols = NO_SYMBOLS) -> None:
    machine.engine.write_perf_map(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), symbols)


def test_every_block_has_a_line_with_its_guest_address_and_privilege(
    real_mode: RealModeMachine, tmp_path: Path
) -> None:
    path = tmp_path / "map"
    write_map(real_mode, path)
    real_mode.boot(PROGRAM)
    real_mode.finish()
    names = [line.name for line in lines(path)]
    blocks = [f"cpl0:{real_mode.label(label):#x}" for label in ("first", "second", "third")]
    assert names[:4] == ["tcg-prologue", *blocks]


def test_a_line_has_the_place_and_the_size_of_its_blocks_code(
    real_mode: RealModeMachine, tmp_path: Path
) -> None:
    path = tmp_path / "map"
    write_map(real_mode, path)
    real_mode.boot(PROGRAM)
    real_mode.finish()
    prologue, *blocks = lines(path)
    for line in blocks[:2]:
        # A block without a slow path ends with the jump to the end of the prologue: the way out.
        code = ctypes.string_at(line.start, line.size)
        target = line.start + line.size + int.from_bytes(code[-4:], "little", signed=True)
        assert code[-5] == _JMP_REL32
        assert prologue.start <= target < prologue.start + prologue.size
    ends = [line.start + line.size for line in (prologue, *blocks)]
    assert all(end <= line.start for end, line in zip(ends, blocks, strict=False))


def test_a_block_in_ring_3_is_told_as_such(long_mode: LongModeMachine, tmp_path: Path) -> None:
    path = tmp_path / "map"
    write_map(long_mode, path)
    long_mode.boot("movl $1, %eax; int $0x80", cpl=3)
    long_mode.event()
    assert f"cpl3:{long_mode.program.origin:#x}" in [line.name for line in lines(path)]


def test_a_block_is_named_after_the_function_that_it_is_in(
    real_mode: RealModeMachine, tmp_path: Path
) -> None:
    path = tmp_path / "map"
    second = real_mode.place(PROGRAM, 16, ORIGIN).labels["second"]
    write_map(real_mode, path, Symbols([0x1000, ORIGIN, 0x9000], ["before", "program", "behind"]))
    real_mode.boot(PROGRAM)
    real_mode.finish()
    names = [line.name for line in lines(path)]
    assert names[1:3] == ["cpl0:program+0x0", f"cpl0:program+{second - ORIGIN:#x}"]


def test_what_is_in_no_function_is_told_by_its_address(real_mode: RealModeMachine, tmp_path: Path) -> None:
    path = tmp_path / "map"
    third = real_mode.place(PROGRAM, 16, ORIGIN).labels["third"]
    write_map(real_mode, path, Symbols([ORIGIN + 1, third], ["function", None]))
    real_mode.boot(PROGRAM)
    real_mode.finish()
    first, second, last = [line.name for line in lines(path)][1:4]
    assert (first, last) == (f"cpl0:{ORIGIN:#x}", f"cpl0:{third:#x}")
    assert second.startswith("cpl0:function+0x")


def test_a_flush_starts_the_map_anew_for_perf_knows_no_order_among_lines_that_overlap(
    real_mode: RealModeMachine, tmp_path: Path
) -> None:
    path = tmp_path / "map"
    write_map(real_mode, path)
    real_mode.boot(PROGRAM)
    real_mode.finish()
    before = lines(path)
    real_mode.boot("nop; " + PROGRAM)
    real_mode.finish()
    after = lines(path)
    assert [line.name for line in after].count("tcg-prologue") == 1
    assert after[1].name == before[1].name
    assert after[2].name != before[2].name
    assert after == sorted(after)


def test_the_map_stays_whole_when_the_engine_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "map"
    machine = RealModeMachine()
    try:
        write_map(machine, path)
        machine.boot(PROGRAM)
        machine.finish()
        before = lines(path)
    finally:
        machine.close()
    assert lines(path)[: len(before)] == before


def test_more_blocks_than_the_buffer_holds_are_all_there(real_mode: RealModeMachine, tmp_path: Path) -> None:
    path, count = tmp_path / "map", 500
    write_map(real_mode, path)
    real_mode.boot(".rept 500; jmp 1f; 1: nop; .endr; done")
    real_mode.finish()
    found = lines(path)
    assert len(found) > count
    assert len({line.name for line in found}) == len(found)
    assert all(re.fullmatch(r"cpl0:0x[0-9a-f]+|tcg-prologue", line.name) for line in found)


def test_a_map_that_can_not_be_written_is_told_once_and_the_guest_goes_on(
    real_mode: RealModeMachine, capfd: pytest.CaptureFixture[str]
) -> None:
    write_map(real_mode, Path("/dev/full"))
    real_mode.boot(PROGRAM)
    assert real_mode.finish().rbx == 2
    told = capfd.readouterr().err
    assert told.startswith("the perf map is not whole: ")
    assert told.count("\n") == 1
