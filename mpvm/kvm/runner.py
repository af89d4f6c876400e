"""What carries a vCPU out: an engine in the thread that runs it, or a worker process."""

import ctypes
import importlib
from typing import Any, Protocol

from mpvm.kvm.blocks import Blocks

_NO_DOORBELL = -1


class Runner(Protocol):
    """The guest state is in the control block whenever the vCPU does not run."""

    def reset(self) -> None:
        """Power-on reset, with the CPU model that the area has."""
        ...

    def run(self, *, load: bool, controls: bool) -> int:
        """Run until an exit; its reason. Takes over the guest state before if `load`, and the `controls`."""
        ...

    def kick(self) -> None:
        """From another thread: look at requests and inbox."""
        ...

    def error(self) -> str:
        """What an INTERNAL_ERROR exit was about."""
        ...

    def close(self) -> None:
        """Free what it has."""
        ...


class ThreadRunner:
    """An engine of this process."""

    def __init__(self, vcpu: Any) -> None:
        self._vcpu = vcpu

    def reset(self) -> None:
        """Power-on reset, with the CPU model that the area has."""
        self._vcpu.reset(load_state=False)

    def run(self, *, load: bool, controls: bool) -> int:
        """Run until an exit; its reason."""
        if load:
            self._vcpu.load_state()
        if controls:
            self._vcpu.apply_controls()
        return int(self._vcpu.run())

    def kick(self) -> None:
        """From another thread: look at requests and inbox."""
        self._vcpu.kick()

    def error(self) -> str:
        """What an INTERNAL_ERROR exit was about."""
        return str(self._vcpu.error())

    def close(self) -> None:
        """Free the engine."""
        self._vcpu.close()


def thread_runner(blocks: Blocks, index: int) -> ThreadRunner:
    """By name, for `mpvm` imports no workers."""
    module = importlib.import_module("workers.unicorn.vcpu")
    return ThreadRunner(module.Vcpu(blocks.vm_address, ctypes.c_void_p(0), index, _NO_DOORBELL))
