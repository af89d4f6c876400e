"""The table of what is measured: an entry a row."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from benchmarks.results import Result
from benchmarks.runs import FirstInstruction, Linux, OwnGuest, Run, Start


@dataclass(frozen=True)
class Row:
    """`name` is a value that each of `runs` gives; times `scale` it is in `unit`."""

    name: str
    what: str
    unit: str
    runs: Sequence[Run]
    scale: float = 1
    more_is_better: bool = True


@dataclass(frozen=True)
class Group:
    """Rows that belong together. Those that `count` are in the mean over all."""

    name: str
    rows: Sequence[Row]
    counts: bool = True


def _less(name: str, what: str, unit: str, *runs: Run, scale: float = 1) -> Row:
    return Row(name, what, unit, runs, scale, more_is_better=False)


def _more(name: str, what: str, unit: str, *runs: Run, scale: float = 1) -> Row:
    return Row(name, what, unit, runs, scale)


_MEBI = 1 / 2**20
_MICRO = 1e-3  # from nanoseconds
_MILLI = 1e3  # from seconds

_LINUX = Linux(2)
_PORTS = OwnGuest("ports", 1, (("accesses", 20000),))
_INTERRUPTS = OwnGuest("interrupts", 2, (("pings", 3000), ("alarms", 300)))
_CODE = OwnGuest("code", 2, (("writes", 10_000_000), ("rewrites", 100_000), ("handovers", 20_000)))

GROUPS = (
    Group(
        "start",
        (
            _less("init", "boot of Linux to the first line of /init", "s", *map(Linux, (1, 2, 4, 8))),
            _less(
                "first-instruction",
                "to the first instruction",
                "ms",
                *map(FirstInstruction, (4, 64)),
                scale=_MILLI,
            ),
            _less("first-byte", "to the first byte of a tiny guest", "ms", *map(Start, (1, 4)), scale=_MILLI),
        ),
    ),
    Group(
        "processor",
        (
            _more("integer", "SHA-256 in C", "MB/s", _LINUX),
            _more("divide", "64-bit divisions", "M/s", _LINUX),
            _more("sort", "heap sort of random numbers", "M/s", _LINUX),
            _more("interpreter", "byte code, an indirect jump each", "M/s", _LINUX),
            _more("calls", "calls and returns", "M/s", _LINUX),
            _more("double", "scalar double: Mandelbrot points", "k/s", _LINUX, scale=1e-3),
            _more("sqrt", "scalar double: division and square root", "M/s", _LINUX),
            _more("x87", "x87: Mandelbrot points", "k/s", _LINUX, scale=1e-3),
            _more("packed-single", "SSE, packed single: matrix product", "MFLOP/s", _LINUX),
            _more("packed-integer", "SSE2, bytes: means and differences", "MB/s", _LINUX),
        ),
    ),
    Group(
        "memory",
        (
            _more("stream", "a = b + 3 c over 24 MiB", "MB/s", _LINUX),
            _more("stream-conflict", "the same, arrays a power of two apart", "MB/s", _LINUX),
            _more("load-cached", "dependent loads in 64 KiB", "M/s", _LINUX),
            _more("load-far", "dependent loads, a page each, in 16 MiB", "M/s", _LINUX),
            _more("copy-sse", "copy by 16 bytes", "MB/s", _LINUX),
            _more("copy-rep-movs", "copy by REP MOVSQ", "MB/s", _LINUX),
        ),
    ),
    Group(
        "kernel",
        (
            _more("syscall", "getppid", "k/s", _LINUX, scale=1e-3),
            _more("file-read", "pread of 4 KiB from tmpfs", "MB/s", _LINUX),
            _more("signal", "raise and handle", "k/s", _LINUX, scale=1e-3),
            _more("mmap-fault", "page faults: map, touch, unmap", "k/s", _LINUX, scale=1e-3),
            _more("mprotect", "pairs of mprotect, and a store", "k/s", _LINUX, scale=1e-3),
            _more("fork", "fork, exit, wait", "/s", _LINUX),
            _more("fork-exec", "fork, exec, exit, wait", "/s", _LINUX, Linux(4)),
        ),
    ),
    Group(
        "several CPUs",
        (
            _more("pipe-same-cpu", "round trips through pipes, on one CPU", "k/s", _LINUX, scale=1e-3),
            _more("pipe-across", "the same between two CPUs", "k/s", _LINUX, scale=1e-3),
            _more("futex-same-cpu", "round trips by futex, on one CPU", "k/s", _LINUX, scale=1e-3),
            _more("futex-across", "the same between two CPUs", "k/s", _LINUX, scale=1e-3),
            _more("atomic", "LOCK XADD of all CPUs on one word", "M/s", _LINUX, Linux(4)),
            _more(
                "mprotect-threads", "pairs of mprotect by all CPUs", "k/s", *map(Linux, (2, 4, 8)), scale=1e-3
            ),
            _more("scaling", "work of two CPUs over work of one", "times", _LINUX),
        ),
    ),
    Group(
        "interrupts",
        (
            _less("ipi-running-median", "IPI there and back, CPUs at work", "µs", _INTERRUPTS, scale=_MICRO),
            _less("ipi-running-p99", "the same, 99th percentile", "µs", _INTERRUPTS, scale=_MICRO),
            _less("ipi-halted-median", "IPI there and back, CPUs halted", "µs", _INTERRUPTS, scale=_MICRO),
            _less("ipi-halted-p99", "the same, 99th percentile", "µs", _INTERRUPTS, scale=_MICRO),
            _less(
                "timer-running-median",
                "how late the APIC timer is, CPU at work",
                "µs",
                _INTERRUPTS,
                scale=_MICRO,
            ),
            _less("timer-halted-median", "the same, CPU halted", "µs", _INTERRUPTS, scale=_MICRO),
        ),
    ),
    Group(
        "changing code",
        (
            _less("code-beside", "a store next to the code that does it", "ns", _CODE, scale=1e-3),
            _less("code-own", "change code and run it", "µs", _CODE, scale=_MICRO),
            _less("code-across", "change code, another CPU runs it", "µs", _CODE, scale=_MICRO),
        ),
    ),
    Group(
        "ports",
        (
            _less("port-read-median", "read that the coordinator answers", "µs", _PORTS, scale=_MICRO),
            _less("port-read-p99", "the same, 99th percentile", "µs", _PORTS, scale=_MICRO),
            _less("port-write-median", "write that the coordinator answers", "µs", _PORTS, scale=_MICRO),
            _less("port-posted-median", "write that is posted", "µs", _PORTS, scale=_MICRO),
            _less("pm-timer-median", "read of the ACPI PM timer", "µs", _PORTS, scale=_MICRO),
        ),
        counts=False,
    ),
    Group(
        "host's memory",
        (
            _less(
                "resident",
                "of all processes, at /init, guest of 512 MiB",
                "MiB",
                *map(Linux, (1, 2, 4)),
                scale=_MEBI,
            ),
        ),
        counts=False,
    ),
)


@dataclass(frozen=True)
class Cell:
    """A row on one of its runs: what a result is of."""

    row: Row
    group: Group
    run: Run

    @property
    def name(self) -> str:
        """``row:vCPUs``, as on the command line."""
        return f"{self.row.name}:{self.run.smp}"

    def empty_result(self) -> Result:
        """A result without values."""
        row = self.row
        return Result(row.name, self.run.smp, self.group.name, row.what, row.unit, row.more_is_better)


def cells(patterns: Sequence[str] = ("*",)) -> Iterator[Cell]:
    """Whose row, group or ``row:vCPUs`` matches one of `patterns` (fnmatch).

    ValueError for a pattern that nothing matches.
    """
    unmatched = set(patterns)
    for group in GROUPS:
        for row in group.rows:
            for run in row.runs:
                cell = Cell(row, group, run)
                names = (row.name, group.name, cell.name)
                matching = {
                    pattern for pattern in patterns if any(fnmatchcase(name, pattern) for name in names)
                }
                unmatched -= matching
                if matching:
                    yield cell
    if unmatched:
        raise ValueError(f"no row is called {', '.join(sorted(unmatched))}: --list prints all names")
