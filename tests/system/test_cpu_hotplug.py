"""CPUs come and go under a running Linux, which agrees at every step.

`python -m tests.system.test_cpu_hotplug N` does the same N times in one VM, in search of races.
"""

import asyncio
import re
import sys
from pathlib import Path
from typing import Any

import pexpect
from qemu.qmp import ExecuteError, QMPClient

from tests.system import linux
from tests.system.runner import MPVM, Launcher, launcher

_DRIVER = "max-x86_64-cpu"
_PROMPT = r"/ # (?:\x1b\[6n)?"
# What the guest may say an event was (ACPI 6.5, 6.3.5).
_DEVICE_CHECK, _EJECT_REQUEST = 1, 3
# Field 39 of stat is the CPU that the process last ran on.
_LOAD = (
    "for cpu in $(cat /tmp/cpus); do"
    " taskset -c $cpu sh -c 'i=0; while [ $i -lt 2000 ]; do i=$((i + 1)); done;"
    " read -r line < /proc/self/stat; set -- ${line##*) }; echo loaded ${37}' & done; wait"
)
_FACTS = (
    "ls -d /sys/devices/system/cpu/cpu[0-9]* | sed 's/.*cpu//' > /tmp/cpus;"
    " echo facts $(nproc) $(cat /sys/devices/system/cpu/online) $(grep -c ^processor /proc/cpuinfo)"
    " $(cat /tmp/cpus)"
)


class _Guest:
    """A Linux at its prompt, and a client of its VM."""

    def __init__(self, launch: Launcher, client: QMPClient, terminal: "pexpect.spawn[str]") -> None:
        self._launch = launch
        self._client = client
        self._terminal = terminal

    def said(self, command: str) -> str:
        """What `command` prints, up to the next prompt."""
        self._terminal.sendline(f"{command}; echo done")
        self._terminal.expect(r"\ndone\r*\n")
        said = self._terminal.before
        assert isinstance(said, str)
        self._terminal.expect(_PROMPT)
        return said

    def facts(self) -> str:
        """Number of CPUs, those online, how many /proc/cpuinfo has, and those of /sys."""
        found = re.search(r"\nfacts (.*?)\r*\n", self.said(_FACTS) + "\n")
        assert found is not None
        return found[1]

    def loaded(self) -> list[int]:
        """The CPUs that a load ran on which was put there."""
        return sorted(int(cpu) for cpu in re.findall(r"\nloaded (\d+)", self.said(_LOAD)))

    async def event(self, name: str) -> dict[str, Any]:
        """The data of the next `name`."""
        while True:
            event = await self._client.events.get()
            if event["event"] == name:
                data = event["data"]
                assert isinstance(data, dict)
                return data

    async def outcome(self, source: int) -> dict[str, Any]:
        """Which CPU the guest next says of that an event of the kind `source` has gone right."""
        while True:
            info: dict[str, Any] = (await self.event("ACPI_DEVICE_OST"))["info"]
            assert info.pop("slot-type") == "CPU"
            if (info.pop("source"), info.pop("status")) == (source, 0):
                return info

    async def add(self, cpu: int, name: str) -> None:
        """Add a CPU, wait until Linux has it, and have it brought up."""
        place = {"socket-id": 0, "core-id": cpu, "thread-id": 0}
        await self._client.execute("device_add", {"driver": _DRIVER, "id": name, **place})
        assert await self.outcome(_DEVICE_CHECK) == {"slot": str(cpu), "device": name}
        self.said(f"echo 1 > /sys/devices/system/cpu/cpu{cpu}/online")

    async def remove(self, name: str) -> None:
        """Ask Linux to let go of a CPU, and wait until it has."""
        await self._client.execute("device_del", {"id": name})
        assert await self.event("DEVICE_DELETED") == {
            "device": name,
            "path": f"/machine/peripheral/{name}",
        }
        assert list(await self.outcome(_EJECT_REQUEST)) == ["slot"], "it has no name any more"

    async def processes(self) -> int:
        """How many vCPUs the VM says it has; each is a process that lives."""
        cpus: Any = await self._client.execute("query-cpus-fast")
        assert all(Path("/proc", str(cpu["thread-id"])).exists() for cpu in cpus)
        return len(cpus)

    async def refusal(self, command: str, **arguments: object) -> str:
        """The error that `command` ends with."""
        try:
            await self._client.execute(command, {key.replace("_", "-"): arguments[key] for key in arguments})
        except ExecuteError as error:
            return str(error)
        raise AssertionError(f"{command} {arguments} was not refused")


async def _come_and_go(guest: _Guest) -> None:
    """From one CPU of three to all, one less, all again, and back to one."""
    assert guest.facts() == "1 0 1 0"
    await guest.add(1, "first")
    await guest.add(2, "second")
    assert guest.facts() == "3 0-2 3 0 1 2"
    assert guest.loaded() == [0, 1, 2]
    assert await guest.processes() == 3
    await guest.remove("first")
    assert guest.facts() == "2 0,2 2 0 2"
    assert guest.loaded() == [0, 2]
    assert await guest.processes() == 2
    await guest.add(1, "again")
    assert guest.facts() == "3 0-2 3 0 1 2"
    assert guest.loaded() == [0, 1, 2]
    for name in ("second", "again"):
        await guest.remove(name)
    assert guest.facts() == "1 0 1 0"


async def _refusals(guest: _Guest) -> None:
    """What can't be is one line, and changes nothing."""
    place = {"socket_id": 0, "thread_id": 0, "driver": _DRIVER, "id": "x"}
    assert await guest.refusal("device_add", core_id=0, **place) == "vCPU 0 is there already, 1, 2 is right"
    assert "cores: 3 is not in 0-2" in await guest.refusal("device_add", core_id=3, **place)
    assert await guest.refusal("device_del", id="x") == "Device 'x' not found"
    boot_processor = "/machine/unattached/device[0]"
    assert "another than the boot processor" in await guest.refusal("device_del", id=boot_processor)


def _scenario(launch: Launcher, rounds: int) -> str:
    """All of it; what Linux has logged."""
    path = launch.folder / "qmp"
    words = [*MPVM, "run", *linux.arguments("shell", 1), "--qmp", f"unix:{path}", "--quiet"]
    words[words.index("--smp") + 1] = "1,maxcpus=3"
    terminal = launch.terminal(list(map(str, words)), seconds=linux.TIME_LIMIT)
    terminal.expect_exact(linux.FIRST_LINE)
    terminal.expect(_PROMPT)
    launch.remember_processes()

    async def session() -> None:
        client = QMPClient("test")
        await client.connect(str(path))
        try:
            guest = _Guest(launch, client, terminal)
            # Neither wrapped lines nor the kernel's own messages are to come between what is said.
            guest.said("stty cols 1000; echo 1 > /proc/sys/kernel/printk")
            for _ in range(rounds):
                await asyncio.wait_for(_come_and_go(guest), linux.TIME_LIMIT)
            await asyncio.wait_for(_refusals(guest), linux.TIME_LIMIT)
        finally:
            await client.disconnect()

    asyncio.run(session())
    terminal.sendline("dmesg; poweroff -f")
    terminal.expect(pexpect.EOF)
    log = terminal.before
    assert isinstance(log, str)
    terminal.close()
    assert terminal.exitstatus == 0
    return log


def test_cpus_come_and_go_while_linux_runs(launch: Launcher) -> None:
    log = _scenario(launch, rounds=1)
    assert linux.trouble(log) == []
    assert log.count("has been hot-added") == 3


def main() -> None:
    """So many rounds in one VM."""
    with launcher() as launch:
        trouble = linux.trouble(_scenario(launch, int(sys.argv[1])))
    print("\n".join(trouble) or "no trouble")


if __name__ == "__main__":
    main()
