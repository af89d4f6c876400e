"""What every machine class is made of, and what it asks of whoever runs it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, Final, NamedTuple

from mpvm.abi.errors import ObjectTypeError
from mpvm.abi.layout import VcpuArea, VmPage
from mpvm.hw.char.chardev import Chardev
from mpvm.hw.clock import Clock
from mpvm.memory.address_space import AddressSpace
from mpvm.memory.dma import DmaMemory
from mpvm.memory.ram import GuestRam
from mpvm.qom.object import Object
from mpvm.qom.type_info import object_class_get_list, register_type, registered_types

IO_PORTS = 0x10000
PHYSICAL_ADDRESS_BITS = 52
# The machine class NAME is the type NAME-machine (QEMU's TYPE_MACHINE_SUFFIX).
MACHINE_SUFFIX: Final = "-machine"


class BootSpec(NamedTuple):
    """What is booted; `protocol` None: look at the image. `modules` are (path, string) pairs."""

    kernel: Path
    protocol: str | None = None
    initrd: Path | None = None
    append: str = ""
    modules: tuple[tuple[Path, str], ...] = ()


class MachineSpec(NamedTuple):
    """What a machine is made of. `serial` has a backend per UART, None where there is none."""

    smp: int
    memory_bytes: int
    boot: BootSpec
    cpu_model: str = "max"
    serial: tuple[Chardev | None, ...] = ()
    debugcon: Chardev | None = None
    isa_debug_exit: bool = False


class Host(NamedTuple):
    """What a machine gets from whoever runs it: time, the shared blocks, and ways to ask for something.

    `dma_store(offset, data)` stores into the RAM block while vCPUs run,
    `kick(index)` makes a vCPU look at its inbox, `wall_clock` is Unix time in seconds,
    `debug_exit(status)` ends the run with the guest's own exit status.
    """

    clock: Clock
    page: VmPage
    areas: Sequence[VcpuArea]
    ram_block: memoryview
    dma_store: Callable[[int, bytes], None]
    wall_clock: Callable[[], float]
    tsc_khz: int
    kick: Callable[[int], None]
    power_off: Callable[[], None]
    request_reset: Callable[[], None]
    debug_exit: Callable[[int], None]


@register_type("machine", abstract=True, description="a board")
class Machine(Object, ABC):
    """A board: RAM, devices, and the address spaces that they answer in.

    Life: constructed, `realize` once, then `reset` and `load_boot_image` before every start from the
    reset state.
    """

    # The name of the newest version of a versioned type without its version.
    alias: ClassVar[str | None] = None

    def __init__(self, spec: MachineSpec, host: Host) -> None:
        super().__init__()
        self.spec = spec
        self.host = host
        self.ports = AddressSpace("I/O ports", IO_PORTS)
        self.memory = AddressSpace("memory", 1 << PHYSICAL_ADDRESS_BITS)
        self.ram: GuestRam
        self.dma: DmaMemory

    @abstractmethod
    def realize(self) -> None:
        """Make the devices and connect them, and tell the vCPUs' areas which CPU they are."""

    @abstractmethod
    def reset(self) -> None:
        """Put every device into its power-on state."""

    @abstractmethod
    def load_boot_image(self) -> None:
        """Write firmware tables and the boot image into RAM, and the first CPU state into the BSP's area."""

    @abstractmethod
    def acknowledge_interrupt(self) -> int | None:
        """A vCPU's INTA cycle: the vector of the external interrupt controller, None when none is due."""

    @abstractmethod
    def end_of_interrupt(self, vector: int) -> None:
        """A local APIC has ended the level-triggered interrupt `vector`."""

    @abstractmethod
    def press_power_button(self) -> None:
        """What a person does to ask for an orderly end."""


def machine_class(name: str) -> type[Machine]:
    """The machine class called `name`, or whose alias that is; `ObjectTypeError` when there is none."""
    for types in (registered_types, object_class_get_list):
        for cls in types(Machine.type_name):
            if name in (cls.type_name.removesuffix(MACHINE_SUFFIX), cls.alias):
                found: type[Machine] = cls
                return found
    raise ObjectTypeError(f"machine type {name!r} is unknown, {' or '.join(machine_names())} is right")


def machine_names() -> list[str]:
    """What `machine_class` takes, of every machine class there is, sorted."""
    classes = object_class_get_list(Machine.type_name)
    names = {cls.type_name.removesuffix(MACHINE_SUFFIX) for cls in classes}
    return sorted(names | {cls.alias for cls in classes if cls.alias})
