"""From a configuration to a machine's parts: its specification and the backends of its chardevs."""

from collections.abc import Callable
from typing import Protocol

from mpvm.config import ChardevSpec, Config
from mpvm.coordinator.chardev.file import FileChardev
from mpvm.coordinator.chardev.output import Loop, Tail
from mpvm.coordinator.chardev.stdio import StdioChardev
from mpvm.hw.char.chardev import Chardev, NullChardev
from mpvm.machine import BootSpec, MachineSpec


class Backend(Protocol):
    """A chardev with I/O of its own, which lives in the event loop."""

    def start(self, loop: Loop) -> None: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102
    @property
    def tail(self) -> Tail: ...  # noqa: D102


class Chardevs:
    """The backends of a VM; those with I/O are in `backends`."""

    def __init__(self, quit_: Callable[[], None]) -> None:
        self._quit = quit_
        self.backends: list[Backend] = []

    def make(self, spec: ChardevSpec) -> Chardev:
        """The backend that `spec` describes."""
        if spec.kind == "null":
            return NullChardev()
        backend: StdioChardev | FileChardev
        if spec.kind == "file":
            assert spec.path is not None
            backend = FileChardev(spec.path)
        else:
            backend = StdioChardev(self._quit)
        self.backends.append(backend)
        return backend

    def start(self, loop: Loop) -> None:
        """Begin the I/O; a terminal goes raw."""
        for backend in self.backends:
            backend.start(loop)

    def close(self) -> None:
        """End the I/O; a terminal is restored."""
        while self.backends:
            self.backends.pop().close()

    def tail(self) -> str:
        """The end of what the guest said on the first line that has a memory of it."""
        return next((text for backend in self.backends if (text := backend.tail.text())), "")

    def terminals_again(self) -> None:
        """After a stop of this process: the shell has put the terminal back."""
        for backend in self.backends:
            if isinstance(backend, StdioChardev) and backend.terminal.raw:
                backend.terminal.enter()


def machine_spec(config: Config, chardevs: Chardevs) -> MachineSpec:
    """The machine that `config` describes, with its backends made."""
    boot = config.boot
    return MachineSpec(
        smp=config.machine.smp,
        memory_bytes=config.machine.memory,
        cpu_model=config.cpu.model,
        boot=BootSpec(
            kernel=boot.kernel,
            protocol=None if boot.protocol == "auto" else boot.protocol,
            initrd=boot.initrd,
            append=boot.append,
            modules=tuple((module.path, module.string) for module in boot.modules),
        ),
        serial=tuple(chardevs.make(spec) for spec in config.serial),
        debugcon=chardevs.make(config.debugcon),
        isa_debug_exit=config.isa_debug_exit,
    )
