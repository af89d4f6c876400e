"""From a configuration to a machine's specification."""

from mpvm.abi.errors import ConfigError
from mpvm.accel import Accelerator
from mpvm.config import Boot, Config, Device, FwCfgItem
from mpvm.coordinator.chardev.backends import Chardevs
from mpvm.cpu.resolve import resolve_model
from mpvm.machine import BootSpec, DeviceSpec, MachineSpec
from mpvm.qom.globals import GlobalProperty


def machine_spec(config: Config, chardevs: Chardevs, accelerator: Accelerator) -> MachineSpec:
    """The machine that `config` describes, with its backends made. Raises `ConfigError` for the CPU."""
    chardevs.define(config.chardevs)
    return MachineSpec(
        topology=config.machine.smp,
        memory_bytes=config.machine.memory,
        cpu=resolve_model(config.cpu.model, accelerator),
        boot=boot_spec(config.boot),
        serial=tuple(chardevs.make(spec, f"serial{port}") for port, spec in enumerate(config.serial)),
        # A console that goes nowhere is none, and the port is nobody's.
        debugcon=None if config.debugcon.kind == "null" else chardevs.make(config.debugcon, "debugcon"),
        isa_debug_exit=config.isa_debug_exit,
        hpet=config.machine.hpet,
        pit=config.machine.pit,
        vmport=config.machine.vmport,
        devices=[device_spec(device, chardevs) for device in config.devices],
        fw_cfg=[(item.name, _content(item)) for item in config.fw_cfg],
        uuid=bytes.fromhex((config.uuid or "0" * 32).replace("-", "")),
        globals=_globals(config),
    )


def _globals(config: Config) -> list[GlobalProperty]:
    """Other defaults of devices' properties; those that other keys stand for come first."""
    found = [GlobalProperty(each.driver, each.property, each.value) for each in config.globals]
    if config.rtc.driftfix == "slew":
        found.insert(0, GlobalProperty("mc146818rtc", "lost_tick_policy", "slew"))
    return found


def _content(item: FwCfgItem) -> bytes:
    """What a file of the user's in fw_cfg has in it; `ConfigError` when it can't be read."""
    if item.file is None:
        return (item.string or "").encode()
    try:
        return item.file.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"fw_cfg: {item.file}: {error.strerror}, a file that you can read is right"
        ) from error


def boot_spec(boot: Boot) -> BootSpec | None:
    """What `boot` says is booted."""
    if boot.kernel is None:
        return None
    return BootSpec(
        kernel=boot.kernel,
        protocol=None if boot.protocol == "auto" else boot.protocol,
        initrd=boot.initrd,
        append=boot.append,
        modules=tuple((module.path, module.string) for module in boot.modules),
        argv0=boot.argv0,
    )


def device_spec(device: Device, chardevs: Chardevs) -> DeviceSpec:
    """The device of the user's that `device` describes, with its backends made."""
    label = device.id or device.driver
    made = {name: chardevs.make(spec, label) for name, spec in device.chardevs().items()}
    return DeviceSpec(device.driver, device.id, {**dict(device.properties), **made})
