"""The object model over QMP."""

import json
from typing import Any

import pytest

from mpvm.tools.qmp import commands  # noqa: F401 - registers them
from mpvm.tools.qmp.session import Session
from tests.unit.qom.zoo import Uart
from tests.unit.tools.qmp.fake_vm import FakeVm


@pytest.fixture
def vm() -> FakeVm:
    """A VM whose tree has one object, /uart."""
    vm = FakeVm()
    vm.qom_root.add_child("uart", Uart(label="first"))
    return vm


@pytest.fixture
def session(vm: FakeVm) -> Session:
    session = Session(vm)
    say(session, "qmp_capabilities")
    return session


def say(session: Session, command: str, **arguments: object) -> Any:
    """What `command` returns, or its error."""
    response = session.execute(json.dumps({"execute": command, "arguments": arguments}).encode())
    return response.get("return", response.get("error"))


def test_an_objects_children_are_listed_as_properties(session: Session) -> None:
    assert say(session, "qom-list", path="/") == [{"name": "uart", "type": "child<test-uart>"}]


def test_a_property_has_its_type_description_and_default(session: Session) -> None:
    listed = {each["name"]: each for each in say(session, "qom-list", path="/uart")}
    assert listed["speed"] == {
        "name": "speed",
        "type": "uint32",
        "description": "baud",
        "default-value": 9600,
    }
    assert "default-value" not in listed["end"]


def test_a_property_is_read_and_set(session: Session, vm: FakeVm) -> None:
    assert say(session, "qom-get", path="/uart", property="label") == "first"
    assert say(session, "qom-get", path="/uart", property="peer") == ""
    assert say(session, "qom-set", path="/uart", property="level", value=3) == {}
    assert say(session, "qom-set", path="uart", property="level", value="4") == {}
    assert say(session, "qom-get", path="uart", property="level") == 4


@pytest.mark.parametrize(
    ("command", "arguments", "kind"),
    [
        ("qom-list", {"path": "/absent"}, "DeviceNotFound"),
        ("qom-get", {"path": "/absent", "property": "x"}, "DeviceNotFound"),
        ("qom-get", {"path": "/uart", "property": "absent"}, "GenericError"),
        ("qom-set", {"path": "/uart", "property": "end", "value": 1}, "GenericError"),
        ("qom-set", {"path": "/uart", "property": "level", "value": 256}, "GenericError"),
        ("qom-list-properties", {"typename": "absent"}, "DeviceNotFound"),
        ("device-list-properties", {"typename": "container"}, "DeviceNotFound"),
        ("device-list-properties", {"typename": "test-device"}, "GenericError"),
    ],
)
def test_what_is_not_there_or_not_to_be_set_is_an_error(
    session: Session, command: str, arguments: dict[str, object], kind: str
) -> None:
    assert say(session, command, **arguments)["class"] == kind


def test_types_are_listed_abstract_ones_on_request(session: Session) -> None:
    concrete = say(session, "qom-list-types", implements="test-device")
    assert {"name": "test-uart", "parent": "test-device"} in concrete
    base = {"name": "test-device", "abstract": True, "parent": "device"}
    assert base not in concrete
    assert base in say(session, "qom-list-types", implements="test-device", abstract=True)


@pytest.mark.parametrize("command", ["qom-list-properties", "device-list-properties"])
def test_a_types_properties_are_listed(session: Session, command: str) -> None:
    names = {each["name"] for each in say(session, command, typename="test-uart")}
    assert {"base", "label", "level", "speed"} <= names
