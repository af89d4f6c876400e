"""Options of the board: -machine, -accel, -cpu, -smp, -m."""

from __future__ import annotations

from mpvm.abi.errors import ConfigError
from mpvm.cli.system import opts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from mpvm.cli.system.command_line import CommandLine

# QEMU's names of accelerators, and ours.
ACCELERATORS = {"tcg": "unicorn", "kvm": "kvm", "unicorn": "unicorn"}
# QEMU's versions of its PCs are all our newest one; ours are older than the first of these.
_PCS = {"pc-i440fx-": "pc", "pc-q35-": "q35"}
_PC_VERSIONS = ((1, 4), (7, 2))
_SHIFTS = {"b": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50, "e": 60}
_RAM_UNIT = 8192


def machine(line: CommandLine, option: str, text: str) -> None:
    """-machine [type=]name[,property=value...]; also -M."""
    if opts.wants_help(text):
        from mpvm.cli.system import probes

        probes.machine_help(opts.parse(option, text, "type").get("type", "help"))
    for key, value in opts.parse(option, text, "type").items():
        key = key.replace("_", "-")
        if key == "type":
            line.set("machine.type", _of_qemu(value), option, text)
        elif key in _MACHINE_KEYS:
            _MACHINE_KEYS[key](line, option, text, value)
        elif key in _FIXED:
            if value not in _FIXED[key]:
                right = " or ".join(f"{key}={each}" for each in _FIXED[key])
                raise opts.wrong(option, text, f"{key}={value} is not there in mpvm, {right} is right")
        else:
            raise opts.wrong(option, text, f"Property 'machine.{key}' not found")


def _of_qemu(name: str) -> str:
    """Our name of a machine of QEMU's, or `name`."""
    for prefix, ours in _PCS.items():
        major, _, minor = name.removeprefix(prefix).partition(".")
        if name.startswith(prefix) and major.isdecimal() and minor.isdecimal():
            return ours if _PC_VERSIONS[0] <= (int(major), int(minor)) <= _PC_VERSIONS[1] else name
    return name


def _accel(line: CommandLine, option: str, text: str, value: str) -> None:
    names = [ACCELERATORS.get(name) for name in value.split(":")]
    line.names_unicorn = "unicorn" in value.split(":")
    for name, given in zip(names, value.split(":"), strict=True):
        if name is None:
            raise opts.wrong(option, text, f"invalid accelerator {given}")
    line.set("machine.accel", ":".join(dict.fromkeys(filter(None, names))), option, text)


def _switch(key: str) -> Callable[[CommandLine, str, str, str], None]:
    def put(line: CommandLine, option: str, text: str, value: str) -> None:
        # QEMU's OnOffAuto: what the board has by itself.
        if value != "auto":
            line.set(f"machine.{key}", opts.switch(option, text, key, value), option, text)

    return put


def _boot_key(key: str) -> Callable[[CommandLine, str, str, str], None]:
    def put(line: CommandLine, option: str, text: str, value: str) -> None:
        from mpvm.cli.system import images

        getattr(images, key)(line, option, value)

    return put


_MACHINE_KEYS: dict[str, Callable[[CommandLine, str, str, str], None]] = {
    "accel": _accel,
    "pit": _switch("pit"),
    "vmport": _switch("vmport"),
    "hpet": _switch("hpet"),
    "kernel": _boot_key("kernel"),
    "initrd": _boot_key("initrd"),
    "append": _boot_key("append"),
}
# What -machine NAME,help says of them: name, type, meaning.
MACHINE_PROPERTIES = (
    ("accel", "string", "Accelerators to try, with colons in between"),
    ("append", "string", "Linux kernel command line"),
    ("hpet", "bool", "Enable/disable high precision event timer emulation"),
    ("initrd", "string", "Linux initial ramdisk file"),
    ("kernel", "string", "Linux kernel image file"),
    ("pit", "bool", "Enable/disable Intel 8254 programmable interval timer emulation"),
    ("vmport", "OnOffAuto", "Enable vmport (pc & q35)"),
)
# Properties whose value here is one of these.
_FIXED = {
    # Of TCG's machine, none of these changes anything; the irqchip is the engine core's.
    "kernel-irqchip": ("on", "off", "split"),
    "graphics": ("on", "off"),
    "dump-guest-core": ("on", "off"),
    "mem-merge": ("on", "off"),
    "smm": ("off", "auto"),
    "usb": ("off",),
    "nvdimm": ("off",),
    "sata": ("on", "off"),
    "hmat": ("off",),
    "pic": ("on", "auto"),
    "acpi": ("on", "auto"),
    "i8042": ("on",),
    "smbus": ("off", "on"),
    "default-bus-bypass-iommu": ("off",),
    "suppress-vmdesc": ("on", "off"),
}


def accel(line: CommandLine, option: str, text: str) -> None:
    """-accel [accel=]name[,property=value...]; given again, the next to try."""
    if opts.wants_help(text):
        from mpvm.cli.system import probes

        probes.accel_help()
    given = opts.parse(option, text, "accel")
    names = given.pop("accel", "")
    known = line.values.get("machine.accel")
    for key, value in given.items():
        key = key.replace("_", "-")
        if key == "thread" and value not in ("single", "multi"):
            raise opts.wrong(option, text, f"Invalid 'thread' setting {value}")
        if key == "tb-size" and not value.isdecimal():
            raise opts.wrong(option, text, "Parameter 'tb-size' expects a number")
        if key not in _ACCEL_KEYS:
            raise opts.wrong(option, text, f"Property '{names}-accel.{key}' not found")
    _accel(line, option, text, names)
    if known is not None:
        both = dict.fromkeys(f"{known}:{line.values['machine.accel']}".split(":"))
        line.set("machine.accel", ":".join(both), option, text)


# What QEMU's accelerators take, and what ours are by themselves: each vCPU is a process, so a thread, too.
_ACCEL_KEYS = ("thread", "tb-size", "split-wx", "kernel-irqchip", "dirty-ring-size", "one-insn-per-tb")


def enable_kvm(line: CommandLine, option: str, _text: str) -> None:
    """-enable-kvm is -accel kvm."""
    line.set("machine.accel", "kvm", option)


def cpu(line: CommandLine, option: str, text: str) -> None:
    """-cpu model[,+feature][,-feature][,property=value...]."""
    if text in opts.HELP:
        from mpvm.cli.system import probes

        probes.cpu_help()
    line.set("cpu.model", text, option, text)


def smp(line: CommandLine, option: str, text: str) -> None:
    """-smp [[cpus=]n][,maxcpus=...][,sockets=...][,dies=...][,clusters=...][,cores=...][,threads=...]."""
    if opts.wants_help(text):
        from mpvm.cli.system import probes

        probes.keys_help("smp-opts", "num", _SMP_KEYS)
    given = opts.parse(option, text, "cpus", dict.fromkeys(_SMP_KEYS))
    for key, value in given.items():
        if not value.isdecimal():
            raise opts.wrong(option, text, f"Parameter '{key}' expects a number")
    if int(given.pop("clusters", "1")) > 1:
        raise opts.wrong(option, text, "clusters not supported by this machine's CPU topology")
    line.set("machine.smp", {key: int(value) for key, value in given.items()}, option, text)


_SMP_KEYS = ("clusters", "cores", "cpus", "dies", "maxcpus", "sockets", "threads")


def memory(line: CommandLine, option: str, text: str) -> None:
    """-m [size=]megabytes[,slots=n,maxmem=size]."""
    given = opts.parse(option, text, "size", {"size": None, "slots": None, "maxmem": None})
    size = _bytes(option, text, "size", given["size"]) if "size" in given else 0
    slots = given.get("slots", "0")
    if slots not in ("0",) or ("maxmem" in given and _bytes(option, text, "maxmem", given["maxmem"]) > size):
        raise opts.wrong(option, text, "memory does not come later here, no slots and no maxmem is right")
    if size:
        line.set("machine.memory", -(-size // _RAM_UNIT) * _RAM_UNIT, option, text)


def _bytes(option: str, text: str, key: str, value: str) -> int:
    suffix = "" if value.startswith("0x") else value[-1:].lower()
    shift = _SHIFTS.get(suffix)
    number = value if shift is None else value[:-1]
    try:
        size = int(number, 16) if number.startswith("0x") else float(number)
        if size >= 0:
            return int(size * (1 << (_SHIFTS["m"] if shift is None else shift)))
    except (ValueError, OverflowError):
        pass
    raise opts.wrong(option, text, f"Parameter '{key}' expects a size such as 512, 512M or 1.5G")


def no_hpet(line: CommandLine, option: str, _text: str) -> None:
    """-no-hpet is -machine hpet=off."""
    line.set("machine.hpet", False, option)


def no_acpi(line: CommandLine, option: str, _text: str) -> None:
    """-no-acpi is -machine acpi=off."""
    raise ConfigError(f"{option}: the machine has ACPI, leave it out")
