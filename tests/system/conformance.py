"""The conformance guests (tests/guests/conformance): on mpvm and on the reference, compared check by check.

    python -m tests.system.conformance                 run all guests on both, and write docs/conformance.md
    python -m tests.system.conformance --guest paging  one guest: prints what is wrong, writes nothing

What a guest prints is told in tests/guests/conformance/conformance.h. A guest's folder may have a
`guest.toml` that says on what it runs: `cpu` (a model, as of -cpu), `smp` (a list of numbers of CPUs),
`memory`, `machine`, `append`, `options` (of QEMU's command line, as `["-device", "pc-testdev"]`, on both).

Ends with status 1 if a check failed on mpvm, or on the reference without the guest saying so.
"""

import argparse
import re
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from mpvm.guests.build import folders
from tests.system import debian, litmus, masked, reference
from tests.system.runner import Launcher, Run, launcher

SOURCES = litmus.SOURCES / "conformance"
GUESTS = sorted(folders(SOURCES))
PAGE = debian.REPOSITORY / "docs" / "conformance.md"

_LINE = re.compile(r"(check|qemu|absent) ([^:\n]+): (.*)")
_VALUE = re.compile(r"([0-9a-f]+)(?: ok| expected ([0-9a-f]+))")
_SECONDS = 200


class Setup(NamedTuple):
    """On what a guest runs."""

    cpu: str = "max"
    smp: Sequence[int] = (1,)
    memory: str = "128M"
    machine: str = "pc"
    append: str = ""
    options: Sequence[str] = ()


class Check(NamedTuple):
    """One check: what the guest got, and what the SDM says."""

    got: str
    expected: str

    @property
    def passed(self) -> bool:
        """They are the same."""
        return self.got == self.expected


class Told(NamedTuple):
    """What a run has told: checks in their order, where QEMU is known to be wrong, what is absent."""

    checks: Mapping[str, Check]
    notes: Mapping[str, str]
    absent: Mapping[str, str]
    run: Run

    @property
    def failed(self) -> list[str]:
        """The checks that got something else than the SDM says."""
        return [name for name, check in self.checks.items() if not check.passed]


class Comparison(NamedTuple):
    """A guest on both, with so many CPUs."""

    guest: str
    smp: int
    mpvm: Told
    qemu: Told

    def problems(self) -> list[str]:
        """What must not be, in words; none when the guest conforms."""
        found = [
            f"{name}: {check.got}, by the SDM {check.expected}"
            for name, check in self.mpvm.checks.items()
            if not check.passed
        ]
        found += [
            f"{name}: fails on QEMU ({self.qemu.checks[name].got}), and the guest does not say why"
            for name in self.qemu.failed
            if name not in self.qemu.notes
        ]
        for one, other, where in ((self.mpvm, self.qemu, "mpvm"), (self.qemu, self.mpvm, "QEMU")):
            found += [
                f"{name}: checked on {where} alone"
                for name in one.checks.keys() - other.checks.keys()
                if name not in one.notes and not one.absent and not other.absent
            ]
        if not self.mpvm.checks:
            found.append("no check ran")
        if self.mpvm.run.status != (litmus.FAILED if self.mpvm.failed else litmus.PASSED):
            found.append(f"mpvm: {self.mpvm.run}")
        if self.qemu.run.status not in (litmus.PASSED, litmus.FAILED):
            found.append(f"QEMU: {self.qemu.run}")
        return found


def setup(guest: str) -> Setup:
    """What the folder of `guest` says that it runs on."""
    path = SOURCES / guest / "guest.toml"
    return Setup(**tomllib.loads(path.read_text())) if path.exists() else Setup()


def told(run: Run) -> Told:
    """What the console of `run` says; AssertionError for a check of two results."""
    checks: dict[str, Check] = {}
    notes: dict[str, str] = {}
    absent: dict[str, str] = {}
    for line in run.console.splitlines():
        match = _LINE.fullmatch(line.strip())
        if match is None:
            continue
        kind, name, rest = match.groups()
        if kind != "check":
            (notes if kind == "qemu" else absent)[name] = rest
            continue
        value = _VALUE.fullmatch(rest)
        assert value, f"not a check's value: {line}"
        assert name not in checks, f"two checks are called {name}"
        checks[name] = Check(value[1], value[2] or value[1])
    return Told(checks, notes, absent, run)


def on_mpvm(launch: Launcher, guest: str, image: Path, smp: int) -> Told:
    """Run `guest` on mpvm."""
    on = setup(guest)
    options = ["--quiet", "--isa-debug-exit", "--smp", str(smp), "--cpu", on.cpu, "--memory", on.memory]
    options += [
        "--machine",
        on.machine,
        "--timeout",
        str(_SECONDS),
        "--kernel",
        str(image),
        "--append",
        on.append,
    ]
    for name, value in zip(on.options[::2], on.options[1::2], strict=True):
        options += [f"-{name}", value]
    return told(launch.run("run", *options))


def on_reference(guest: str, image: Path, smp: int) -> Told:
    """Run `guest` on the reference."""
    on = setup(guest)
    options = (*reference.ISA_DEBUG_EXIT, *reference.image(image, append=f"{on.append} qemu=1".strip()))
    options += ("-machine", on.machine, "-cpu", on.cpu, *on.options)
    return told(reference.run(smp, on.memory, *options, seconds=_SECONDS))


def compare(launch: Launcher, guest: str, image: Path, smp: int) -> Comparison:
    """Run `guest` on both."""
    return Comparison(guest, smp, on_mpvm(launch, guest, image, smp), on_reference(guest, image, smp))


def section(comparison: Comparison) -> str:
    """The part of the page that is about one guest: figures, absences, and all checks."""
    mpvm, qemu = comparison.mpvm, comparison.qemu
    lines = [f"## {comparison.guest}", ""]
    lines += [f"{len(mpvm.checks)} checks, {len(mpvm.checks) - len(mpvm.failed)} as the SDM says.", ""]
    for name, why in mpvm.absent.items():
        lines += [f"- Absent: {name}: {why}"]
    if mpvm.absent:
        lines.append("")
    wrong = [name for name in {**qemu.notes, **mpvm.notes} if not _as_sdm(qemu, name)]
    if wrong:
        lines += ["| QEMU 7.2 differs in | by the SDM | QEMU | what it does |", "|---|---|---|---|"]
        for name in wrong:
            why = {**mpvm.notes, **qemu.notes}[name]
            expected = (mpvm.checks.get(name) or qemu.checks[name]).expected
            got = qemu.checks[name].got if name in qemu.checks else "not run"
            lines.append(f"| {_cell(name)} | {expected} | {got} | {_cell(why)} |")
        lines.append("")
    lines += [
        "<details><summary>All checks</summary>",
        "",
        "| check | by the SDM | mpvm | QEMU 7.2 |",
        "|---|---|---|---|",
    ]
    for name, check in mpvm.checks.items():
        other = qemu.checks.get(name)
        lines.append(f"| {_cell(name)} | {check.expected} | {check.got} | {other.got if other else '-'} |")
    return "\n".join([*lines, "", "</details>", ""])


def _as_sdm(run: Told, name: str) -> bool:
    return name in run.checks and run.checks[name].passed


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def main() -> int:
    """Run, compare, and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--guest", nargs="+", choices=GUESTS, help="these alone, and no page is written")
    arguments = parser.parse_args()
    images = litmus.guest_images()
    sections, wrong = [], 0
    for guest in arguments.guest or GUESTS:
        for smp in setup(guest).smp:
            with launcher() as launch:
                comparison = compare(launch, guest, images[f"conformance-{guest}"], smp)
            problems = comparison.problems()
            wrong += len(problems)
            ran = f"{len(comparison.mpvm.checks)} checks, {len(comparison.mpvm.failed)} failed"
            print(f"{guest}, {smp} CPUs: {ran}; {len(comparison.qemu.failed)} on QEMU", flush=True)
            for problem in problems:
                print(f"  {problem}")
        sections.append(section(comparison))
    if arguments.guest is None:
        PAGE.write_text(page(sections))
    return 1 if wrong else 0


def page(sections: Sequence[str]) -> str:
    """The whole of docs/conformance.md."""
    return "\n".join([_INTRODUCTION, masked.section(), *sections])


_INTRODUCTION = """# Conformance

What the guests of `tests/guests/conformance` find, on mpvm and on QEMU 7.2's TCG with the same CPU model,
check by check; `make conformance` runs them and writes this page. Values are hexadecimal; a guest that runs
with several numbers of CPUs is listed with its last. Where QEMU leaves the SDM, the SDM decides, and the
guest says what QEMU does.
"""


if __name__ == "__main__":
    sys.exit(main())
