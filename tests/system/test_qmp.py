"""QMP with the real client (the package qemu.qmp), and a guest that runs until it is told otherwise."""

import asyncio
import contextlib
import socket
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from qemu.qmp import ExecuteError, Message, QMPClient

from tests.system import linux, tiny
from tests.system.runner import Launcher, read_until

Talk = Callable[[QMPClient], Awaitable[None]]


@pytest.fixture
def path(launch: Launcher) -> Path:
    return launch.folder / "qmp"


@pytest.fixture
def child(launch: Launcher, tmp_path: Path, path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A run of two vCPUs whose first spins, once it does."""
    kernel = tmp_path / "guest"
    kernel.write_bytes(tiny.image(tiny.SPIN))
    child = launch.start(
        "run", "--kernel", kernel, "--smp", "2", "--memory", "64M", "--timeout", "300", "--quiet",
        "--qmp", f"unix:{path}", "--name", "spinner",
    )  # fmt: skip
    read_until(child, tiny.GREETING)
    yield child
    child.terminate()
    child.wait(linux.TIME_LIMIT)


def _talk(path: Path, talk: Talk) -> None:
    async def session() -> None:
        client = QMPClient("test")
        await client.connect(str(path))
        try:
            await asyncio.wait_for(talk(client), linux.TIME_LIMIT)
        finally:
            # A VM that has been told to quit may hang up first.
            with contextlib.suppress(EOFError):
                await client.disconnect()

    asyncio.run(session())


async def _event(client: QMPClient, name: str) -> Message:
    """The next event, which has to be `name`."""
    event = await client.events.get()
    assert event["event"] == name
    return event


async def _error_class(client: QMPClient, command: str, **arguments: object) -> str:
    with pytest.raises(ExecuteError) as caught:
        await client.execute(command, arguments)
    return str(caught.value.error_class)


@pytest.mark.usefixtures("child")
def test_a_client_stops_the_vm_and_lets_it_go_on(path: Path) -> None:
    async def talk(client: QMPClient) -> None:
        assert await client.execute("query-status") == {"status": "running", "running": True}
        await client.execute("stop")
        await _event(client, "STOP")
        assert await client.execute("query-status") == {"status": "paused", "running": False}
        await client.execute("cont")
        await _event(client, "RESUME")
        assert await client.execute("query-status") == {"status": "running", "running": True}

    _talk(path, talk)


def test_a_reset_starts_the_guest_anew_and_a_stopped_one_once_it_goes_on(
    child: "subprocess.Popen[bytes]", path: Path
) -> None:
    async def talk(client: QMPClient) -> None:
        await client.execute("system_reset")
        event = await _event(client, "RESET")
        assert event["data"] == {"guest": False, "reason": "host-qmp-system-reset"}
        read_until(child, tiny.GREETING)
        await client.execute("stop")
        await client.execute("system_reset")
        assert await client.execute("query-status") == {"status": "prelaunch", "running": False}
        await client.execute("cont")
        read_until(child, tiny.GREETING)

    _talk(path, talk)


def test_quit_ends_the_run_with_status_0_after_its_event(
    child: "subprocess.Popen[bytes]", path: Path
) -> None:
    async def talk(client: QMPClient) -> None:
        assert await client.execute("quit") == {}
        event = await _event(client, "SHUTDOWN")
        assert event["data"] == {"guest": False, "reason": "host-qmp-quit"}

    _talk(path, talk)
    assert child.wait(linux.TIME_LIMIT) == 0


def test_a_guest_that_is_stopped_again_and_again_computes_the_same(launch: Launcher, path: Path) -> None:
    child = launch.start(
        "run", "--kernel", "builtin:smp", "--append", "rounds=20 locks=3000 adds=3000 primes=1000",
        "--smp", "4", "--quiet", "--timeout", "300", "--qmp", f"unix:{path}",
    )  # fmt: skip
    read_until(child, b"CPUs online")

    async def talk(client: QMPClient) -> None:
        for _ in range(20):
            await client.execute("stop")
            await client.execute("cont")

    _talk(path, talk)
    assert child.stdout is not None
    assert child.stdout.read().rstrip().endswith(b"all sums exact")
    assert child.wait(linux.TIME_LIMIT) == 0


@pytest.mark.usefixtures("child")
def test_a_client_is_told_what_the_vm_is(path: Path) -> None:
    async def talk(client: QMPClient) -> None:
        assert await client.execute("query-name") == {"name": "spinner"}
        kvm: Any = await client.execute("query-kvm")
        assert kvm["enabled"] is False
        cpus: Any = await client.execute("query-cpus-fast")
        assert [cpu["cpu-index"] for cpu in cpus] == [0, 1]
        assert [cpu["props"]["core-id"] for cpu in cpus] == [0, 1]
        for cpu in cpus:
            assert (
                await client.execute("qom-get", {"path": cpu["qom-path"], "property": "index"})
                == (cpu["cpu-index"])
            )
            assert Path("/proc", str(cpu["thread-id"])).exists()
        commands: Any = await client.execute("query-commands")
        assert {"name": "query-commands"} in commands

    _talk(path, talk)


@pytest.mark.usefixtures("child")
def test_errors_have_qemus_classes(path: Path) -> None:
    async def talk(client: QMPClient) -> None:
        assert await _error_class(client, "fly") == "CommandNotFound"
        assert await _error_class(client, "qmp_capabilities") == "CommandNotFound"
        assert await _error_class(client, "stop", now=True) == "GenericError"

    _talk(path, talk)


@pytest.mark.usefixtures("child")
def test_a_client_that_says_nonsense_or_goes_at_any_time_harms_nobody(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as rude:
        rude.connect(str(path))
        rude.sendall(b'nonsense\n{"execute": "stop"}\n{"execute": "qmp_capab')

    async def talk(client: QMPClient) -> None:
        assert await client.execute("query-status") == {"status": "running", "running": True}

    _talk(path, talk)


def test_every_vm_has_a_socket_in_its_runtime_directory(
    child: "subprocess.Popen[bytes]", launch: Launcher
) -> None:
    [private] = launch.runtime.glob(f"mpvm-{child.pid}-*/qmp.sock")

    async def talk(client: QMPClient) -> None:
        await client.execute("quit")

    _talk(private, talk)
    assert child.wait(linux.TIME_LIMIT) == 0


def test_a_socket_of_a_running_vm_is_not_taken_away(launch: Launcher, tmp_path: Path) -> None:
    path = launch.folder / "taken"
    kernel = tmp_path / "guest"
    kernel.write_bytes(tiny.image(tiny.SPIN))
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        run = launch.run("run", "--kernel", kernel, "--quiet", "--qmp", f"unix:{path}")
        assert run.status == 4, run
        assert run.messages == (
            f"mpvm: qmp: can't make the socket {path}: Address already in use, "
            "the path of a new file is right\n"
        )
    # Its owner is gone: what is left is in nobody's use.
    child = launch.start("run", "--kernel", kernel, "--memory", "64M", "--quiet", "--qmp", f"unix:{path}")
    read_until(child, tiny.GREETING)
    child.terminate()
    assert child.wait(linux.TIME_LIMIT) == 143
    assert not path.exists()
