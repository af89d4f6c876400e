"""A vCPU in the composition tree (QEMU's X86CPU). What it is and does is in its area of the VM block."""

from mpvm.abi.layout import VcpuArea
from mpvm.qom import properties
from mpvm.qom.qdev import Device
from mpvm.qom.type_info import register_type


@register_type("x86_64-cpu", description="a vCPU")
class X86Cpu(Device):
    """The vCPU of `area`."""

    area: VcpuArea

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
