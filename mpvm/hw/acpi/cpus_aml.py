"""The AML of CPUs that come and go: processor devices, and what the guest does when GPE 2 tells of an event.

Object names are those of QEMU's DSDT (its hw/acpi/cpu.c), so that a reader finds them. The processors are
devices (ACPI0007), as ACPI has them since it dropped the Processor term (ACPI 6.4, 19.6.30).
"""

from collections.abc import Sequence
from typing import Final

from mpvm.hw.acpi import aml
from mpvm.hw.acpi.cpu_hotplug import CPU_HOTPLUG_GPE, CPU_HOTPLUG_PORT, CPU_HOTPLUG_PORTS, Command
from mpvm.hw.acpi.madt import LOCAL_APIC_ENABLED, local_apic

# Values of Notify (ACPI 6.5, table 5.187), and what _STA gives for a processor that is there.
_DEVICE_CHECK, _EJECT_REQUEST = 1, 3
_PRESENT_AND_WORKING: Final = 0xF
_MUTEX: Final = "\\_SB.PRES.CPLK"
_SELECTOR, _COMMAND, _DATA = "\\_SB.PRES.CSEL", "\\_SB.PRES.CCMD", "\\_SB.PRES.CDAT"
_ENABLED, _INSERTING, _REMOVING, _EJECT = (f"\\_SB.PRES.{name}" for name in ("CPEN", "CINS", "CRMV", "CEJ0"))


def cpus_aml(apic_ids: Sequence[int]) -> bytes:
    """All of it, for the DSDT's outermost level; `apic_ids` has every CPU that can be, by its index."""
    return (
        aml.scope("\\_SB", _registers(), _container(apic_ids))
        + aml.method(f"\\_GPE._E{CPU_HOTPLUG_GPE:02X}", 0, aml.path("\\_SB.CPUS.CSCN"), serialized=False)
    )  # fmt: skip


def _registers() -> bytes:
    """The device with the hot-plug registers (`mpvm.hw.acpi.cpu_hotplug`); one method at a time uses it."""
    return aml.device(
        "PRES",
        aml.name("_HID", aml.eisa_id("PNP0A06")),
        aml.name("_UID", aml.string("CPU Hotplug resources")),
        aml.name("_CRS", aml.resource_template(aml.io(CPU_HOTPLUG_PORT, CPU_HOTPLUG_PORTS))),
        aml.mutex("CPLK"),
        aml.io_region("PRST", CPU_HOTPLUG_PORT, CPU_HOTPLUG_PORTS),
        aml.field(
            "PRST",
            aml.Access.BYTE,
            # A flag that is written as 1 is an order: the others must not be.
            aml.Update.WRITE_AS_ZEROS,
            *(("", 32), ("CPEN", 1), ("CINS", 1), ("CRMV", 1), ("CEJ0", 1), ("CEJF", 1), ("", 3)),
            ("CCMD", 8),
        ),
        aml.field(
            "PRST", aml.Access.DWORD, aml.Update.PRESERVE, ("CSEL", 32), ("", 32), ("CDAT", 32)
        ),
    )  # fmt: skip


def _container(apic_ids: Sequence[int]) -> bytes:
    return aml.device(
        "CPUS",
        aml.name("_HID", aml.string("ACPI0010")),
        aml.name("_CID", aml.eisa_id("PNP0A05")),
        _notify_method(len(apic_ids)),
        _status_method(),
        _eject_method(),
        _ost_method(),
        _scan_method(),
        *(_processor(index, apic_id) for index, apic_id in enumerate(apic_ids)),
    )


def _locked(*terms: bytes) -> bytes:
    return aml.acquire(_MUTEX) + b"".join(terms) + aml.release(_MUTEX)


def _set(register: str, value: bytes) -> bytes:
    return aml.store(value, aml.path(register))


def _is_set(register: str) -> bytes:
    return aml.equal(aml.path(register), aml.integer(1))


def _notify_method(count: int) -> bytes:
    """CTFY (CPU, value): notify the device of that CPU."""
    return aml.method(
        "CTFY",
        2,
        *(
            aml.if_(aml.equal(aml.arg(0), aml.integer(index)), aml.notify(_device_name(index), aml.arg(1)))
            for index in range(count)
        ),
        serialized=False,
    )


def _status_method() -> bytes:
    """CSTA (CPU): what _STA gives."""
    return aml.method(
        "CSTA",
        1,
        aml.store(aml.integer(0), aml.local(0)),
        _locked(
            _set(_SELECTOR, aml.arg(0)),
            aml.if_(_is_set(_ENABLED), aml.store(aml.integer(_PRESENT_AND_WORKING), aml.local(0))),
        ),
        aml.return_(aml.local(0)),
    )


def _eject_method() -> bytes:
    """CEJ0 (CPU): the guest has let go of it."""
    return aml.method("CEJ0", 1, _locked(_set(_SELECTOR, aml.arg(0)), _set(_EJECT, aml.integer(1))))


def _ost_method() -> bytes:
    """COST (CPU, event, status): what became of an event."""
    return aml.method(
        "COST",
        3,
        _locked(
            _set(_SELECTOR, aml.arg(0)),
            _set(_COMMAND, aml.integer(Command.OST_EVENT)),
            _set(_DATA, aml.arg(1)),
            _set(_COMMAND, aml.integer(Command.OST_STATUS)),
            _set(_DATA, aml.arg(2)),
        ),
    )


def _scan_method() -> bytes:
    """CSCN: take every event there is, and notify the device that it is about.

    An event is taken before its device is notified: one that comes after is a new one.
    """
    again, cpu = aml.local(0), aml.local(1)

    def take(event: str, notification: int) -> bytes:
        return (
            aml.store(aml.path(_DATA), cpu)
            + _set(event, aml.integer(1))
            + aml.call("CTFY", cpu, aml.integer(notification))
            + aml.store(aml.integer(1), again)
        )

    return aml.method(
        "CSCN",
        0,
        _locked(
            # Valid whatever was selected last: commands are for CPUs that there are.
            _set(_SELECTOR, aml.integer(0)),
            aml.store(aml.integer(1), again),
            aml.while_(
                aml.equal(again, aml.integer(1)),
                aml.store(aml.integer(0), again),
                _set(_COMMAND, aml.integer(Command.NEXT_WITH_EVENT)),
                aml.if_(_is_set(_INSERTING), take(_INSERTING, _DEVICE_CHECK)),
                aml.else_(aml.if_(_is_set(_REMOVING), take(_REMOVING, _EJECT_REQUEST))),
            ),
        ),
    )


def _device_name(index: int) -> str:
    return f"C{index:03X}"


def _processor(index: int, apic_id: int) -> bytes:
    number = aml.integer(index)
    ost = aml.call("COST", number, aml.arg(0), aml.arg(1))
    # The boot processor stays: every reset begins with it.
    eject = () if index == 0 else (aml.method("_EJ0", 1, aml.call("CEJ0", number), serialized=False),)
    return aml.device(
        _device_name(index),
        aml.name("_HID", aml.string("ACPI0007")),
        aml.name("_UID", number),
        aml.method("_STA", 0, aml.return_(aml.call("CSTA", number))),
        # Of a CPU that is there: enabled.
        aml.name("_MAT", aml.buffer(local_apic(index, apic_id, LOCAL_APIC_ENABLED))),
        *eject,
        aml.method("_OST", 3, ost),
    )
