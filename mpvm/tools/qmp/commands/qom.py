"""The object model of the running VM (QEMU's qapi/qom.json, qdev.json)."""

from mpvm.abi.errors import CommandError
from mpvm.qom import qmp_cmds
from mpvm.qom.type_info import object_class_by_name
from mpvm.tools.qmp.registry import command
from mpvm.tools.vm import Vm


@command("qom-list", required={"path": str})
def qom_list(vm: Vm, path: str) -> list[dict[str, object]]:
    """The properties of the object at `path`; its children are properties, too."""
    return [_property(info) for info in qmp_cmds.qom_list(vm.qom_root, path)]


@command("qom-get", required={"path": str, "property": str})
def qom_get(vm: Vm, path: str, property: str) -> object:  # noqa: A002 - QMP's name
    """The value of a property; an empty string for a link to nothing."""
    value = qmp_cmds.qom_get(vm.qom_root, path, property)
    return "" if value is None else value


@command("qom-set", required={"path": str, "property": str, "value": object})
def qom_set(vm: Vm, path: str, property: str, value: object) -> None:  # noqa: A002 - QMP's name
    """Set a property."""
    qmp_cmds.qom_set(vm.qom_root, path, property, value)


@command("qom-list-types", optional={"implements": str, "abstract": bool})
def qom_list_types(_vm: Vm, implements: str = "object", abstract: bool = False) -> list[dict[str, object]]:
    """Every type that is `implements` or below it, with `abstract` those, too, that have no instances."""
    types = []
    for info in qmp_cmds.qom_list_types(implements, abstract):
        entry: dict[str, object] = {"name": info.name}
        if info.abstract:
            entry["abstract"] = True
        if info.parent is not None:
            entry["parent"] = info.parent
        types.append(entry)
    return types


@command("qom-list-properties", required={"typename": str})
def qom_list_properties(_vm: Vm, typename: str) -> list[dict[str, object]]:
    """The properties that every object of a type has."""
    return [_property(info) for info in qmp_cmds.qom_list_properties(typename)]


@command("device-list-properties", required={"typename": str})
def device_list_properties(_vm: Vm, typename: str) -> list[dict[str, object]]:
    """The same, for a type of devices that a machine can have."""
    if object_class_by_name(typename, "device", "device").abstract:
        raise CommandError(f"{typename}: an abstract type has no instances, one below it is right")
    return [_property(info) for info in qmp_cmds.qom_list_properties(typename)]


def _property(info: qmp_cmds.PropertyInfo) -> dict[str, object]:
    entry: dict[str, object] = {"name": info.name, "type": info.type}
    if info.description:
        entry["description"] = info.description
    if info.default is not None:
        entry["default-value"] = info.default
    return entry
