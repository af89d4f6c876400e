"""Devices and the object model."""

import json
from collections.abc import Iterator
from typing import Any, cast

from mpvm.abi.errors import CommandError
from mpvm.qom.object import Object
from mpvm.tools.hmp.registry import UsageError, command, info
from mpvm.tools.hmp.session import HmpSession
from mpvm.tools.qmp.registry import find


@command("device_add", "driver[,prop=value][,...]", "add device, like -device on the command line")
def device_add(session: HmpSession, rest: str) -> None:
    """Add a CPU."""
    driver, *options = rest.split(",")
    if not driver:
        raise UsageError("device_add: string expected")
    arguments: dict[str, object] = {"driver": driver}
    known = find("device_add")
    for option in options:
        name, _, value = option.partition("=")
        kind = known.required.get(name) or known.optional.get(name)
        try:
            arguments[name] = int(value, 0) if kind is int else value
        except ValueError:
            raise CommandError(f"Parameter '{name}' expects a number") from None
    session.qmp("device_add", **{name.replace("-", "_"): value for name, value in arguments.items()})


@command("device_del", "device", "remove device")
def device_del(session: HmpSession, rest: str) -> None:
    """Ask the guest to let go of a CPU."""
    session.qmp("device_del", id=rest)


def _words(rest: str, count: int, name: str) -> list[str]:
    words = rest.split(None, count - 1)
    if len(words) != count:
        raise UsageError(f"{name}: string expected")
    return words


@command("qom-list", "path", "list QOM properties")
def qom_list(session: HmpSession, rest: str) -> None:
    """The properties of the object at a path."""
    path = rest or "/"
    for each in cast(list[dict[str, str]], session.qmp("qom-list", path=path)):
        session.line(f"{each['name']} ({each['type']})")


@command("qom-get", "path property", "print QOM property")
def qom_get(session: HmpSession, rest: str) -> None:
    """A property's value as JSON."""
    path, name = _words(rest, 2, "qom-get")
    session.line(json.dumps(session.qmp("qom-get", path=path, property=name), indent=4))


@command("qom-set", "[-j] path property value", "set QOM property")
def qom_set(session: HmpSession, rest: str) -> None:
    """Set a property to a text, a number or a boolean, or with -j to JSON."""
    as_json = rest.startswith("-j ")
    path, name, text = _words(rest.removeprefix("-j "), 3, "qom-set")
    value: Any = text
    try:
        value = json.loads(text)
    except ValueError:
        if as_json:
            raise CommandError(f"JSON parse error, {text}") from None
        value = {"on": True, "off": False}.get(text, text)
    session.qmp("qom-set", path=path, property=name, value=value)


@info("qom-tree", "[path]", "show QOM composition tree")
def qom_tree(session: HmpSession, rest: str) -> None:
    """Objects below one another, each with its type."""
    root: Object | None = session.vm.qom_root
    path = rest or "/machine"
    for step in filter(None, path.split("/")):
        root = root and root.child(step)
    if root is None:
        raise CommandError(f"Path '{path}' could not be resolved.")
    for depth, node in _below(root, 0):
        session.line(f"{'  ' * depth}/{node.path_component} ({node.type_name})")


def _below(node: Object, depth: int) -> Iterator[tuple[int, Object]]:
    yield depth, node
    for child in sorted(node.children(), key=lambda each: each.path_component):
        yield from _below(child, depth + 1)


@command("chardev-send-break", "id", "send a break on chardev")
def chardev_send_break(session: HmpSession, rest: str) -> None:
    """A line break for whoever has the chardev."""
    session.qmp("chardev-send-break", id=rest)
