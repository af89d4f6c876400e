"""VMware's back door (QEMU's hw/i386/vmport.c): a port by which a guest asks its hypervisor.

A read or write of the port with the magic number in EAX is a command, whose number is in CX; registers bring
the answer. So the vCPU's registers have to be there: the board says which port needs them.
"""

from collections.abc import Callable, Mapping
from typing import Final

from mpvm.abi.control_bits import Answer
from mpvm.abi.control_block import ControlBlock
from mpvm.hw.bus import IsaDevice
from mpvm.memory.region import Region
from mpvm.qom import properties
from mpvm.qom.type_info import register_type

VMPORT: Final = 0x5658
WIDTH: Final = 4
MAGIC: Final = 0x564D5868
# What a command that is not there gives.
_NONE: Final = 0xFFFFFFFF
_LOW: Final = 0xFFFFFFFF
_RAM_SIZE_ANSWER: Final = 0x1177
_LEGACY_X2APIC: Final = 1 << 3

RAX, RCX, RDX, RBX = 0, 1, 2, 3


# Commands.
GET_VERSION: Final = 10
GET_BIOS_UUID: Final = 19
GET_RAM_SIZE: Final = 20
GET_HZ: Final = 45
GET_VCPU_INFO: Final = 68


@register_type("vmport", description="VMware's port")
class VmPort(IsaDevice):
    """Port `VMPORT`, in any width. The board sets what it tells, and `control`, the asking vCPU's block."""

    vmx_version = properties.uint32(6, "version that it says it is", name="vmware-vmx-version")
    vmx_type = properties.uint8(2, "product that it says it is", name="vmware-vmx-type")
    read_set_eax = properties.boolean(True, "on/off", name="x-read-set-eax")
    signal_unsupported = properties.boolean(True, "on/off", name="x-signal-unsupported-cmd")
    report_vmx_type = properties.boolean(True, "on/off", name="x-report-vmx-type")
    commands_2 = properties.boolean(True, "on/off", name="x-cmds-v2")

    control: Callable[[], ControlBlock]
    ram_bytes: int = 0
    uuid: bytes = bytes(16)
    tsc_hz: int = 0
    apic_bus_hz: int = 0
    has_x2apic: bool = False

    def realize(self) -> None:
        """Make its port, and the commands that there are."""
        commands: dict[int, Callable[[ControlBlock], int]] = {
            GET_VERSION: self._version,
            GET_RAM_SIZE: self._ram_size,
        }
        if self.commands_2:
            commands[GET_BIOS_UUID] = self._bios_uuid
            commands[GET_HZ] = self._hz
            commands[GET_VCPU_INFO] = self._vcpu_info
        self._commands: Mapping[int, Callable[[ControlBlock], int]] = commands
        self._region = Region("vmport", WIDTH, self._read, self._write)

    def ports(self) -> list[tuple[int, Region]]:
        """Where it is."""
        return [(VMPORT, self._region)]

    def _read(self, offset: int, size: int) -> int:
        return self._run(size) if offset == 0 else _NONE

    def _write(self, offset: int, size: int, value: int) -> None:
        if offset == 0:
            self._run(0)

    def _run(self, size: int) -> int:
        """Run the command in the registers for a read of `size` bytes, or a write (0).

        Its answer is what is read, and EAX gets all of it, after a write in any case.
        """
        control = self.control()
        registers = control.guest.gpr
        answer = registers[RAX] & _LOW
        command = self._commands.get(registers[RCX] & 0xFF)
        if answer == MAGIC and command is not None:
            answer = command(control) & _LOW
        elif self.signal_unsupported:
            answer = _NONE
        if self.read_set_eax or not size:
            _set(control, RAX, answer)
        # Unknown where the accelerator ends the instruction by itself.
        if control.exit.instruction_length:
            _finish(control, size, answer)
        return int(answer)

    def _version(self, control: ControlBlock) -> int:
        _set(control, RBX, MAGIC)
        if self.report_vmx_type:
            _set(control, RCX, self.vmx_type)
        return self.vmx_version

    def _ram_size(self, control: ControlBlock) -> int:
        _set(control, RBX, _RAM_SIZE_ANSWER)
        return self.ram_bytes

    def _bios_uuid(self, control: ControlBlock) -> int:
        parts = [int.from_bytes(self.uuid[at : at + 4], "little") for at in range(0, 16, 4)]
        for register, part in zip((RAX, RBX, RCX, RDX), parts, strict=True):
            _set(control, register, part)
        return parts[0]

    def _hz(self, control: ControlBlock) -> int:
        _set(control, RCX, self.apic_bus_hz)
        _set(control, RBX, self.tsc_hz >> 32)
        return self.tsc_hz

    def _vcpu_info(self, _control: ControlBlock) -> int:
        return _LEGACY_X2APIC if self.has_x2apic else 0


def _finish(control: ControlBlock, size: int, answer: int) -> None:
    """End the instruction: one that ran again would find other registers."""
    mask = (1 << 8 * size) - 1
    if size == WIDTH:
        control.guest.gpr[RAX] = answer
    else:
        control.guest.gpr[RAX] = control.guest.gpr[RAX] & ~mask | answer & mask
    control.guest.rip += control.exit.instruction_length
    control.exit.answer |= Answer.STATE | Answer.DONE


def _set(control: ControlBlock, register: int, value: int) -> None:
    control.guest.gpr[register] = value & _LOW
    control.exit.answer |= Answer.STATE
