"""The configuration as everyone else sees it: named tuples, and the rules their fields keep.

The only declaration of the schema: pydantic validates against these classes (`mpvm.config.schema`),
docs/configuration.md explains them. Paths are absolute after `load_config`. No dataclasses: every start
would make them, which takes thrice as long.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from mpvm.config import rules
from mpvm.config.devices import device, global_properties, machine_type
from mpvm.cpu.topology import Topology, single_socket
from mpvm.trace.log import LOG_ITEMS

BUILTIN = "builtin:"
_ONE_VCPU = single_socket(1)


class ChardevSpec(NamedTuple):
    """Where the bytes of a serial line go: `kind` stdio, null or file (which has a `path`)."""

    kind: str
    path: Path | None = None

    def __str__(self) -> str:
        return self.kind if self.path is None else f"{self.kind}:{self.path}"

    @classmethod
    def parse(cls, value: object) -> "ChardevSpec":
        """The chardev that "stdio", "null" or "file:PATH" names; `ValueError` for anything else."""
        if value is None:
            # What YAML makes of an unquoted null.
            return cls("null")
        if value in ("stdio", "null"):
            return cls(str(value))
        if isinstance(value, str) and value.startswith("file:") and len(value) > len("file:"):
            return cls("file", Path(value.removeprefix("file:")))
        raise ValueError


_CHARDEV = rules.Rule(ChardevSpec.parse, "stdio, null or file:PATH")


class Machine(NamedTuple):
    """The board: its class, "" for the default one, vCPUs and how they are arranged, bytes of RAM, and
    accelerators to try in order.
    """

    type: Annotated[str, machine_type()] = ""
    smp: Annotated[Topology, rules.smp()] = _ONE_VCPU
    memory: Annotated[int, rules.memory_size()] = 128 << 20
    accel: Annotated[str, rules.list_of_names("unicorn", "kvm")] = "unicorn"


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
    """What is loaded and how; protocol `auto` looks at the image."""

    kernel: Annotated[Path | None, rules.optional_path("a kernel image, or builtin:smp,")] = None
    protocol: Annotated[str, rules.one_of("auto", "linux", "multiboot", "elf", "flat")] = "auto"
    initrd: Annotated[Path | None, rules.optional_path("an initial RAM disk")] = None
    append: Annotated[str, rules.text("the kernel's command line")] = ""
    modules: tuple[Annotated[Module, rules.Section()], ...] = ()


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


class Config(NamedTuple):
    """A machine as a user describes it. `timeout` is in seconds of wall-clock time."""

    boot: Annotated[Boot, rules.Section()] = Boot()
    name: Annotated[str, rules.text("the guest's name")] = ""
    machine: Annotated[Machine, rules.Section()] = Machine()
    cpu: Annotated[Cpu, rules.Section()] = Cpu()
    cputune: Annotated[CpuTune, rules.Section()] = CpuTune()
    serial: tuple[Annotated[ChardevSpec, _CHARDEV], ...] = (ChardevSpec("stdio"),)
    debugcon: Annotated[ChardevSpec, _CHARDEV] = ChardevSpec("null")
    isa_debug_exit: Annotated[bool, rules.flag()] = False
    devices: tuple[Annotated[Device, device()], ...] = ()
    globals: Annotated[tuple[Global, ...], global_properties()] = ()
    no_reboot: Annotated[bool, rules.flag()] = False
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
        },
        "serial": [str(chardev) for chardev in config.serial],
        "debugcon": str(config.debugcon),
        "isa_debug_exit": config.isa_debug_exit,
        "devices": [
            {
                "driver": device.driver,
                "id": device.id,
                "properties": [[n, v] for n, v in device.properties if not isinstance(v, ChardevSpec)],
                "chardevs": {name: str(spec) for name, spec in device.chardevs().items()},
            }
            for device in config.devices
        ],
        "globals": [[each.driver, each.property, each.value] for each in config.globals],
        "no_reboot": config.no_reboot,
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
        serial=tuple(ChardevSpec.parse(chardev) for chardev in rest.pop("serial")),
        debugcon=ChardevSpec.parse(rest.pop("debugcon")),
        isa_debug_exit=rest["isa_debug_exit"],
        devices=tuple(_device(device) for device in rest["devices"]),
        globals=tuple(Global(driver=d, property=p, value=v) for d, p, v in rest["globals"]),
        no_reboot=rest["no_reboot"],
        timeout=rest["timeout"],
        qmp=None if rest["qmp"] is None else Path(rest["qmp"]),
        log=tuple(rest["log"]),
        logfile=None if rest["logfile"] is None else Path(rest["logfile"]),
        trace=tuple(rest["trace"]),
        perfmap=rest["perfmap"],
        symbols=None if rest["symbols"] is None else Path(rest["symbols"]),
    )


def _device(plain: Mapping[str, Any]) -> Device:
    chardevs = {name: ChardevSpec.parse(text) for name, text in plain["chardevs"].items()}
    properties = {**dict(plain["properties"]), **chardevs}
    return Device(driver=plain["driver"], id=plain["id"], properties=tuple(properties.items()))
