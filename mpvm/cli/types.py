"""`mpvm types`: the tree of types, and what one of them is."""

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from mpvm.abi.errors import ExitStatus
from mpvm.accel import ACCEL_SUFFIX, accelerator_classes
from mpvm.cli.options import Parser
from mpvm.machine.x86_cpu import X86_CPU_SUFFIX
from mpvm.qom import qmp_cmds
from mpvm.qom.qmp_cmds import PropertyInfo, TypeInfo


def main(argv: Sequence[str]) -> int:
    """Print what `argv` asks for."""
    arguments = _parser().parse_args(argv)
    lines = describe(arguments.describe) if arguments.describe else tree(arguments.implements)
    for line in lines:
        print(line)
    return ExitStatus.OK


def tree(implements: str | None = None) -> Iterator[str]:
    """Every type, indented below its parent; of `implements` and those below it alone when that is given."""
    infos = qmp_cmds.qom_list_types()
    below: dict[str | None, list[TypeInfo]] = defaultdict(list)
    for info in infos:
        below[info.parent].append(info)
    roots = below[None] if implements is None else [qmp_cmds.qom_describe_type(implements)]
    parents = {info.name: info for info in infos}
    shown = [line for root in roots for line in _below(root, below, parents, 0)]
    width = max(len(name) for name, _text in shown)
    for name, text in shown:
        yield f"{name:<{width}}  {text}".rstrip()


def _below(
    info: TypeInfo, below: dict[str | None, list[TypeInfo]], types: dict[str, TypeInfo], depth: int
) -> Iterator[tuple[str, str]]:
    parent = types.get(info.parent or "")
    own = [name for name in info.interfaces if parent is None or name not in parent.interfaces]
    flags = ["abstract"] if info.abstract else []
    flags += [f"has {name}" for name in own]
    text = f"{info.description} ({', '.join(flags)})" if flags else info.description
    yield "  " * depth + info.name, text.strip()
    for each in below[info.name]:
        yield from _below(each, below, types, depth + 1)


def describe(name: str) -> Iterator[str]:
    """The type `name`: its ancestors, interfaces, and properties with type, default and description."""
    info = qmp_cmds.qom_describe_type(name)
    yield f"{info.name}: {info.description}" if info.description else info.name
    ancestors, parent = [], info.parent
    while parent is not None:
        ancestors.append(parent)
        parent = qmp_cmds.qom_describe_type(parent).parent
    yield f"  parents:     {', '.join(ancestors) or 'none'}"
    yield f"  abstract:    {'yes' if info.abstract else 'no'}"
    yield f"  interfaces:  {', '.join(info.interfaces) or 'none'}"
    properties = qmp_cmds.qom_list_properties(name)
    yield "  properties:" if properties else "  properties:  none"
    yield from _table(properties)


def _table(properties: Sequence[PropertyInfo]) -> Iterator[str]:
    rows = [(prop.name, prop.type, _default(prop), prop.description) for prop in properties]
    widths = [max(len(row[column]) for row in rows) for column in range(3)] if rows else []
    for row in rows:
        cells = [f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)]
        yield f"    {'  '.join(cells)}  {row[3]}".rstrip()


def _default(prop: PropertyInfo) -> str:
    if prop.read_only:
        return "read-only"
    if prop.required:
        return "must be set"
    text = {None: "none", True: "on", False: "off", "": '""'}.get(prop.default) if _special(prop) else None
    if text is None:
        text = hex(prop.default) if isinstance(prop.default, int) and prop.default > 9 else str(prop.default)
    return f"{text}, dynamic" if prop.dynamic else text


def _special(prop: PropertyInfo) -> bool:
    return prop.default is None or prop.default == "" or isinstance(prop.default, bool)


def machines() -> Iterator[str]:
    """The machine classes by the names that `--machine` takes."""
    from mpvm.machine import MACHINE_SUFFIX, machine_class, machine_names

    for name in machine_names():
        cls = machine_class(name)
        real = cls.type_name.removesuffix(MACHINE_SUFFIX)
        text = f"alias of {real}" if name == cls.alias else cls.description
        yield f"{name:<20}{text}{' (default)' if cls.is_default and name == cls.alias else ''}"


def devices() -> Iterator[str]:
    """The devices that `--device` takes."""
    from mpvm.qom.type_info import object_class_get_list

    for cls in object_class_get_list("device"):
        if cls.user_creatable:
            yield f"{cls.type_name:<20}{cls.description}"


def accelerators() -> Iterator[str]:
    """The accelerators by the names that `--accel` takes."""
    for cls in accelerator_classes():
        yield f"{cls.name:<20}{cls.description}"


def cpu_models() -> Iterator[str]:
    """The CPU models that `--cpu` takes, as `mpvm cpu list` prints them."""
    from mpvm.cli import cpu

    return cpu.listing()


def help_on(option: str, name: str) -> Iterator[str]:
    """What `help` as the value of `option` prints, or with a `name`, `NAME,help`: that type's description."""
    lister, type_of = _HELP[option]
    return describe(type_of(name)) if name else lister()


def _machine_type(name: str) -> str:
    from mpvm.machine import machine_class

    return machine_class(name).type_name


# An option of `mpvm run`: what lists its values, and the type that one stands for.
_HELP: Final[dict[str, tuple[Callable[[], Iterator[str]], Callable[[str], str]]]] = {
    "machine.type": (machines, _machine_type),
    "machine.accel": (accelerators, lambda name: name + ACCEL_SUFFIX),
    "cpu.model": (cpu_models, lambda name: name + X86_CPU_SUFFIX),
    "device": (devices, str),
}


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="mpvm types",
        description="Print the tree of types: machines, devices, buses, accelerators, plug-ins' too.",
        allow_abbrev=False,
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--describe", metavar="TYPE", help="one type with its properties")
    which.add_argument("--implements", metavar="TYPE", help="this type and those below it alone")
    return parser
