"""What was measured: values a run, their median and spread, and how the contenders stand to each other."""

import math
import re
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from benchmarks.contenders import MPVM, QEMU
from benchmarks.machine import MachineError

_LINE = re.compile(r"bench (\S+) (\d\S*) \S+")
_CLOCK = "clock"
# By how much the guest's clock and the host's may differ over a run: a share, and seconds.
_CLOCK_SHARE = 0.02
_CLOCK_SECONDS = 0.05


@dataclass(frozen=True)
class Sample:
    """Medians hide nothing: `low` and `high` are the extremes of the same `runs`."""

    median: float
    low: float
    high: float
    runs: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Sample":
        """The sample of `values`, one a run, at least one."""
        return cls(statistics.median(values), min(values), max(values), len(values))


@dataclass
class Result:
    """One row's values by contender. `unit` is the values'; `more_is_better` says which way is up."""

    name: str
    smp: int
    group: str
    what: str
    unit: str
    more_is_better: bool
    values: dict[str, list[float]] = field(default_factory=dict)

    def sample(self, contender: str) -> Sample | None:
        """None when this contender has no value, as it failed or was left out."""
        values = self.values.get(contender)
        return Sample.of(values) if values else None

    @property
    def ratio(self) -> float | None:
        """How many times as good as QEMU mpvm is, by the medians: above 1 it is the better."""
        mpvm, qemu = self.sample(MPVM), self.sample(QEMU)
        return None if mpvm is None or qemu is None else self._compare(mpvm.median, qemu.median)

    @property
    def spread(self) -> tuple[float, float] | None:
        """The lowest and the highest ratio of a run of one contender and a run of the other."""
        mpvm, qemu = self.sample(MPVM), self.sample(QEMU)
        if mpvm is None or qemu is None:
            return None
        ends = [self._compare(mpvm.low, qemu.high), self._compare(mpvm.high, qemu.low)]
        known = [end for end in ends if end is not None]
        return (min(known), max(known)) if known else None

    def _compare(self, mpvm: float, qemu: float) -> float | None:
        if not mpvm or not qemu:
            return None
        return mpvm / qemu if self.more_is_better else qemu / mpvm


def geometric_mean(results: Iterable[Result]) -> float | None:
    """Of the ratios, each row with the same weight; None when there are none."""
    logarithms = [math.log(result.ratio) for result in results if result.ratio]
    return math.exp(statistics.fmean(logarithms)) if logarithms else None


def parse(lines: Iterable[tuple[float, str]]) -> dict[str, float]:
    """The values of lines `bench NAME VALUE UNIT`; the times at which the lines came play no part."""
    return {name: value for _, name, value in _values(lines) if name != _CLOCK}


def check_clock(lines: Iterable[tuple[float, str]]) -> None:
    """Hold the clock of a guest that measures by it against the host's, on which the lines have their times.

    The guest prints it at both ends, `bench clock SECONDS s`. MachineError when less or more time has passed
    on it than on the host's.
    """
    clocks = [(time, value) for time, name, value in _values(lines) if name == _CLOCK]
    host, guest = (end - start for start, end in zip(clocks[0], clocks[-1], strict=True))
    if abs(guest - host) > host * _CLOCK_SHARE + _CLOCK_SECONDS:
        raise MachineError(f"the guest's clock went {guest:.3f} s while the host's went {host:.3f} s")


def _values(lines: Iterable[tuple[float, str]]) -> Iterator[tuple[float, str, float]]:
    for time, line in lines:
        match = _LINE.fullmatch(line)
        if match:
            yield time, match[1], float(match[2])
