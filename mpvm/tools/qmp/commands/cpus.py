"""vCPUs that come and go (QEMU's qapi/qdev.json and machine.json): see docs/hotplug.md."""

from collections.abc import Mapping

from mpvm.abi.errors import CommandError, DeviceNotFoundError
from mpvm.cpu.topology import Place, Topology
from mpvm.machine.x86_cpu import PLACE_PROPERTIES, X86_CPU_SUFFIX, cpu_place
from mpvm.qom.id import ID_RIGHT, id_wellformed
from mpvm.tools.qmp.registry import command
from mpvm.tools.vm import Vm


@command("query-hotpluggable-cpus")
def query_hotpluggable_cpus(vm: Vm) -> list[dict[str, object]]:
    """Every place for a CPU, the last one first; those that have one say where it is in the tree."""
    topology = vm.config.machine.smp
    there = vm.machine.cpus
    return [
        {
            "type": _driver(vm),
            "vcpus-count": 1,
            "props": cpu_place(topology, index),
            **({"qom-path": there[index].canonical_path()} if index in there else {}),
        }
        for index in reversed(range(topology.maxcpus))
    ]


@command("device_add", {"driver": str, "id": str}, dict.fromkeys(PLACE_PROPERTIES, int))
def device_add(vm: Vm, driver: str, **arguments: object) -> None:
    """Add the CPU whose place is given; `die-id` may be left out where a socket has one die."""
    if driver != _driver(vm):
        raise CommandError(f"device_add: '{driver}' can't be added while the VM runs, {_driver(vm)} is right")
    identity = str(arguments.pop("id"))
    if not id_wellformed(identity):
        raise CommandError(f"device_add: id: {identity} is not a name, {ID_RIGHT} are right")
    given = {name.replace("_", "-"): value for name, value in arguments.items()}
    vm.hotplug.add(_index(vm.config.machine.smp, given), identity)


@command("device_del", {"id": str})
def device_del(vm: Vm, id: str) -> None:  # noqa: A002 - QMP's name
    """Ask the guest to let go of a CPU, named by its ID or its path; DEVICE_DELETED says that it has."""
    if not id.startswith("/"):
        vm.hotplug.request_remove(vm.hotplug.index_of(id))
        return
    for index, cpu in vm.machine.cpus.items():
        if cpu.canonical_path() == id:
            vm.hotplug.request_remove(index)
            return
    raise DeviceNotFoundError(f"Device '{id}' not found")


def _driver(vm: Vm) -> str:
    # A machine takes CPUs of the model that it has.
    return vm.machine.spec.cpu.name + X86_CPU_SUFFIX


def _index(topology: Topology, given: Mapping[str, object]) -> int:
    """The vCPU at the place that `given` names by level."""
    numbers = {"die-id": 0, **given} if topology.dies == 1 else given
    for level in PLACE_PROPERTIES:
        if level not in numbers:
            raise CommandError(f"device_add: argument '{level}' is missing")
    try:
        return topology.index_of(Place(*(int(str(numbers[level])) for level in PLACE_PROPERTIES)))
    except IndexError as error:
        raise CommandError(f"device_add: there is no such place, {error}") from error
