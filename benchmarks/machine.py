"""A machine that is measured, seen from the host: its console with the times of it, and its memory."""

import bisect
import os
import selectors
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

REPOSITORY = Path(__file__).resolve().parents[1]

_PROC = Path("/proc")
_PIECE = 65536
_LAST_LINES = 5


class MachineError(Exception):
    """The machine ended, or its time was up, before it said what was waited for; or it said nonsense."""


class Machine:
    """A process, and whatever it starts, with its console on stdout. Leaving the context ends it.

    Times are seconds since just before it was executed, on the host's clock (CLOCK_MONOTONIC).
    """

    def __init__(self, command: Sequence[str], limit: float) -> None:
        """Start `command`; it may run for `limit` seconds."""
        self._command = command
        self._output = bytearray()
        # The console's length after each read, and when that was.
        self._lengths: list[int] = []
        self._times: list[float] = []
        self._consumed = 0
        self._selector = selectors.DefaultSelector()
        self._started = time.monotonic()
        self._deadline = self._started + limit
        self._child = subprocess.Popen(
            command,
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )
        assert self._child.stdout is not None
        self._selector.register(self._child.stdout, selectors.EVENT_READ)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._child.terminate()
        self._child.communicate()
        self._selector.close()

    def wait_for(self, text: bytes) -> float:
        """When `text` came, after all that was waited for before. MachineError when it does not come."""
        while (at := self._output.find(text, self._consumed)) < 0:
            if not self._read():
                raise MachineError(self._story(f"no {text!r}"))
        self._consumed = at + len(text)
        return self._time_of(self._consumed)

    def lines(self) -> Iterator[tuple[float, str]]:
        """Every line up to what was last waited for, without its end, and when it was whole."""
        end = 0
        for line in bytes(self._output[: self._consumed]).splitlines(keepends=True):
            end += len(line)
            yield self._time_of(end), line.decode("ascii", "replace").strip()

    def wait_for_end(self) -> None:
        """Until the machine has powered itself off. MachineError when it ends with another status than 0."""
        while self._read():
            pass
        self._consumed = len(self._output)
        try:
            status = self._child.wait(max(0.0, self._deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise MachineError(self._story("no end")) from None
        if status:
            raise MachineError(self._story(f"status {status} instead of 0"))

    def processes(self) -> list[int]:
        """The process and all that descend from it."""
        return _family(self._child.pid)

    def resident_bytes(self) -> int:
        """What all its processes take of the host's memory; what they share counts once (PSS)."""
        return sum(_proportional_set(pid) for pid in self.processes())

    def _read(self) -> bool:
        """Some more of the console; False at its end. MachineError when the time is up."""
        if not self._selector.select(max(0.0, self._deadline - time.monotonic())):
            raise MachineError(self._story("time is up"))
        assert self._child.stdout is not None
        piece = os.read(self._child.stdout.fileno(), _PIECE)
        self._output += piece
        self._lengths.append(len(self._output))
        self._times.append(time.monotonic() - self._started)
        return bool(piece)

    def _time_of(self, length: int) -> float:
        return self._times[bisect.bisect_left(self._lengths, length)]

    def _story(self, what: str) -> str:
        seconds = time.monotonic() - self._started
        last = self._output.decode("ascii", "replace").splitlines()[-_LAST_LINES:]
        return "\n".join([f"{what} after {seconds:.1f} s from: {' '.join(self._command)}", *last])


def _family(ancestor: int) -> list[int]:
    """`ancestor` and all that descend from it."""
    children: dict[int, list[int]] = {}
    for folder in _PROC.iterdir():
        if folder.name.isdigit():
            try:
                # proc_pid_stat(5): the name in parentheses may hold anything; the parent is two fields on.
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
            children.setdefault(parent, []).append(int(folder.name))
    family = [ancestor]
    for member in family:
        family += children.get(member, [])
    return family


def _proportional_set(pid: int) -> int:
    for line in (_PROC / str(pid) / "smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise MachineError(f"/proc/{pid}/smaps_rollup has no line Pss: Linux 4.14 or later is right")
