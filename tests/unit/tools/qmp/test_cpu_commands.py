"""vCPUs that come and go, over QMP."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from mpvm.config import Machine
from mpvm.cpu.topology import topology
from mpvm.tools.qmp import commands  # noqa: F401 - registers them
from mpvm.tools.qmp.session import Session
from tests.unit.tools.qmp.fake_vm import FakeVm

DRIVER = "max-x86_64-cpu"


class Hotplug:
    """Notes what is asked of it; "cpu5" is vCPU 5."""

    def __init__(self) -> None:
        self.added: list[tuple[int, str | None]] = []
        self.removed: list[int] = []

    def add(self, index: int, identity: str | None = None) -> None:
        self.added.append((index, identity))

    def request_remove(self, index: int) -> None:
        self.removed.append(index)

    def index_of(self, identity: str) -> int:
        return int(identity.removeprefix("cpu"))


class Client:
    """A client of a VM of two sockets, three cores and two threads, of which the first two CPUs are there."""

    def __init__(self) -> None:
        self.vm = FakeVm(machine=Machine(smp=topology(2, sockets=2, cores=3, threads=2, maxcpus=12)))
        self.vm.hotplug = self.hotplug = Hotplug()
        paths = {0: "/machine/unattached/device[0]", 1: "/machine/unattached/device[1]"}
        cpus = {
            index: SimpleNamespace(canonical_path=lambda path=path: path) for index, path in paths.items()
        }
        spec = SimpleNamespace(cpu=SimpleNamespace(name="max"))
        self.vm.machine = SimpleNamespace(cpus=cpus, spec=spec)
        self.session = Session(self.vm)
        self.execute("qmp_capabilities")

    def execute(self, command: str, **arguments: object) -> Any:
        named = {name.replace("_", "-"): value for name, value in arguments.items()}
        response = self.session.execute(json.dumps({"execute": command, "arguments": named}).encode())
        return response.get("return", response.get("error"))


@pytest.fixture
def client() -> Client:
    return Client()


def test_every_place_is_listed_the_last_first_with_who_is_there(client: Client) -> None:
    places = client.execute("query-hotpluggable-cpus")
    assert len(places) == 12
    assert places[0] == {
        "type": DRIVER,
        "vcpus-count": 1,
        "props": {"socket-id": 1, "core-id": 2, "thread-id": 1},
    }
    assert [place.get("qom-path") for place in places[-3:]] == [
        None,
        "/machine/unattached/device[1]",
        "/machine/unattached/device[0]",
    ]


def test_a_cpu_is_added_at_the_place_that_is_given(client: Client) -> None:
    place = {"socket_id": 1, "core_id": 0, "thread_id": 1}
    assert client.execute("device_add", driver=DRIVER, id="x", **place) == {}
    assert client.hotplug.added == [(7, "x")]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (
            {"driver": "e1000"},
            "device_add: 'e1000' can't be added while the VM runs, max-x86_64-cpu is right",
        ),
        ({"thread_id": 2}, "device_add: there is no such place, threads: 2 is not in 0-1"),
        (
            {"id": "a/b"},
            "device_add: id: a/b is not a name, a letter, then letters, digits, - . and _ are right",
        ),
        ({"core_id": None}, "device_add: argument 'core-id' is missing"),
    ],
)
def test_what_can_not_be_added_is_one_line(client: Client, arguments: dict[str, object], error: str) -> None:
    given = {"driver": DRIVER, "id": "x", "socket_id": 0, "core_id": 0, "thread_id": 0, **arguments}
    response = client.execute(
        "device_add", **{key: value for key, value in given.items() if value is not None}
    )
    assert response == {"class": "GenericError", "desc": error}
    assert client.hotplug.added == []


def test_a_cpu_is_removed_by_its_id_or_its_path(client: Client) -> None:
    client.execute("device_del", id="cpu5")
    client.execute("device_del", id="/machine/unattached/device[1]")
    assert client.hotplug.removed == [5, 1]
    assert client.execute("device_del", id="/machine/nowhere")["class"] == "DeviceNotFound"
