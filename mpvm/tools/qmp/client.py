"""A QMP client for mpvm's own commands: QEMU's (the package qemu.qmp), one command after the other."""

import asyncio
import contextlib
import logging
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from qemu.qmp import ExecuteError, QMPClient, QMPError

from mpvm.abi.errors import CommandError, StartError


class Client:
    """A connection to the monitor that listens at `socket`.

    Raises `StartError` when there is none or it hangs up, `CommandError` with what the VM says of a command.
    """

    def __init__(self, socket: Path) -> None:
        # It logs what it raises, too.
        logging.getLogger("qemu.qmp").addHandler(logging.NullHandler())
        self._socket = socket
        self._runner = asyncio.Runner()
        self._client = QMPClient()
        try:
            self._runner.run(self._client.connect(str(socket)))
        except QMPError as error:
            self._runner.close()
            raise StartError(f"{socket}: no VM answers: {error}") from error

    def execute(self, command: str, **arguments: object) -> Any:
        """What `command` returns."""
        try:
            return self._runner.run(self._client.execute(command, arguments))
        except ExecuteError as error:
            raise CommandError(str(error)) from error
        except (QMPError, EOFError, OSError) as error:
            raise StartError(f"{self._socket}: the VM has hung up: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect."""
        try:
            # The VM may have hung up first.
            with contextlib.suppress(QMPError, EOFError, OSError):
                self._runner.run(self._client.disconnect())
        finally:
            self._runner.close()
