"""What every machine class is made of, and what it asks of whoever runs it."""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple, TypeVar

from mpvm.abi.errors import ConfigError, DeviceError, ObjectTypeError
from mpvm.abi.layout import VcpuArea, VmPage
from mpvm.cpu.models import CpuModel
from mpvm.cpu.topology import Topology
from mpvm.hw.char.chardev import Chardev
from mpvm.hw.clock import Clock
from mpvm.hw.system import WakeupReason
from mpvm.memory.address_space import AddressSpace
from mpvm.memory.ram import GuestRam, Slot, ram_slots
from mpvm.qom.container import Container
from mpvm.qom.globals import GlobalProperties, GlobalProperty
from mpvm.qom.module import Level
from mpvm.qom.object import Object, cast
from mpvm.qom.properties import computed
from mpvm.qom.qdev import Bus, Device, qdev_new, qdev_realize
from mpvm.qom.resettable import Resettable, resettable_reset
from mpvm.qom.type_info import object_class_get_list, register_type, registered_types

if TYPE_CHECKING:
    from mpvm.hw.acpi.cpu_hotplug import Ost
    from mpvm.machine.x86_cpu import X86Cpu

C = TypeVar("C", bound=type[Any])

# Machine classes that most runs do without, by the names and aliases that there are of them.
_MODULE_OF: Final = {"q35": "mpvm.machine.pc_q35", "pc-q35-1.1": "mpvm.machine.pc_q35"}

# The machine class NAME is the type NAME-machine (QEMU's TYPE_MACHINE_SUFFIX).
MACHINE_SUFFIX: Final = "-machine"


class BootSpec(NamedTuple):
    """What is booted; `protocol` None: look at the image. `modules` are (path, string) pairs."""

    kernel: Path
    protocol: str | None = None
    initrd: Path | None = None
    append: str = ""
    modules: tuple[tuple[Path, str], ...] = ()
    argv0: str | None = None


class DeviceSpec(NamedTuple):
    """A device that the user adds: its type, its name in /machine/peripheral, and its properties.

    Among these, `bus` is the name of the bus that it goes on; without it, it is the first of its kind.
    """

    driver: str
    id: str | None = None
    properties: Mapping[str, object] = MappingProxyType({})


class MachineSpec(NamedTuple):
    """What a machine is made of. `serial` has a backend per UART, None where there is none.

    `smp` vCPUs are there from the start; there can be as many as the host has areas for. `hpet`, `pit` and
    `vmport`: whether the board has its own, if its class does.
    """

    topology: Topology
    cpu: CpuModel
    memory_bytes: int
    boot: BootSpec | None = None
    serial: tuple[Chardev | None, ...] = ()
    debugcon: Chardev | None = None
    isa_debug_exit: bool = False
    hpet: bool = True
    pit: bool = True
    vmport: bool = True
    devices: Sequence[DeviceSpec] = ()
    globals: Sequence[GlobalProperty] = ()
    # Files of the user's in fw_cfg, and the machine's UUID.
    fw_cfg: Sequence[tuple[str, bytes]] = ()
    uuid: bytes = bytes(16)

    @property
    def smp(self) -> int:
        """VCPUs that are there from the start."""
        return self.topology.cpus


class Host(NamedTuple):
    """What a machine gets from whoever runs it: time, the shared blocks, and ways to ask for something.

    `dma_store(offset, data)` stores into the RAM block while vCPUs run,
    `kick(index)` makes a vCPU look at its inbox, `wall_clock` is Unix time in seconds,
    `debug_exit(status)` ends the run with the guest's own exit status, `eject_cpu(index)` takes down a vCPU
    that the guest has let go of, `report_ost(ost)` hands on what the guest says of a CPU's hot-plug events.
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
    suspend: Callable[[], None]
    wakeup: Callable[[WakeupReason], None]
    debug_exit: Callable[[int], None]
    eject_cpu: Callable[[int], None]
    report_ost: "Callable[[Ost], None]"


@register_type("machine", abstract=True, description="a board")
class Machine(Object, Resettable, ABC):
    """A board: RAM, devices, and the address spaces that they answer in; /machine of its composition tree.

    Life: constructed, `run_board_init` once, then `reset` and `load_boot_image` before every start from the
    reset state. Of `ports`, `memory` and `ram`, a board has what it makes.
    """

    # Whether CPUs can be added and removed while it runs.
    has_hotpluggable_cpus: ClassVar[bool] = False
    # The name of the newest version of a versioned type without its version.
    alias: ClassVar[str | None] = None
    # Whether it is taken where no class is named; of one class alone.
    is_default: ClassVar[bool] = False
    # With how few vCPUs there is something to run; without any there need be no RAM and no boot image either.
    min_cpus: ClassVar[int] = 1
    # Defaults of properties that make an older version what it was; the parent type's come first.
    compat_props: ClassVar[Sequence[GlobalProperty]] = ()

    # Whose access to a port is being served.
    current_vcpu: int = 0

    ports: AddressSpace
    memory: AddressSpace
    ram: GuestRam

    def __init__(self, spec: MachineSpec, host: Host) -> None:
        super().__init__()
        self.spec = spec
        self.host = host
        self.globals = GlobalProperties(compat_properties(type(self)))
        self.globals.extend(spec.globals)
        # Those that are there, by index.
        self.cpus: dict[int, X86Cpu] = {}
        self.root = Container()
        self.root.add_child("machine", self)
        self.root.container("objects")
        for name in ("unattached", "peripheral", "peripheral-anon"):
            self.add_child(name, Container())

    @classmethod
    def ram_slots(cls, memory_bytes: int) -> list[Slot]:
        """Where its `memory_bytes` of RAM are; the same for every class up to `SAME_RAM_LIMIT`."""
        return ram_slots(memory_bytes)

    @computed("str", "the machine class")
    def type(self) -> str:
        """The machine class."""
        return self.type_name.removesuffix(MACHINE_SUFFIX)

    @computed("size", "bytes of RAM")
    def memory_size(self) -> int:
        """Bytes of RAM."""
        return self.spec.memory_bytes

    @computed("str", "the boot image")
    def kernel(self) -> str:
        """The boot image."""
        return str(self.spec.boot.kernel) if self.spec.boot else ""

    @computed("str", "the initial RAM disk")
    def initrd(self) -> str:
        """The initial RAM disk."""
        return str(self.spec.boot.initrd or "") if self.spec.boot else ""

    @computed("str", "the kernel's command line")
    def append(self) -> str:
        """The kernel's command line."""
        return self.spec.boot.append if self.spec.boot else ""

    @property
    def boot(self) -> BootSpec:
        """What is booted; `ConfigError` where nothing is."""
        if self.spec.boot is None:
            raise ConfigError("boot.kernel: missing, the path of a kernel image or builtin:smp is right")
        return self.spec.boot

    def run_board_init(self) -> None:
        """What QEMU's machine_run_board_init and qemu_create_cli_devices do, and machine_init_done."""
        self.init()
        for device in self.spec.devices:
            self.create_device(device)
        self.init_done()

    @abstractmethod
    def init(self) -> None:
        """Make the board (MachineClass.init): CPUs, memory, devices."""

    def init_done(self) -> None:
        """Every device is there, the user's, too."""

    def create_device(self, spec: DeviceSpec) -> Device:
        """Make, place and realize a device of the user's (qdev_device_add); `ConfigError` says what fails."""
        device = qdev_new(spec.driver, self.globals)
        try:
            properties = dict(spec.properties)
            bus = properties.pop("bus", None)
            for name, value in properties.items():
                device.set_property(name, value)
            if spec.id is None:
                self.container("peripheral-anon").add_child("device[*]", device)
            else:
                self.container("peripheral").add_child(spec.id, device)
            self.pre_plug(device)
            qdev_realize(device, self.bus_for(device) if bus is None else self._bus_named(str(bus)))
        except (ConfigError, DeviceError) as error:
            device.unparent()
            raise ConfigError(f"device {spec.id or spec.driver}: {error}") from error
        return device

    def pre_plug(self, device: Device) -> None:
        """Before a device of the user's is realized: what this board has for it, beside a bus."""

    def bus_for(self, device: Device) -> Bus | None:
        """The bus of this board that `device` goes on, None when there is none of its kind."""
        wanted = device.bus_type
        if wanted is None:
            return None
        return next((cast(node, Bus) for node in self.descendants() if node.is_a(wanted)), None)

    def _bus_named(self, name: str) -> Bus:
        """The bus called `name`; `ConfigError` says which there are."""
        buses = {node.path_component: cast(node, Bus) for node in self.descendants() if node.is_a("bus")}
        if name not in buses:
            raise ConfigError(f"bus {name!r} is unknown, {' or '.join(sorted(buses)) or 'none'} is right")
        return buses[name]

    def place(self, device: Device) -> None:
        """Give a device of the board that has no place in the tree one in /machine/unattached."""
        if device.parent is None:
            self.container("unattached").add_child("device[*]", device)

    def container(self, name: str) -> Container:
        """The folder /machine/`name`."""
        return cast(self.child(name), Container)

    def reset(self) -> None:
        """Put everything into its power-on state."""
        resettable_reset(self)

    def release(self) -> None:
        """Let go of the RAM block."""
        if hasattr(self, "ram"):
            self.ram.release()

    @property
    def leaves_firmware(self) -> bool:
        """Whether CPUs start as firmware leaves them (`ResumeFlag.FIRMWARE`)."""
        return False

    def wake(self, reason: WakeupReason) -> None:
        """After a reset: go on where a guest that has suspended to RAM wants to. Few boards have that."""
        raise DeviceError(f"{self.type}: has no sleeping state to wake from")

    @abstractmethod
    def load_boot_image(self) -> None:
        """Write firmware tables and the boot image into RAM, and the first CPU state into the BSP's area."""

    @abstractmethod
    def acknowledge_interrupt(self) -> int | None:
        """A vCPU's INTA cycle: the vector of the external interrupt controller, None when none is due."""

    @abstractmethod
    def end_of_interrupt(self, vector: int) -> None:
        """A local APIC has ended the level-triggered interrupt `vector`."""

    def floating_point_error(self) -> None:
        """A vCPU's FERR#: it has an x87 error, and CR0.NE is clear. Nobody listens, unless a board does."""

    @abstractmethod
    def inject_nmi(self) -> None:
        """Drive the board's NMI line; raises `CommandError` where there is none."""

    @abstractmethod
    def press_power_button(self) -> None:
        """What a person does to ask for an orderly end."""


def register_machine(name: str, *, description: str = "") -> Callable[[C], C]:
    """Class decorator: the class is the machine class `name`, from module-init level MACHINE on."""
    return register_type(name + MACHINE_SUFFIX, description=description, level=Level.MACHINE)


def compat_properties(cls: type[Machine]) -> list[GlobalProperty]:
    """The compat properties of `cls`, after those of the types above it."""
    return [entry for base in reversed(cls.__mro__) for entry in vars(base).get("compat_props", ())]


def machine_class(name: str) -> type[Machine]:
    """The machine class called `name`, or whose alias that is; `ObjectTypeError` when there is none.

    "" is the default class (find_default_machine).
    """
    if name in _MODULE_OF:
        importlib.import_module(_MODULE_OF[name])
    for types in (registered_types, object_class_get_list):
        cls: type[Machine]
        for cls in types(Machine.type_name):
            own = cls.type_name.removesuffix(MACHINE_SUFFIX)
            if name in (own, cls.alias) or (not name and cls.is_default):
                return cls
    raise ObjectTypeError(f"machine type {name!r} is unknown, {' or '.join(machine_names())} is right")


def machine_names() -> list[str]:
    """What `machine_class` takes, of every machine class there is, sorted."""
    classes = object_class_get_list(Machine.type_name)
    names = {cls.type_name.removesuffix(MACHINE_SUFFIX) for cls in classes}
    return sorted(names | {cls.alias for cls in classes if cls.alias})
