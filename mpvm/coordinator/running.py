"""Finds a running VM by what a person calls it: each has its monitor's socket in its runtime directory."""

import os
from pathlib import Path
from typing import NamedTuple

from mpvm.abi.errors import ConfigError, StartError
from mpvm.coordinator import runtime_dir
from mpvm.coordinator.monitor import PRIVATE_SOCKET
from mpvm.tools.qmp.client import Client


class RunningVm(NamedTuple):
    """A VM: its coordinator's process id, its guest's name and its monitor's socket."""

    pid: int
    name: str
    socket: Path

    def __str__(self) -> str:
        return f"{self.pid} ({self.name})" if self.name else str(self.pid)


def find_vm(wanted: str | None = None) -> RunningVm:
    """The VM whose process id or name is `wanted`, None for the only one that runs; `ConfigError`."""
    running = running_vms()
    if not running:
        raise ConfigError("no VM runs, `mpvm run FILE.yaml` starts one")
    found = [vm for vm in running if wanted in (None, str(vm.pid), vm.name)]
    if len(found) == 1:
        return found[0]
    choice = " or ".join(map(str, found or running))
    if found:
        raise ConfigError(f"--vm: more than one VM runs, {choice} is right")
    raise ConfigError(f"--vm: there is no VM {wanted!r}, {choice} is right")


def running_vms() -> list[RunningVm]:
    """This user's VMs that run now, by process id."""
    found = [_look(pid, directory) for pid, directory in runtime_dir.running()]
    return sorted(vm for vm in found if vm is not None)


def _look(pid: int, directory: Path) -> RunningVm | None:
    socket = directory / PRIVATE_SOCKET
    if not os.access(socket, os.W_OK):
        return None
    try:
        with Client(socket) as client:
            name = client.execute("query-name").get("name", "")
    except StartError:
        # It has ended meanwhile.
        return None
    return RunningVm(pid, name, socket)
