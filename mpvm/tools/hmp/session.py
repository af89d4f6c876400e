"""A monitor at a chardev: its prompt, and the commands that are typed there."""

import codecs
from collections.abc import Callable
from functools import partial
from typing import Final

import mpvm
from mpvm.abi.errors import MpvmError
from mpvm.tools.hmp.readline import LineEditor
from mpvm.tools.hmp.registry import COMMANDS, INFO, HmpCommand, UsageError
from mpvm.tools.qmp import registry
from mpvm.tools.vm import Vm
from mpvm.trace.control import trace

PROMPT: Final = "(qemu) "


class HmpSession:
    """One monitor. `write` takes its output; `receive`, `opened` and `focused` are its chardev's to call."""

    def __init__(self, vm: Vm, write: Callable[[bytes], None]) -> None:
        self.vm = vm
        # Of the vCPU that `x`, `print` and `info registers` are about.
        self.cpu_index = 0
        # What /fmt was last, for the next one without.
        self.format, self.size = "x", 4
        self._to = write
        self._greeted = False
        # Whether keys are this monitor's; of several at one chardev, they are one's.
        self.has_focus = True
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._editor = LineEditor(self.write, self._entered, complete)
        self._editor.prompt = PROMPT

    # For the chardev.

    def receive(self, data: bytes) -> None:
        """Keys."""
        self._editor.feed(self._decoder.decode(data))

    def opened(self, is_open: bool) -> None:
        """Somebody has come, and is greeted where the keys are this monitor's, or has gone."""
        if is_open and self.has_focus:
            self._greet()

    def focused(self, focused: bool) -> None:
        """The keys are this monitor's from now on, or no more."""
        self.has_focus = focused
        if not focused:
            self.write("\n")
        elif self._greeted:
            self._editor.show()
        else:
            self._greet()

    def _greet(self) -> None:
        self._greeted = True
        self.write(f"mpvm {mpvm.__version__} monitor - type 'help' for more information\n")
        self._editor.show()

    # For commands.

    def write(self, text: str) -> None:
        """Print `text`."""
        self._to(text.replace("\n", "\r\n").encode())

    def line(self, text: str) -> None:
        """Print a line."""
        self.write(f"{text}\n")

    def qmp(self, name: str, **arguments: object) -> object:
        """What QMP's command `name` returns."""
        given = {key.replace("_", "-"): value for key, value in arguments.items()}
        return registry.find(name).call(self.vm, given)

    # The conversation.

    def _entered(self, line: str) -> None:
        # A command may pause the VM, which a callback of the loop must not.
        self.vm.run_control.call(partial(self._execute, line))

    def _execute(self, line: str) -> None:
        trace("handle_hmp_command", line)
        try:
            self.execute(line)
        except MpvmError as error:
            self.line(f"Error: {error}")
        if self.has_focus:
            self._editor.show()

    def execute(self, line: str) -> None:
        """Carry out the command in `line`. Raises what it raises."""
        text = line.strip()
        if not text or text.startswith("#"):
            return
        name, rest = split_name(text)
        table, kind = COMMANDS, "command"
        if name == "info" and rest:
            name, _, rest = rest.partition(" ")
            table, kind = INFO, "info"
        shown = name if kind == "command" else f"info {name}"
        entry = table.get(name)
        if entry is None:
            self.line(f"unknown command: '{shown}'")
            return
        try:
            entry.function(self, rest.strip())
        except UsageError as error:
            self.line(str(error))
            self.line(f'Try "help {shown}" for more information')


def split_name(text: str) -> tuple[str, str]:
    """The command's name and the rest; a format may follow the name at once, as in x/4xb."""
    for position, letter in enumerate(text):
        if letter in " /":
            return text[:position], text[position:].strip()
    return text, ""


def complete(line: str) -> list[str]:
    """The names that the last word of `line` may be completed to."""
    words = line.split(" ")
    table: dict[str, HmpCommand] = {1: COMMANDS, 2: INFO if words[0] == "info" else {}}.get(len(words), {})
    return sorted(name for name in table if name.startswith(words[-1]))
