"""The CPU hot-plug registers (QEMU's docs/specs/acpi_cpu_hotplug, the modern interface).

The guest selects a CPU, reads whether it is there and whether something has happened to it, tells what became
of it, and ejects it. The AML that does so is in `mpvm.hw.acpi.cpus_aml`. The interface has no legacy mode.
"""

from collections.abc import Callable, Sequence
from enum import IntEnum, IntFlag
from typing import Any, Final, NamedTuple

from mpvm.abi.errors import DeviceError
from mpvm.hw.bus import IsaDevice
from mpvm.memory.region import Region
from mpvm.qom.type_info import register_type

CPU_HOTPLUG_PORT: Final = 0xAF00
CPU_HOTPLUG_PORTS: Final = 12
# The general-purpose event of GPE0 that says to look for CPUs with events.
CPU_HOTPLUG_GPE: Final = 2

# Registers as offsets; the first one and the last two are read as something else than they are written.
SELECTOR, COMMAND_DATA_2 = 0, 0
STATUS, CONTROL = 4, 4
COMMAND: Final = 5
COMMAND_DATA: Final = 8


class Status(IntFlag):
    """What is read at `STATUS`, and at the same bits what a write to `CONTROL` does: see `CpuHotplug`."""

    ENABLED = 1 << 0
    INSERTING = 1 << 1
    REMOVING = 1 << 2
    EJECT = 1 << 3
    FIRMWARE_EJECTS = 1 << 4


class Command(IntEnum):
    """What the command data is."""

    NEXT_WITH_EVENT = 0
    OST_EVENT = 1
    OST_STATUS = 2
    ARCHITECTURE_ID = 3


class Ost(NamedTuple):
    """What the guest has said of CPU `cpu` by _OST (ACPI 6.5, 6.3.5): the event and what became of it."""

    cpu: int
    event: int
    status: int


class _Slot:
    """One CPU that can be."""

    __slots__ = ("firmware_ejects", "inserting", "ost_event", "ost_status", "present", "removing")

    def __init__(self, present: bool) -> None:
        self.present = present
        self.inserting = self.removing = self.firmware_ejects = False
        self.ost_event = self.ost_status = 0


@register_type("acpi-cpu-hotplug", description="tells the guest of CPUs that come and go")
class CpuHotplug(IsaDevice):
    """`apic_ids` has every CPU that can be, by index; those in `present` are there when it is realized.

    `signal_event` is the line to the general-purpose event. `eject(index)` is called when the guest lets go
    of a CPU, which is absent from then on; `report(ost)` when it has said what became of an event.
    """

    apic_ids: Sequence[int]
    present: Sequence[int]
    signal_event: Callable[[], None]
    eject: Callable[[int], None]
    report: Callable[[Ost], None]

    def realize(self) -> None:
        """Make the registers."""
        self._slots = [_Slot(index in self.present) for index in range(len(self.apic_ids))]
        self._region = Region(self.type_name, CPU_HOTPLUG_PORTS, self._read, self._write)
        self.reset()

    def ports(self) -> list[tuple[int, Region]]:
        """Where the registers are."""
        return [(CPU_HOTPLUG_PORT, self._region)]

    def reset_enter(self) -> None:
        """No CPU has an event: who boots anew finds those that are there in the MADT."""
        self._selector = 0
        self._command = int(Command.NEXT_WITH_EVENT)
        for slot in self._slots:
            slot.inserting = slot.removing = slot.firmware_ejects = False

    # -- what the host does ------------------------------------------------------------------------

    def plug(self, index: int) -> None:
        """CPU `index` is there from now on; the guest is told."""
        slot = self._slots[index]
        if slot.present:
            raise DeviceError(f"{self.type_name}: CPU {index} is there already")
        slot.present = slot.inserting = True
        self.signal_event()

    def request_unplug(self, index: int) -> None:
        """Ask the guest to let go of CPU `index`; it may take its time, or not do it."""
        slot = self._slots[index]
        if not slot.present:
            raise DeviceError(f"{self.type_name}: CPU {index} is not there")
        slot.removing = True
        self.signal_event()

    # -- registers ---------------------------------------------------------------------------------

    def _read(self, offset: int, size: int) -> int:
        # A selector of no CPU selects nothing, and reads as nothing.
        if self._selector >= len(self._slots):
            return 0
        if offset == STATUS:
            return self._status(self._slots[self._selector])
        if offset == COMMAND_DATA:
            return self._command_data() & (1 << 8 * size) - 1
        # COMMAND_DATA_2 is the upper half of an architecture id of 64 bits, which x86 has none of.
        return 0

    @staticmethod
    def _status(slot: _Slot) -> int:
        return (
            (Status.ENABLED if slot.present else 0)
            | (Status.INSERTING if slot.inserting else 0)
            | (Status.REMOVING if slot.removing else 0)
            | (Status.FIRMWARE_EJECTS if slot.firmware_ejects else 0)
        )

    def _command_data(self) -> int:
        if self._command == Command.NEXT_WITH_EVENT:
            return self._selector
        return self.apic_ids[self._selector] if self._command == Command.ARCHITECTURE_ID else 0

    def _write(self, offset: int, size: int, value: int) -> None:
        if offset == SELECTOR:
            self._selector = value
        elif self._selector >= len(self._slots):
            return
        elif offset == CONTROL:
            self._control(self._slots[self._selector], value)
        elif offset == COMMAND:
            self._command = value & 0xFF
            if self._command == Command.NEXT_WITH_EVENT:
                self._select_next()
        elif offset == COMMAND_DATA:
            self._tell(self._slots[self._selector], value)

    def _control(self, slot: _Slot, value: int) -> None:
        if value & Status.INSERTING:
            slot.inserting = False
        elif value & Status.REMOVING:
            slot.removing = False
        elif value & Status.EJECT:
            # CPU 0 is the boot processor of every reset.
            if slot.present and self._selector != 0:
                slot.present = slot.inserting = slot.removing = slot.firmware_ejects = False
                self.eject(self._selector)
        elif value & Status.FIRMWARE_EJECTS and slot.present and self._selector != 0:
            slot.firmware_ejects = True

    def _select_next(self) -> None:
        """The next CPU with an event, the selected one first; none: the selector stays."""
        count = len(self._slots)
        for step in range(count):
            index = (self._selector + step) % count
            if self._slots[index].inserting or self._slots[index].removing:
                self._selector = index
                return

    def _tell(self, slot: _Slot, value: int) -> None:
        if self._command == Command.OST_EVENT:
            slot.ost_event = value
        elif self._command == Command.OST_STATUS:
            slot.ost_status = value
            self.report(Ost(self._selector, slot.ost_event, slot.ost_status))

    # -- state -------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """The registers, and each CPU's flags and last words."""
        return {
            "selector": self._selector,
            "command": self._command,
            "cpus": [[getattr(slot, name) for name in _Slot.__slots__] for slot in self._slots],
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take over `state` of a device for as many CPUs."""
        self._selector, self._command = state["selector"], state["command"]
        for slot, values in zip(self._slots, state["cpus"], strict=True):
            for name, value in zip(_Slot.__slots__, values, strict=True):
                setattr(slot, name, value)
