"""Times a guest from the outside: from just before its machine is executed to a text on its stdout."""

import os
import selectors
import statistics
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]


class GuestError(Exception):
    """The guest ended, or its time was up, before it said what was waited for."""


@dataclass(frozen=True)
class Sample:
    """Medians hide nothing: `low` and `high` are the extremes of the same runs. In seconds."""

    median: float
    low: float
    high: float
    runs: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Sample":
        """The sample of `values`, one a run."""
        return cls(statistics.median(values), min(values), max(values), len(values))


def seconds_to(command: Sequence[str], texts: Sequence[bytes], limit: float) -> list[float]:
    """Seconds from the start of `command` until each of `texts`, in this order, came out of it; then ends it.

    Raises `GuestError` when the output ends or `limit` seconds pass before that.
    """
    started = time.monotonic()
    child = subprocess.Popen(
        command, cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with child, selectors.DefaultSelector() as selector:
        assert child.stdout is not None
        assert child.stderr is not None
        selector.register(child.stdout, selectors.EVENT_READ)
        times: list[float] = []
        output = b""
        try:
            while len(times) < len(texts):
                left = started + limit - time.monotonic()
                piece = os.read(child.stdout.fileno(), 65536) if selector.select(left) else b""
                now = time.monotonic()
                if not piece:
                    raise GuestError(_story(command, texts[len(times)], output, now - started))
                output += piece
                while len(times) < len(texts) and (at := output.find(texts[len(times)])) >= 0:
                    times.append(now - started)
                    output = output[at + len(texts[len(times) - 1]) :]
            return times
        finally:
            child.terminate()
            child.communicate()


def _story(command: Sequence[str], missing: bytes, output: bytes, seconds: float) -> str:
    last = output.decode(errors="replace").splitlines()[-5:]
    return "\n".join([f"no {missing!r} after {seconds:.1f} s from: {' '.join(command)}", *last])
