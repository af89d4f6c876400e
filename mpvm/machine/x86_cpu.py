"""A vCPU in the composition tree (QEMU's X86CPU). What it does is in its area of the VM block.

Each CPU model is a type, `Haswell-x86_64-cpu` below the abstract `x86_64-cpu`. Types of models that no
machine here uses are made when somebody asks for all types (`mpvm.machine.x86_cpu_types`).
"""

from functools import cache
from typing import Any, ClassVar, Final

from mpvm.abi.layout import VcpuArea
from mpvm.cpu.features import FEATURES
from mpvm.cpu.models import CpuModel, sorted_features
from mpvm.cpu.topology import Place, Topology
from mpvm.qom import properties
from mpvm.qom.properties import Property
from mpvm.qom.qdev import Device
from mpvm.qom.type_info import register_type
from mpvm.trace.control import trace

# The model NAME is the type NAME-x86_64-cpu (QEMU's X86_CPU_TYPE_SUFFIX).
X86_CPU_SUFFIX: Final = "-x86_64-cpu"
# The properties that say where a vCPU is.
PLACE_PROPERTIES: Final = ("socket-id", "die-id", "core-id", "thread-id")


def _of_model(kind: str, field: str, description: str) -> Property[Any]:
    def get(cpu: "X86Cpu") -> Any:
        return getattr(cpu.cpu_model, field)

    return properties.computed(kind, description, name=field.replace("_", "-"))(get)


def _of_place(field: str, description: str) -> Property[int]:
    def get(cpu: "X86Cpu") -> int:
        return int(getattr(cpu.place, field))

    return properties.computed("int32", description, name=f"{field}-id")(get)


def _feature(name: str) -> Property[bool]:
    def get(cpu: "X86Cpu") -> bool:
        return name in cpu.cpu_model.features

    found = properties.computed("bool", f"the feature {name}")(get)
    found.name = name
    return found


@register_type("x86_64-cpu", abstract=True, description="a vCPU")
class X86Cpu(Device):
    """The vCPU of `area`: a `cpu_model` at its `place`. Beside the properties below it has one a feature."""

    hotpluggable = True

    area: VcpuArea
    cpu_model: CpuModel
    place: Place

    vendor = _of_model("string", "vendor", "who made it")
    family = _of_model("uint32", "family", "its family")
    model = _of_model("uint32", "model", "its model")
    stepping = _of_model("uint32", "stepping", "its stepping")
    level = _of_model("uint32", "level", "its highest basic leaf")
    xlevel = _of_model("uint32", "xlevel", "its highest extended leaf")
    model_id = _of_model("string", "model_id", "its name")
    phys_bits = _of_model("uint32", "phys_bits", "width of guest-physical addresses")
    socket_id = _of_place("socket", "number of its socket")
    die_id = _of_place("die", "number of its die in the socket")
    core_id = _of_place("core", "number of its core in the die")
    thread_id = _of_place("thread", "number of its thread in the core")

    @properties.computed("uint32", "number of the vCPU, from 0")
    def index(self) -> int:
        """Number of the vCPU, from 0."""
        return int(self.area.index)

    @properties.computed("uint32", "its local APIC's ID")
    def apic_id(self) -> int:
        """Its local APIC's ID."""
        return int(self.area.apic_id)

    @properties.computed("bool", "whether it is the bootstrap processor")
    def bsp(self) -> bool:
        """Whether it is the bootstrap processor."""
        return bool(self.area.is_bsp)

    @properties.computed("strList", "features that were asked for and are not there")
    def unavailable_features(self) -> list[str]:
        """Features that were asked for and are not there."""
        return sorted_features({name for name, _ in self.cpu_model.unavailable})

    # A property a feature, made when somebody asks: a start has no use for some 200 of them.

    def realize(self) -> None:
        """The CPU is there (x86_cpu_realizefn); its process has been asked for already."""
        trace("x86_cpu_realizefn", self.index, self.apic_id)

    def properties(self) -> dict[str, Property[Any]]:
        """The features' ones, too."""
        return {**super().properties(), **feature_properties()}

    def find_property(self, name: str) -> Property[Any]:
        """A feature's one, too."""
        return feature_properties().get(name) or super().find_property(name)


@cache
def feature_properties() -> dict[str, Property[Any]]:
    """The property of every feature, by its name."""
    return {name: _feature(name) for name in FEATURES}


@cache
def x86_cpu_class(model: str) -> type[X86Cpu]:
    """The type of the CPU model of that name."""

    class ModelCpu(X86Cpu):
        """A vCPU of one model."""

        description: ClassVar[str]

    ModelCpu.__name__ = ModelCpu.__qualname__ = model
    return register_type(model + X86_CPU_SUFFIX, description=f"a vCPU of the model {model}")(ModelCpu)


def cpu_place(topology: Topology, index: int) -> dict[str, int]:
    """The place of vCPU `index`, by the names in `PLACE_PROPERTIES`; without a die where a socket has one."""
    place = dict(zip(PLACE_PROPERTIES, topology.place(index), strict=True))
    if topology.dies == 1:
        del place["die-id"]
    return place
