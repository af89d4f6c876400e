"""docs/coherence.pml holds in every order of its steps, and finds out when a rule is left out (spin(1))."""

import enum
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

_MODEL = Path(__file__).parents[2] / "docs" / "coherence.pml"
_PACKAGES = {"spin": "spin", "gcc": "gcc"}
_MEGABYTES = 3500
_DEPTH = 100_000


class Op(enum.IntFlag):
    """The OP_ numbers of the model: what the blocks of a vCPU may be and do."""

    RUN_0 = 1
    RUN_1 = 2
    RUN_X = 4
    STORE_0 = 8
    STORE_1 = 16
    MARK_0 = 32
    MARK_1 = 64
    EXIT = 128
    HALT = 256
    IPI = 512
    ALONE_0 = 1024


class Vcpu(NamedTuple):
    """How many blocks one vCPU runs, and which."""

    blocks: int
    ops: Op


class Scenario(NamedTuple):
    """What -D makes of the model; `device` is how many stores one makes to `pages` (1: page 0, 2: page 1)."""

    vcpus: tuple[Vcpu, ...]
    letters: int = 1
    sleep: bool = False
    device: int = 0
    pages: int = 1

    def defines(self) -> list[str]:
        """The arguments of spin(1)."""
        found = [f"-DN={len(self.vcpus)}", f"-DLETTERS={self.letters}", *(["-DSLEEP"] if self.sleep else [])]
        for index, vcpu in enumerate(self.vcpus):
            found += [f"-DBLOCKS{index}={vcpu.blocks}", f"-DOPS{index}={int(vcpu.ops)}"]
        if self.device:
            found += [f"-DDEVICE={self.device}", f"-DDMA_PAGES={self.pages}"]
        return found


IDLE = Vcpu(0, Op(0))
RUNS, STORES = Op.RUN_0, Op.STORE_0
MIXES = RUNS | STORES

SCENARIOS = {
    "both run and change one page": Scenario((Vcpu(3, MIXES), Vcpu(2, MIXES))),
    "two change what the third runs": Scenario((Vcpu(2, RUNS), Vcpu(1, STORES), Vcpu(1, MIXES))),
    "one changes what two run": Scenario((Vcpu(2, RUNS), Vcpu(2, RUNS), Vcpu(1, STORES))),
    "a block across two pages, both changed": Scenario(
        (Vcpu(1, Op.RUN_X), Vcpu(1, STORES), Vcpu(1, Op.STORE_1))
    ),
    "a block across two pages, run and changed": Scenario(
        (Vcpu(2, Op.RUN_X | STORES), Vcpu(2, STORES | Op.STORE_1))
    ),
    "the page walk marks entries beside code": Scenario((Vcpu(3, RUNS | Op.MARK_0), Vcpu(2, MIXES))),
    "exits in the middle of a block": Scenario((Vcpu(2, MIXES | Op.EXIT), Vcpu(2, MIXES))),
    "mailboxes overflow": Scenario(
        (Vcpu(2, RUNS | Op.RUN_1), Vcpu(1, STORES), Vcpu(1, Op.STORE_1)),
    ),
    "mailboxes that hold two letters": Scenario(
        (Vcpu(2, RUNS | Op.RUN_1 | Op.EXIT), Vcpu(2, STORES | Op.STORE_1)), letters=2
    ),
    "interrupts between three": Scenario(
        (Vcpu(1, Op.IPI), Vcpu(2, Op.IPI | Op.HALT), Vcpu(2, Op.HALT | Op.IPI))
    ),
    "interrupts while the lock is waited for": Scenario((Vcpu(2, MIXES), Vcpu(2, MIXES | Op.IPI | Op.HALT))),
    "one runs alone": Scenario((Vcpu(2, Op.ALONE_0 | STORES), Vcpu(1, MIXES))),
    "two want to run alone": Scenario((Vcpu(1, Op.ALONE_0 | RUNS), Vcpu(1, Op.ALONE_0 | RUNS)), sleep=True),
    "one runs alone among three": Scenario((Vcpu(1, Op.ALONE_0), Vcpu(1, RUNS), Vcpu(1, STORES))),
    "a device changes what one runs": Scenario((Vcpu(2, RUNS), IDLE), device=2, sleep=True),
    "a device changes what two run": Scenario((Vcpu(1, RUNS), Vcpu(1, RUNS)), device=1),
    "a device and one vCPU change what another runs": Scenario((Vcpu(1, RUNS), Vcpu(1, STORES)), device=1),
    "a device changes both pages of a block": Scenario((Vcpu(1, Op.RUN_X), IDLE), device=2, pages=3),
    "a device stores while one runs alone": Scenario(
        (Vcpu(1, Op.ALONE_0 | Op.EXIT), Vcpu(1, RUNS)), device=1
    ),
    "who waits for an answer sleeps": Scenario((Vcpu(2, RUNS | Op.EXIT), Vcpu(2, STORES)), sleep=True),
}

DEADLOCK = "invalid end state"
STALE = r"assertion violated.*stale\[me\]"
DEAD = r"assertion violated.*deadly\[me\]"
BYPASS = r"assertion violated.*live\[(other|me)\]"
BESIDE = r"assertion violated.*exclusive"
LOST = r"assertion violated.*due\[me\]"
OVERRUN = r"assertion violated.*tail\["
CYCLE = "non-progress cycle"

# Every wait blocks and every vCPU has so many blocks to run: in a run without an end some claim, answer or
# interrupt never comes.
ENDING = [
    "a block across two pages, run and changed",
    "interrupts between three",
    "one runs alone among three",
    "who waits for an answer sleeps",
    "a device stores while one runs alone",
]

_CROSSING = Scenario((Vcpu(2, Op.RUN_X), Vcpu(2, STORES | Op.STORE_1)))
_TWO_PAGES = Scenario((Vcpu(2, MIXES | Op.RUN_1), Vcpu(2, STORES | Op.STORE_1)))
_READER_AND_WRITER = Scenario((Vcpu(2, RUNS), Vcpu(2, STORES)))

# What is left out, where, and what comes of it.
MUTANTS = {
    "BREAK_BARRIER": (_READER_AND_WRITER, f"{BYPASS}|{STALE}"),
    "BREAK_STORE_FIRST": (_READER_AND_WRITER, f"{BYPASS}|{STALE}"),
    "BREAK_ANSWER": (_READER_AND_WRITER, f"{BYPASS}|{STALE}"),
    "BREAK_ANSWER_FIRST": (_READER_AND_WRITER, f"{BYPASS}|{STALE}"),
    "BREAK_RECLAIM": (_TWO_PAGES, f"{BYPASS}|{STALE}"),
    "BREAK_LOOK_AGAIN": (SCENARIOS["both run and change one page"], f"{BYPASS}|{STALE}"),
    "BREAK_SECOND_PAGE": (_CROSSING, f"{BYPASS}|{STALE}"),
    "BREAK_OUTSIDE": (SCENARIOS["both run and change one page"], DEADLOCK),
    "BREAK_LOCK_ATTENTION": (SCENARIOS["interrupts while the lock is waited for"], LOST),
    "BREAK_ENTRY_ATTENTION": (Scenario((Vcpu(2, Op.EXIT), Vcpu(2, Op.IPI))), LOST),
    "BREAK_ENTRY_MAIL": (Scenario((Vcpu(2, STORES | Op.EXIT), Vcpu(2, RUNS))), f"{BYPASS}|{STALE}"),
    "BREAK_MARK": (Scenario((Vcpu(4, RUNS | Op.MARK_0), Vcpu(0, Op(0)))), DEAD),
    "BREAK_RELOCK": (SCENARIOS["one runs alone among three"], DEADLOCK),
    "BREAK_OVERFLOW": (SCENARIOS["mailboxes overflow"], OVERRUN),
    "BREAK_TURN": (SCENARIOS["a block across two pages, run and changed"], CYCLE),
    "BREAK_ANNOUNCEMENT": (SCENARIOS["a device changes what one runs"], f"{BYPASS}|{STALE}"),
    "BREAK_DMA_BARRIER": (SCENARIOS["a device changes what one runs"], f"{BYPASS}|{STALE}"),
    "BREAK_DMA_ANSWER": (SCENARIOS["a device changes what one runs"], f"{BYPASS}|{STALE}"),
    "BREAK_DMA_STORE": (SCENARIOS["a device changes what one runs"], f"{BYPASS}|{STALE}"),
    "BREAK_LEND": (SCENARIOS["a device stores while one runs alone"], DEADLOCK),
    "BREAK_TAKE_BACK": (SCENARIOS["a device stores while one runs alone"], BESIDE),
    "BREAK_GIVE_BACK": (SCENARIOS["a device stores while one runs alone"], DEADLOCK),
    "BREAK_SLEEP": (SCENARIOS["who waits for an answer sleeps"], DEADLOCK),
}


def check(scenario: Scenario, folder: Path, *defines: str, cycles: bool = False) -> str:
    """Build the model's verifier in `folder` and search all states; what the verifier says.

    It looks for failed assertions and deadlocks, or with `cycles` for runs without an end.
    """
    for program, package in _PACKAGES.items():
        assert shutil.which(program), f"{program} is missing: apt-get install {package} is right on Debian"
    _run(folder, "spin", "-a", *scenario.defines(), *defines, str(_MODEL))
    # The verifier is long and runs for seconds: gcc would take longer to optimize it than that saves.
    search = ("-DNP", "-DNOFAIR") if cycles else ("-DSAFETY",)
    options = ("-O0", "-w", *search, "-DCOLLAPSE", f"-DMEMLIM={_MEGABYTES}")
    _run(folder, "gcc", *options, "-o", "pan", "pan.c")
    report = _run(folder, "nice", "./pan", f"-m{_DEPTH}", "-n", *(["-l"] if cycles else []))
    assert "max search depth too small" not in report, report
    assert "errors: 0" not in report or "Search not completed" not in report, report
    return report


def _run(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_protocol_holds_when(name: str, tmp_path: Path) -> None:
    report = check(SCENARIOS[name], tmp_path)
    assert "errors: 0" in report, report


@pytest.mark.parametrize("name", ENDING)
def test_every_run_ends_when(name: str, tmp_path: Path) -> None:
    report = check(SCENARIOS[name], tmp_path, cycles=True)
    assert "errors: 0" in report, report


@pytest.mark.parametrize("rule", MUTANTS)
def test_a_protocol_without_one_of_its_rules_is_found_out(rule: str, tmp_path: Path) -> None:
    scenario, symptom = MUTANTS[rule]
    report = check(scenario, tmp_path, f"-D{rule}", cycles=symptom == CYCLE)
    assert "errors: 1" in report, report
    assert re.search(symptom, report), report


def test_every_rule_that_the_model_can_leave_out_is_left_out_by_a_test() -> None:
    assert set(re.findall(r"BREAK_\w+", _MODEL.read_text())) - {"BREAK_"} == set(MUTANTS)
