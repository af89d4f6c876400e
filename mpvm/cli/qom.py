"""`mpvm qom`: the objects of a running VM, over QMP, printed as QEMU's scripts qom-* do."""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from mpvm.abi.errors import ExitStatus
from mpvm.cli.options import Parser
from mpvm.coordinator.running import find_vm
from mpvm.tools.qmp.client import Client


def main(argv: Sequence[str]) -> int:
    """Do what `argv` says and print it."""
    arguments = _parser().parse_args(argv)
    show: Callable[[Client, argparse.Namespace], Iterator[str]] = arguments.show
    with Client(find_vm(arguments.vm).socket) as client:
        for line in show(client, arguments):
            print(line)
    return ExitStatus.OK


def _list(client: Client, arguments: argparse.Namespace) -> Iterator[str]:
    """Children and links end in a slash, as folders do."""
    found = client.execute("qom-list", path=arguments.path)
    yield from (f"{each['name']}/" for each in found if _is_child(each))
    for each in found:
        if not _is_child(each):
            yield f"@{each['name']}/" if each["type"].startswith("link<") else each["name"]


def _tree(client: Client, arguments: argparse.Namespace) -> Iterator[str]:
    found = client.execute("qom-list", path=arguments.path)
    yield arguments.path
    for each in found:
        if not _is_child(each):
            value = client.execute("qom-get", path=arguments.path, property=each["name"])
            yield f"  {each['name']}: {_text(value)} ({each['type']})"
    yield ""
    for each in found:
        if _is_child(each):
            path = f"{arguments.path.rstrip('/')}/{each['name']}"
            yield from _tree(client, argparse.Namespace(path=path))


def _get(client: Client, arguments: argparse.Namespace) -> Iterator[str]:
    yield _text(client.execute("qom-get", path=arguments.path, property=arguments.property))


def _set(client: Client, arguments: argparse.Namespace) -> Iterator[str]:
    client.execute("qom-set", path=arguments.path, property=arguments.property, value=arguments.value)
    return iter(())


def _is_child(info: dict[str, Any]) -> bool:
    return bool(info["type"].startswith("child<"))


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


_PATH_HELP: Final = "a canonical path, or the end of one"


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="mpvm qom",
        description="Look at the objects of a running VM, and set their properties.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(
        name: str, text: str, show: Callable[[Client, argparse.Namespace], Iterator[str]]
    ) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        command.add_argument("--vm", metavar="PID|NAME", help="which VM, where more than one runs")
        command.set_defaults(show=show)
        return command

    for name, text, show in (
        ("list", "the children and properties of an object", _list),
        ("tree", "an object and all below it, with the values of their properties", _tree),
    ):
        add(name, text, show).add_argument("path", metavar="PATH", nargs="?", default="/", help=_PATH_HELP)
    for name, text, show in (
        ("get", "the value of a property", _get),
        ("set", "set a property, while the VM runs: few can be", _set),
    ):
        command = add(name, text, show)
        command.add_argument("path", metavar="PATH", help=_PATH_HELP)
        command.add_argument("property", metavar="PROPERTY", help="one that `mpvm qom list` shows")
        if show is _set:
            command.add_argument("value", metavar="VALUE", help="as in a configuration")
    return parser
