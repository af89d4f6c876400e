"""The configuration as everyone else sees it: named tuples, and the rules their fields keep.

The only declaration of the schema: pydantic validates against these classes (`mpvm.config.schema`),
docs/configuration.md explains them. Paths are absolute after `load_config`. No dataclasses: every start
would make them, which takes thrice as long.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

from mpvm.config import rules
from mpvm.config.chardevs import CHARDEV_RIGHT, STDIO, ChardevSpec
from mpvm.config.devices import chardev_definition, device, global_properties, machine_type
from mpvm.cpu.topology import Topology, single_socket
from mpvm.trace.log import LOG_ITEMS

BUILTIN = "builtin:"
_ONE_VCPU = single_socket(1)


_CHARDEV = rules.Rule(ChardevSpec.parse, CHARDEV_RIGHT)


class Machine(NamedTuple):
    """The board: its class, "" for the default one, vCPUs and how they are arranged, bytes of RAM, and
    accelerators to try in order.
    """

    type: Annotated[str, machine_type()] = ""
    smp: Annotated[Topology, rules.smp()] = _ONE_VCPU
    memory: Annotated[int, rules.memory_size()] = 128 << 20
    accel: Annotated[str, rules.list_of_names("unicorn", "kvm")] = "unicorn"
    hpet: Annotated[bool, rules.flag()] = True
    pit: Annotated[bool, rules.flag()] = True
    vmport: Annotated[bool, rules.flag()] = True


class Cpu(NamedTuple):
    """The CPU model and features switched on and off: "max,+x2apic,-avx"."""

    model: Annotated[str, rules.text("a CPU model")] = "max"


class VcpuPin(NamedTuple):
    """The CPUs of the host, sorted, that the worker of one vCPU may use."""

    vcpu: Annotated[int, rules.integer(0, 63)]
    cpuset: Annotated[tuple[int, ...], rules.some_cpuset()]


class CpuTune(NamedTuple):
    """Where the workers run on the host, and how nice they are; `cpuset` is for the vCPUs without a pin."""

    cpuset: Annotated[tuple[int, ...] | None, rules.cpuset()] = None
    vcpupin: tuple[Annotated[VcpuPin, rules.Section()], ...] = ()
    nice: Annotated[int | None, rules.optional_integer(-20, 19)] = None


class Module(NamedTuple):
    """A file handed to a multiboot kernel, with its command line."""

    path: Annotated[Path, rules.path("a module")]
    string: Annotated[str, rules.text("the module's command line")] = ""


class Boot(NamedTuple):
    """What is loaded and how; protocol `auto` looks at the image.

    `argv0` is what a Multiboot kernel is told as its file's name, nothing for its path.
    """

    kernel: Annotated[Path | None, rules.optional_path("a kernel image, or builtin:smp,")] = None
    protocol: Annotated[str, rules.one_of("auto", "linux", "multiboot", "elf", "flat")] = "auto"
    initrd: Annotated[Path | None, rules.optional_path("an initial RAM disk")] = None
    append: Annotated[str, rules.text("the kernel's command line")] = ""
    modules: tuple[Annotated[Module, rules.Section()], ...] = ()
    argv0: Annotated[str | None, rules.optional_text("the kernel's name")] = None


class Device(NamedTuple):
    """A device that the user adds: its type, its name, and (property, value) pairs."""

    driver: str
    id: str | None = None
    properties: tuple[tuple[str, str | float | ChardevSpec], ...] = ()

    def chardevs(self) -> dict[str, ChardevSpec]:
        """The properties that are chardevs."""
        return {name: value for name, value in self.properties if isinstance(value, ChardevSpec)}


class Global(NamedTuple):
    """Another default for a property of all devices of a type."""

    driver: str
    property: str
    value: str | float


#: Events of the guest, and what each can lead to (QEMU's -action).
ACTIONS: Final = {
    "reboot": ("reset", "shutdown"),
    "shutdown": ("poweroff", "pause"),
    "panic": ("shutdown", "pause", "exit-failure", "none"),
    "watchdog": ("reset", "shutdown", "poweroff", "pause", "debug", "none", "inject-nmi"),
}


class Action(NamedTuple):
    """What an event of the guest leads to; a triple fault is a panic or a reset."""

    reboot: Annotated[str, rules.one_of(*ACTIONS["reboot"])] = "reset"
    shutdown: Annotated[str, rules.one_of(*ACTIONS["shutdown"])] = "poweroff"
    panic: Annotated[str, rules.one_of(*ACTIONS["panic"])] = "shutdown"
    watchdog: Annotated[str, rules.one_of(*ACTIONS["watchdog"])] = "reset"
    triple_fault: Annotated[str, rules.one_of("panic", "reset")] = "panic"


class Rtc(NamedTuple):
    """What the real-time clock says at the start, what it goes by, and how it makes up for lost ticks.

    `base` is utc, localtime or a date.
    """

    base: Annotated[str, rules.rtc_base()] = "utc"
    clock: Annotated[str, rules.one_of("host", "rt", "vm")] = "host"
    driftfix: Annotated[str, rules.one_of("none", "slew")] = "none"


class FwCfgItem(NamedTuple):
    """A file of the user's in fw_cfg's directory; its content is that of `file`, or `string`."""

    name: Annotated[str, rules.fw_cfg_name()]
    file: Annotated[Path | None, rules.optional_path("an item's content")] = None
    string: Annotated[str | None, rules.optional_text("an item's content")] = None


class Config(NamedTuple):
    """A machine as a user describes it. `timeout` is in seconds of wall-clock time."""

    boot: Annotated[Boot, rules.Section()] = Boot()
    name: Annotated[str, rules.text("the guest's name")] = ""
    machine: Annotated[Machine, rules.Section()] = Machine()
    cpu: Annotated[Cpu, rules.Section()] = Cpu()
    cputune: Annotated[CpuTune, rules.Section()] = CpuTune()
    uuid: Annotated[str | None, rules.uuid()] = None
    chardevs: tuple[Annotated[ChardevSpec, chardev_definition()], ...] = ()
    serial: tuple[Annotated[ChardevSpec, _CHARDEV], ...] = (STDIO,)
    debugcon: Annotated[ChardevSpec, _CHARDEV] = ChardevSpec("null")
    monitor: tuple[Annotated[ChardevSpec, _CHARDEV], ...] = ()
    isa_debug_exit: Annotated[bool, rules.flag()] = False
    devices: tuple[Annotated[Device, device()], ...] = ()
    globals: Annotated[tuple[Global, ...], global_properties()] = ()
    fw_cfg: tuple[Annotated[FwCfgItem, rules.Section()], ...] = ()
    rtc: Annotated[Rtc, rules.Section()] = Rtc()
    paused: Annotated[bool, rules.flag()] = False
    no_reboot: Annotated[bool, rules.flag()] = False
    action: Annotated[Action, rules.Section()] = Action()
    pidfile: Annotated[Path | None, rules.optional_path("a file for the process id")] = None
    timeout: Annotated[float | None, rules.seconds()] = None
    qmp: Annotated[Path | None, rules.socket()] = None
    log: tuple[Annotated[str, rules.one_of(*LOG_ITEMS)], ...] = ()
    logfile: Annotated[Path | None, rules.optional_path("a log")] = None
    trace: tuple[Annotated[str, rules.trace_pattern()], ...] = ()
    perfmap: Annotated[bool, rules.flag()] = False
    symbols: Annotated[Path | None, rules.optional_path("a symbol table")] = None


def to_plain(config: Config) -> dict[str, Any]:
    """`config` as JSON types; `from_plain` is its inverse."""
    machine, cpu, boot, tune = config.machine, config.cpu, config.boot, config.cputune
    return {
        "name": config.name,
        "machine": {
            "type": machine.type,
            "smp": list(machine.smp),
            "memory": machine.memory,
            "accel": machine.accel,
            "hpet": machine.hpet,
            "pit": machine.pit,
            "vmport": machine.vmport,
        },
        "cpu": {"model": cpu.model},
        "cputune": {
            "cpuset": None if tune.cpuset is None else list(tune.cpuset),
            "vcpupin": [{"vcpu": pin.vcpu, "cpuset": list(pin.cpuset)} for pin in tune.vcpupin],
            "nice": tune.nice,
        },
        "boot": {
            "kernel": None if boot.kernel is None else str(boot.kernel),
            "protocol": boot.protocol,
            "initrd": None if boot.initrd is None else str(boot.initrd),
            "append": boot.append,
            "modules": [{"path": str(module.path), "string": module.string} for module in boot.modules],
            "argv0": boot.argv0,
        },
        "uuid": config.uuid,
        "chardevs": [spec.to_plain() for spec in config.chardevs],
        "serial": [spec.to_plain() for spec in config.serial],
        "debugcon": config.debugcon.to_plain(),
        "monitor": [spec.to_plain() for spec in config.monitor],
        "isa_debug_exit": config.isa_debug_exit,
        "devices": [
            {
                "driver": device.driver,
                "id": device.id,
                "properties": [[n, v] for n, v in device.properties if not isinstance(v, ChardevSpec)],
                "chardevs": {name: spec.to_plain() for name, spec in device.chardevs().items()},
            }
            for device in config.devices
        ],
        "globals": [[each.driver, each.property, each.value] for each in config.globals],
        "fw_cfg": [[i.name, None if i.file is None else str(i.file), i.string] for i in config.fw_cfg],
        "rtc": list(config.rtc),
        "paused": config.paused,
        "no_reboot": config.no_reboot,
        "action": list(config.action),
        "pidfile": None if config.pidfile is None else str(config.pidfile),
        "timeout": config.timeout,
        "qmp": None if config.qmp is None else str(config.qmp),
        "log": list(config.log),
        "logfile": None if config.logfile is None else str(config.logfile),
        "trace": list(config.trace),
        "perfmap": config.perfmap,
        "symbols": None if config.symbols is None else str(config.symbols),
    }


def from_plain(plain: Mapping[str, Any]) -> Config:
    """The configuration that `to_plain` made `plain` of. Values are trusted, its shape is not: `TypeError`,
    `KeyError`, `ValueError` or `AttributeError` for another one."""
    boot = dict(plain["boot"])
    boot["kernel"] = None if boot["kernel"] is None else Path(boot["kernel"])
    boot["initrd"] = None if boot["initrd"] is None else Path(boot["initrd"])
    boot["modules"] = tuple(
        Module(path=Path(module["path"]), string=module["string"]) for module in boot["modules"]
    )
    tune = dict(plain["cputune"])
    tune["cpuset"] = None if tune["cpuset"] is None else tuple(tune["cpuset"])
    tune["vcpupin"] = tuple(VcpuPin(vcpu=pin["vcpu"], cpuset=tuple(pin["cpuset"])) for pin in tune["vcpupin"])
    rest = dict(plain)
    machine = rest.pop("machine")
    machine["smp"] = Topology(*machine["smp"])
    return Config(
        name=rest["name"],
        machine=Machine(**machine),
        cpu=Cpu(**rest.pop("cpu")),
        cputune=CpuTune(**tune),
        boot=Boot(**boot),
        uuid=rest["uuid"],
        chardevs=tuple(ChardevSpec.from_plain(spec) for spec in rest["chardevs"]),
        serial=tuple(ChardevSpec.from_plain(spec) for spec in rest["serial"]),
        debugcon=ChardevSpec.from_plain(rest["debugcon"]),
        monitor=tuple(ChardevSpec.from_plain(spec) for spec in rest["monitor"]),
        isa_debug_exit=rest["isa_debug_exit"],
        devices=tuple(_device(device) for device in rest["devices"]),
        globals=tuple(Global(driver=d, property=p, value=v) for d, p, v in rest["globals"]),
        fw_cfg=tuple(
            FwCfgItem(name, None if file is None else Path(file), string)
            for name, file, string in rest["fw_cfg"]
        ),
        rtc=Rtc(*rest["rtc"]),
        paused=rest["paused"],
        no_reboot=rest["no_reboot"],
        action=Action(*rest["action"]),
        pidfile=None if rest["pidfile"] is None else Path(rest["pidfile"]),
        timeout=rest["timeout"],
        qmp=None if rest["qmp"] is None else Path(rest["qmp"]),
        log=tuple(rest["log"]),
        logfile=None if rest["logfile"] is None else Path(rest["logfile"]),
        trace=tuple(rest["trace"]),
        perfmap=rest["perfmap"],
        symbols=None if rest["symbols"] is None else Path(rest["symbols"]),
    )


def _device(plain: Mapping[str, Any]) -> Device:
    chardevs = {name: ChardevSpec.from_plain(spec) for name, spec in plain["chardevs"].items()}
    properties = {**dict(plain["properties"]), **chardevs}
    return Device(driver=plain["driver"], id=plain["id"], properties=tuple(properties.items()))
