"""What a person sees while the machine comes up: an observer that writes to stderr.

A live line where stderr is a terminal, plain lines where it is not, nothing with --quiet.
All times are nanoseconds since the bring-up began.
"""

from typing import TYPE_CHECKING, TextIO

from mpvm.coordinator.observer import Observer

if TYPE_CHECKING:
    from rich.live import Live

_MILLION = 1_000_000
_LISTED = 8
# No eye follows a bring-up that is over sooner, and rich takes longer to import.
_PATIENCE_NS = 200 * _MILLION


class Plain(Observer):
    """A line an event."""

    def __init__(self, stream: TextIO, smp: int) -> None:
        self._stream = stream
        self._smp = smp

    def vcpu_created(self, index: int, pid: int, ns: int) -> None:
        """One line."""
        self._say(f"vCPU {index} created, process {pid}, {_ms(ns)}")

    def vcpu_ready(self, index: int, ns: int) -> None:
        """One line."""
        self._say(f"vCPU {index} ready, {_ms(ns)}")

    def machine_started(self, ns: int) -> None:
        """One line."""
        self._say(f"{_vcpus(self._smp)} running, {_ms(ns)}")

    def _say(self, text: str) -> None:
        print(f"mpvm: {text}", file=self._stream, flush=True)


class LiveLine(Observer):
    """One line that is drawn anew at every event, and stays when the machine runs.

    A machine that comes up at once only gets the line as it is in the end.
    """

    def __init__(self, stream: TextIO, smp: int) -> None:
        self._stream = stream
        self._smp = smp
        self._created: dict[int, int] = {}
        self._ready: dict[int, int] = {}
        self._live: Live | None = None

    def vcpu_created(self, index: int, pid: int, ns: int) -> None:
        """Count it."""
        self._created[index] = ns
        self._draw(ns)

    def vcpu_ready(self, index: int, ns: int) -> None:
        """Count it and note its time."""
        self._ready[index] = ns
        self._draw(ns)

    def machine_started(self, ns: int) -> None:
        """Leave the line as it is, with the whole time, before the guest writes its first."""
        if self._live is None:
            print(self.text(ns), file=self._stream, flush=True)
        else:
            self._render(self.text(ns))
            self._stop()

    def vcpu_failed(self, index: int, text: str) -> None:
        """Leave the line as it is: the error is printed below it."""
        self._stop()

    def machine_stopped(self) -> None:
        """Leave the line as it is."""
        self._stop()

    def text(self, started: int | None = None) -> str:
        """The line: how many vCPUs are created and ready, and how long each took."""
        if started is not None:
            state = f"running after {_ms(started)}"
        else:
            state = f"created {len(self._created)}/{self._smp}, ready {len(self._ready)}/{self._smp}"
        if self._smp <= _LISTED:
            took = "  ".join(f"{index}: {self._state(index)}" for index in range(self._smp))
        else:
            took = f"slowest {_ms(max(self._ready.values(), default=0))}"
        return f"mpvm: {_vcpus(self._smp)} {state}  {took}"

    def _state(self, index: int) -> str:
        if index in self._ready:
            return f"ready {_ms(self._ready[index])}"
        if index in self._created:
            return f"created {_ms(self._created[index])}"
        return "starting"

    def _draw(self, ns: int) -> None:
        if self._live is None and ns < _PATIENCE_NS:
            return
        self._render(self.text())

    def _render(self, text: str) -> None:
        from rich.text import Text

        line = Text(text, no_wrap=True, overflow="ellipsis")
        if self._live is None:
            from rich.console import Console
            from rich.live import Live

            self._live = Live(line, console=Console(file=self._stream), auto_refresh=False)
            self._live.start()
        self._live.update(line, refresh=True)

    def _stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None


def choose(stream: TextIO, smp: int, quiet: bool) -> Observer:
    """The observer that fits `stream` for a machine of `smp` vCPUs."""
    if quiet:
        return Observer()
    return LiveLine(stream, smp) if stream.isatty() else Plain(stream, smp)


def _vcpus(smp: int) -> str:
    return "1 vCPU" if smp == 1 else f"{smp} vCPUs"


def _ms(ns: int) -> str:
    return f"{ns / _MILLION:.0f} ms"
