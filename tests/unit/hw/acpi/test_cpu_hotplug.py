"""The CPU hot-plug registers, as QEMU's docs/specs/acpi_cpu_hotplug has them."""

import pytest

from mpvm.abi.errors import DeviceError
from mpvm.hw.acpi.cpu_hotplug import CPU_HOTPLUG_PORT, CPU_HOTPLUG_PORTS, CpuHotplug, Ost
from tests.unit.hw.plug import plug

SELECTOR, STATUS, COMMAND, DATA = 0, 4, 5, 8
ENABLED, INSERTING, REMOVING, EJECT, FIRMWARE = 1, 2, 4, 8, 16
NEXT, OST_EVENT, OST_STATUS, APIC_ID = 0, 1, 2, 3


class Registers:
    """Four CPUs with gaps in their APIC IDs, of which the first two are there."""

    def __init__(self) -> None:
        self.signals = 0
        self.ejected: list[int] = []
        self.reported: list[Ost] = []
        self.device = CpuHotplug()
        self.device.apic_ids = [0, 1, 4, 5]
        self.device.present = [0, 1]
        self.device.signal_event = self.signal
        self.device.eject = self.ejected.append
        self.device.report = self.reported.append
        plug(self.device)
        [(_, self.region)] = self.device.ports()

    def signal(self) -> None:
        self.signals += 1

    def status(self, cpu: int) -> int:
        self.write(SELECTOR, cpu)
        return self.region.read(STATUS, 1)

    def write(self, offset: int, value: int) -> None:
        self.region.write(offset, 4 if offset in (SELECTOR, DATA) else 1, value)

    def data(self, command: int) -> int:
        self.write(COMMAND, command)
        return self.region.read(DATA, 4)


@pytest.fixture
def registers() -> Registers:
    return Registers()


def test_they_are_where_a_pc_has_them(registers: Registers) -> None:
    assert [(port, region.size) for port, region in registers.device.ports()] == [
        (CPU_HOTPLUG_PORT, CPU_HOTPLUG_PORTS)
    ]
    assert (CPU_HOTPLUG_PORT, CPU_HOTPLUG_PORTS) == (0xAF00, 12)


def test_those_of_the_start_are_enabled_without_an_event(registers: Registers) -> None:
    assert [registers.status(cpu) for cpu in range(4)] == [ENABLED, ENABLED, 0, 0]


def test_a_plugged_cpu_has_an_insert_event_until_it_is_taken(registers: Registers) -> None:
    registers.device.plug(2)
    assert registers.signals == 1
    assert registers.status(2) == ENABLED | INSERTING
    registers.write(STATUS, INSERTING)
    assert registers.status(2) == ENABLED


def test_a_cpu_that_is_there_is_not_plugged_again(registers: Registers) -> None:
    with pytest.raises(DeviceError, match="CPU 1 is there already"):
        registers.device.plug(1)
    with pytest.raises(DeviceError, match="CPU 2 is not there"):
        registers.device.request_unplug(2)
    assert registers.signals == 0


def test_an_unplug_request_is_an_event_and_leaves_the_cpu(registers: Registers) -> None:
    registers.device.request_unplug(1)
    assert registers.signals == 1
    assert registers.status(1) == ENABLED | REMOVING
    registers.write(STATUS, REMOVING)
    assert registers.status(1) == ENABLED
    assert registers.ejected == []


def test_an_ejected_cpu_is_gone_at_once(registers: Registers) -> None:
    registers.device.request_unplug(1)
    registers.status(1)
    registers.write(STATUS, EJECT)
    assert registers.ejected == [1]
    assert registers.status(1) == 0


@pytest.mark.parametrize("cpu", [0, 2, 4, 0xFFFFFFFF])
def test_the_boot_processor_and_what_is_not_there_are_not_ejected(registers: Registers, cpu: int) -> None:
    before = registers.status(cpu)
    registers.write(STATUS, EJECT)
    assert registers.ejected == []
    assert registers.status(cpu) == before


def test_the_next_command_selects_the_next_cpu_with_an_event_and_wraps(registers: Registers) -> None:
    registers.device.plug(3)
    registers.device.request_unplug(1)
    registers.write(SELECTOR, 0)
    assert registers.data(NEXT) == 1
    registers.write(STATUS, REMOVING)
    assert registers.data(NEXT) == 3
    registers.write(SELECTOR, 0)
    registers.device.request_unplug(1)
    registers.write(SELECTOR, 2)
    registers.write(COMMAND, NEXT)
    registers.write(STATUS, INSERTING)
    assert registers.data(NEXT) == 1


def test_without_an_event_the_selector_stays(registers: Registers) -> None:
    registers.write(SELECTOR, 2)
    assert registers.data(NEXT) == 2


def test_the_architecture_id_is_the_apic_id(registers: Registers) -> None:
    registers.write(SELECTOR, 3)
    assert registers.data(APIC_ID) == 5
    assert registers.region.read(0, 4) == 0, "the upper half"


def test_ost_hands_on_event_and_status_once_the_status_is_there(registers: Registers) -> None:
    registers.write(SELECTOR, 1)
    registers.write(COMMAND, OST_EVENT)
    registers.write(DATA, 3)
    assert registers.reported == []
    registers.write(COMMAND, OST_STATUS)
    registers.write(DATA, 0x84)
    assert registers.reported == [Ost(1, 3, 0x84)]


def test_a_selector_of_no_cpu_reads_as_nothing_and_takes_no_command(registers: Registers) -> None:
    registers.device.plug(2)
    registers.write(SELECTOR, 4)
    registers.write(COMMAND, NEXT)
    assert [registers.region.read(offset, 4) for offset in (0, 4, 8)] == [0, 0, 0]


def test_handing_the_eject_to_firmware_is_remembered_until_it_is_done(registers: Registers) -> None:
    registers.status(1)
    registers.write(STATUS, FIRMWARE)
    assert registers.status(1) == ENABLED | FIRMWARE
    registers.write(STATUS, EJECT)
    assert registers.status(1) == 0


def test_a_reset_takes_events_back_and_leaves_the_cpus(registers: Registers) -> None:
    registers.device.plug(2)
    registers.device.request_unplug(1)
    registers.device.reset()
    assert [registers.status(cpu) for cpu in range(4)] == [ENABLED, ENABLED, ENABLED, 0]


def test_its_state_is_loaded_into_another(registers: Registers) -> None:
    registers.device.plug(2)
    registers.write(SELECTOR, 2)
    other = Registers()
    other.device.load(registers.device.state())
    assert other.region.read(STATUS, 1) == ENABLED | INSERTING
    assert other.status(3) == 0
