"""What QMP and the command line see of types and objects."""

import json

import pytest

from mpvm.abi.errors import PathError, PropertyError
from mpvm.qom import qmp_cmds
from tests.unit.qom.zoo import tree


def test_an_objects_properties_are_listed_with_their_types() -> None:
    root, _first, _second = tree()
    found = {prop.name: prop for prop in qmp_cmds.qom_list(root, "/board/uart[0]")}
    assert (found["base"].type, found["base"].default, found["base"].description) == (
        "uint16",
        0x100,
        "first port",
    )
    assert found["peer"].type == "link<test-device>"
    assert found["end"].read_only
    assert [prop.type for prop in qmp_cmds.qom_list(root, "/board")] == ["child<test-uart>"] * 2


def test_a_property_is_got_and_set_by_path() -> None:
    root, first, second = tree()
    assert qmp_cmds.qom_get(root, "uart[1]", "base") == 0x200
    qmp_cmds.qom_set(root, "uart[0]", "base", "0x300")
    assert first.base == 0x300
    qmp_cmds.qom_set(root, "uart[0]", "peer", "/board/uart[1]")
    assert first.peer is second
    assert qmp_cmds.qom_get(root, "uart[0]", "peer") == "/board/uart[1]"


def test_a_wrong_path_or_property_is_an_error() -> None:
    root, _first, _second = tree()
    with pytest.raises(PathError):
        qmp_cmds.qom_get(root, "/nobody", "base")
    with pytest.raises(PropertyError):
        qmp_cmds.qom_get(root, "uart[0]", "nothing")


def test_the_tree_is_shown_with_depths_and_types() -> None:
    root, _first, _second = tree()
    assert list(qmp_cmds.qom_tree(root)) == [
        (0, "/", "container"),
        (1, "board", "container"),
        (2, "uart[0]", "test-uart"),
        (2, "uart[1]", "test-uart"),
    ]
    assert next(qmp_cmds.qom_tree(root, "/board")) == (0, "/board", "container")


def test_types_are_listed_with_parent_flags_and_interfaces() -> None:
    found = {info.name: info for info in qmp_cmds.qom_list_types("test-device")}
    assert {"test-device", "test-uart", "test-needy"} <= set(found)
    assert (found["test-device"].abstract, found["test-device"].parent) == (True, "device")
    assert found["test-uart"].interfaces == ["resettable", "test-lamp"]
    assert found["test-uart"].description == "a device with a lamp"


def test_a_types_properties_are_listed() -> None:
    found = {prop.name: prop for prop in qmp_cmds.qom_list_properties("test-needy")}
    assert found["irq"].required
    assert not found["base"].required
    assert found["level"].dynamic


def test_every_value_of_every_property_can_be_said_in_json() -> None:
    root, _first, _second = tree()
    for prop in qmp_cmds.qom_list(root, "uart[0]"):
        json.dumps(qmp_cmds.qom_get(root, "uart[0]", prop.name))
