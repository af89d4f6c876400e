"""Throws cases at the host and at the guest, and shrinks what differs to one instruction."""

from collections import Counter
from collections.abc import Iterator
from typing import Final, NamedTuple

from tests.fuzz import layout, runner
from tests.fuzz.comparison import differences, disassembly, initial_state
from tests.fuzz.generator import Case, Generator
from tests.fuzz.guest import Guest
from tests.fuzz.host import Host

# How many instructions a case has.
LENGTH: Final = 12


class Finding(NamedTuple):
    """A difference, shrunk as far as it goes."""

    seed: int
    number: int
    case: Case
    differences: list[str]

    @property
    def name(self) -> str:
        """What the instruction is called in the catalogue."""
        return self.case.instructions[-1].forms[-1].name

    def __str__(self) -> str:
        mode = 64 if self.case.long_mode else 32
        return "\n    ".join(
            (
                f"seed {self.seed}, case {self.number}, {mode}-bit code:",
                *disassembly(self.case),
                *self.differences,
                "from " + ", ".join(initial_state(self.case)),
            )
        )


class Campaign:
    """A host, a guest, and what they are compared on."""

    def __init__(self, host: Host, guest: Guest) -> None:
        self._host, self._guest = host, guest
        #: What became of the cases: exceptions by vector.
        self.outcomes: Counter[int] = Counter()
        self.instructions = 0

    def run(self, seed: int, count: int, only: str = "", length: int = LENGTH) -> Iterator[Finding]:
        """Run cases of `seed` until `count` instructions have been thrown; what differs."""
        generator = Generator(seed, only)
        number = 0
        goal = self.instructions + count
        while self.instructions < goal:
            cases: list[Case] = []
            while len(cases) < layout.MAX_CASES and self.instructions < goal:
                case = generator.case(layout.slot(len(cases)), length)
                self.instructions += len(case.instructions)
                cases.append(case)
            for index, host, guest in self._compare(cases):
                yield self._shrink(seed, number + index, cases[index], differences(cases[index], host, guest))
            number += len(cases)

    def _compare(self, cases: list[Case]) -> list[tuple[int, bytes, bytes]]:
        """The cases that differ, with both results."""
        code, records = _batch(cases)
        host, _ = self._host.run(code, records)
        guest, _ = self._guest.run(code, records)
        found = []
        for index, case in enumerate(cases):
            at = index * layout.RECORD_BYTES
            result = host[at : at + layout.RECORD_BYTES]
            self.outcomes[result[layout.VECTOR_AT]] += 1
            other = guest[at : at + layout.RECORD_BYTES]
            if differences(case, result, other):
                found.append((index, result, other))
        return found

    def _shrink(self, seed: int, number: int, case: Case, found: list[str]) -> Finding:
        """The instruction that makes them differ, from the host's state before it; else what it takes."""
        for length in range(1, len(case.instructions) + 1):
            start = case._replace(instructions=case.instructions[:length])
            if not (differing := self._differing(start)):
                continue
            case, found = start, differing
            alone = self._alone(case)
            if differing := self._differing(alone):
                return Finding(seed, number, alone, differing)
            break
        position = 0
        while position < len(case.instructions) - 1:
            left_out = case.instructions[:position] + case.instructions[position + 1 :]
            shorter = case._replace(instructions=left_out)
            if differing := self._differing(shorter):
                case, found = shorter, differing
            else:
                position += 1
        return Finding(seed, number, case, found)

    def _differing(self, case: Case) -> list[str]:
        return next((differences(case, *results) for _index, *results in self._compare([case])), [])

    def _alone(self, case: Case) -> Case:
        """The last instruction of a case, from the host's state before it, at the address where it was."""
        *before, last = case.instructions
        if not before:
            return case
        start = case._replace(instructions=tuple(before))
        result, _ = self._host.run(*_batch([start]))
        at = case.entry + sum(len(instruction.code) for instruction in before)
        record = (
            result[: layout.ENTRY_AT]
            + at.to_bytes(8, "little")
            + case.record[layout.CS_AT : layout.MEMORY_AT]
            + result[layout.MEMORY_AT :]
        )
        return Case(record, (last,), case.long_mode, start.undefined()[-1])


def _batch(cases: list[Case]) -> tuple[bytes, bytes]:
    """The code of all slots, and the records."""
    slots = 2 + (max(case.entry for case in cases) - layout.CODE) // layout.SLOT_BYTES
    code = bytearray(b"\xcc") * (layout.SLOT_BYTES * min(slots, layout.SLOTS))
    code[: len(runner.GATE_CODE)] = runner.GATE_CODE
    for case in cases:
        body, at = case.code(), case.entry - layout.CODE
        code[at : at + len(body)] = body
    return bytes(code), b"".join(case.record for case in cases)
