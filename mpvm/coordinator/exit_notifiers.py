"""What has to be undone at the end of a run: last made, first undone, whatever happens."""

import sys
from collections.abc import Callable

from mpvm.trace.control import trace


class ExitNotifiers:
    """A stack of named clean-ups. Each runs once, even when another fails."""

    def __init__(self) -> None:
        self._notifiers: list[tuple[str, Callable[[], None]]] = []

    def add(self, name: str, notifier: Callable[[], None]) -> None:
        """Call `notifier` at the end, before those that were added earlier."""
        self._notifiers.append((name, notifier))

    def run(self) -> list[str]:
        """Call them all; returns a line for each that failed."""
        failures = []
        while self._notifiers:
            name, notifier = self._notifiers.pop()
            trace("exit_notifier", name)
            try:
                notifier()
            except Exception as error:
                failures.append(f"while ending, {name}: {type(error).__name__}: {error}")
        return failures

    def run_and_report(self) -> None:
        """Call them all; failures go to stderr, one line each: there is nobody left to raise them to."""
        for line in self.run():
            print(f"mpvm: {line}", file=sys.stderr)
