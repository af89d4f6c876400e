"""What the VM is made of, and could be (QEMU's qapi/machine.json and machine-target.json)."""

import os

from mpvm.abi.errors import ConfigError
from mpvm.abi.layout import MAX_VCPUS
from mpvm.cpu.models import SPECIAL_MODELS, model_names
from mpvm.cpu.resolve import resolve_model
from mpvm.machine.base import MACHINE_SUFFIX, Machine
from mpvm.machine.x86_cpu import X86_CPU_SUFFIX, X86Cpu, cpu_place
from mpvm.qom.type_info import object_class_get_list
from mpvm.tools.qmp.registry import command
from mpvm.tools.vm import Vm


@command("inject-nmi")
def inject_nmi(vm: Vm) -> None:
    """An NMI at every CPU, as its local APIC's LINT1 takes it."""
    vm.machine.inject_nmi()


@command("query-kvm")
def query_kvm(vm: Vm) -> dict[str, object]:
    """Whether the `kvm` accelerator runs the guest, and whether the host has a device for it."""
    return {"enabled": vm.accelerator.name == "kvm", "present": os.path.exists("/dev/kvm")}  # noqa: PTH110


@command("query-cpus-fast")
def query_cpus_fast(vm: Vm) -> list[dict[str, object]]:
    """The vCPUs; `thread-id` is the process that is the vCPU."""
    paths = {
        node.index: node.canonical_path() for node in vm.qom_root.descendants() if isinstance(node, X86Cpu)
    }
    topology = vm.config.machine.smp
    cpus = []
    for vcpu in vm.list_vcpus():
        entry: dict[str, object] = {
            "cpu-index": vcpu.index,
            "thread-id": vcpu.pid,
            "target": "x86_64",
            "props": cpu_place(topology, vcpu.index),
        }
        if vcpu.index in paths:
            entry["qom-path"] = paths[vcpu.index]
        cpus.append(entry)
    return cpus


@command("query-machines")
def query_machines(_vm: Vm) -> list[dict[str, object]]:
    """Every machine class, plug-ins' too."""
    machines = []
    for cls in object_class_get_list(Machine.type_name):
        name = cls.type_name.removesuffix(MACHINE_SUFFIX)
        entry: dict[str, object] = {
            "name": name,
            "cpu-max": MAX_VCPUS,
            "hotpluggable-cpus": cls.has_hotpluggable_cpus,
            "numa-mem-supported": False,
            "deprecated": False,
        }
        if cls.alias is not None:
            entry["alias"] = cls.alias
        if cls.is_default:
            entry["is-default"] = True
        machines.append(entry)
    return machines


@command("query-cpu-definitions")
def query_cpu_definitions(vm: Vm) -> list[dict[str, object]]:
    """Every CPU model, with the features that the accelerator can't give it."""
    models = []
    for name, stands_for in model_names():
        entry: dict[str, object] = {
            "name": name,
            "typename": name + X86_CPU_SUFFIX,
            # Models of the table are the same on every host.
            "static": False,
            "migration-safe": name not in SPECIAL_MODELS,
            "deprecated": False,
        }
        if stands_for is not None:
            entry["alias-of"] = stands_for
        try:
            model = resolve_model(name, vm.accelerator)
            entry["unavailable-features"] = [feature for feature, _reason in model.unavailable]
        except ConfigError:
            # Not on this host at all. QEMU's word for it.
            entry["unavailable-features"] = ["type"]
        models.append(entry)
    return models
