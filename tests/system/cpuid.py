"""What the guest `cpuid` has printed: CPUID's answers on every CPU."""

import re
from typing import NamedTuple

from mpvm.cpu.features import CpuidRegister

Registers = tuple[int, int, int, int]

_CPU = re.compile(r"cpu \d+ apic (\d+)\s*")
_LEAF = re.compile(" ".join((r"([0-9a-f]{8}) ([0-9a-f]{2})", *[r"([0-9a-f]{8})"] * 4)) + r"\s*")


class Dump(NamedTuple):
    """One CPU's answers: the printed ones, which leave out a subleaf that answers as the one before it."""

    apic_id: int
    printed: dict[tuple[int, int], Registers]

    @property
    def functions(self) -> list[int]:
        """The leaves."""
        return sorted({function for function, _ in self.printed})

    def leaf(self, function: int, subleaf: int = 0) -> Registers:
        """EAX, EBX, ECX and EDX; zeros for a leaf that was not printed."""
        for number in range(subleaf, -1, -1):
            if (function, number) in self.printed:
                return self.printed[function, number]
        return (0, 0, 0, 0)

    def register(self, where: CpuidRegister) -> int:
        """A feature word's register."""
        return self.leaf(where.function, where.subleaf or 0)[where.register]


def parse(console: str) -> list[Dump]:
    """The dumps of all CPUs, in the order of the guest's own numbers."""
    dumps: list[Dump] = []
    for line in console.splitlines():
        if cpu := _CPU.fullmatch(line):
            dumps.append(Dump(int(cpu[1]), {}))
        elif leaf := _LEAF.fullmatch(line):
            function, subleaf, eax, ebx, ecx, edx = (int(word, 16) for word in leaf.groups())
            dumps[-1].printed[function, subleaf] = (eax, ebx, ecx, edx)
    return dumps
