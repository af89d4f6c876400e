"""Random cases: sequences of valid instructions, and the states that they start from.

Some registers point into the data that a case may address, one is a small index; instructions seldom
overwrite these. Which flags and x87 condition codes are undefined is followed from one instruction to the
next: none that reads what is undefined is taken, and what is undefined at the end is not compared.
"""

import functools
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from tests.fuzz import layout
from tests.fuzz.catalogue import INTEGER
from tests.fuzz.catalogue_sse import SSE
from tests.fuzz.catalogue_x87 import X87
from tests.fuzz.encoder import Encoder, Instruction, Pointers
from tests.fuzz.forms import Effect, Form, parse
from tests.fuzz.state import StateSource

_MAX_BYTES: Final = layout.SLOT_BYTES - 24


class Case(NamedTuple):
    """A case: its record and its instructions. `unknown` is what is undefined before them."""

    record: bytes
    instructions: tuple[Instruction, ...]
    long_mode: bool
    unknown: int = 0

    def undefined(self) -> list[int]:
        """What is undefined before the first instruction, and after each."""
        found = [self.unknown]
        for instruction in self.instructions:
            found.append(found[-1] & ~instruction.effect.defines | instruction.effect.undefined)
        return found

    @property
    def entry(self) -> int:
        """Where its code begins."""
        return layout.field(self.record, layout.ENTRY_AT)

    def code(self) -> bytes:
        """Its code, with the jump to the runner behind it."""
        body = b"".join(instruction.code for instruction in self.instructions)
        return body + leave(self.entry + len(body), self.long_mode)


def leave(at: int, long_mode: bool) -> bytes:
    """The jump to where the runner collects the state."""
    if long_mode:
        return b"\xe9" + (layout.GATE - at - 5).to_bytes(4, "little", signed=True)
    return b"\xea" + layout.GATE.to_bytes(4, "little") + layout.CS64.to_bytes(2, "little")


@functools.cache
def host_flags() -> frozenset[str]:
    """The features of the host's CPU, in Linux's names."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("flags"):
            return frozenset(line.split())
    raise AssertionError("/proc/cpuinfo has no flags")


@functools.cache
def _forms(long_mode: bool) -> list[Form]:
    """All that the host has, each as often as its weight."""
    chosen: list[Form] = []
    unwanted, flags = "o32" if long_mode else "o64", host_flags()
    for form in parse("\n".join((INTEGER, SSE, X87))):
        if unwanted not in form.words and (not form.cpu or form.cpu in flags):
            chosen += [form] * form.weight
    return chosen


class Generator:
    """An endless source of cases that are a function of the seed."""

    def __init__(self, seed: int, only: str = "") -> None:
        self._rng = random.Random(seed)
        self._states = StateSource(self._rng)
        self._encoders = {mode: Encoder(self._rng, mode) for mode in (True, False)}
        self._choices: dict[bool, Sequence[Form]] = {
            mode: [form for form in _forms(mode) if not only or form.name in only.split(",")]
            for mode in (True, False)
        }

    def case(self, slot: int, length: int) -> Case:
        """A case of `length` instructions for a slot, fewer where they are long."""
        rng = self._rng
        long_mode = rng.random() < 0.7
        record, pointers = self._states.record(slot, long_mode)
        forms, encoder = self._choices[long_mode], self._encoders[long_mode]
        instructions: list[Instruction] = []
        at, unknown, count = slot, 0, len(forms)
        while len(instructions) < length and at - slot < _MAX_BYTES:
            form = forms[int(rng.random() * count)]
            made = encoder.encode(form, at, pointers)
            if made.effect.reads & unknown:
                continue
            if "jump" in form.words:
                # What it may go past is part of it: both ways lead on.
                made = self._jump(made, forms, encoder, at, pointers, unknown)
            unknown = unknown & ~made.effect.defines | made.effect.undefined
            instructions.append(made)
            at += len(made.code)
        return Case(record, tuple(instructions), long_mode)

    def _jump(
        self,
        jump: Instruction,
        forms: Sequence[Form],
        encoder: Encoder,
        at: int,
        pointers: Pointers,
        unknown: int,
    ) -> Instruction:
        while True:
            form = forms[int(self._rng.random() * len(forms))]
            if "jump" in form.words:
                continue
            skipped = encoder.encode(form, at + len(jump.code), pointers)
            if not skipped.effect.reads & unknown:
                break
        size = 1 if jump.forms[0].immediate == "ib" else 4
        code = jump.code[:-size] + len(skipped.code).to_bytes(size, "little") + skipped.code
        effect = Effect(jump.effect.reads | skipped.effect.reads, 0, skipped.effect.undefined)
        return Instruction(code, jump.forms + skipped.forms, effect)
