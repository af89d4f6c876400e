"""From a file's path (and the command line's overrides) to a `Config`."""

import errno
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mpvm.abi.errors import BootImageError, ConfigError
from mpvm.config import direct, rules
from mpvm.config.chardev_table import ChardevTable
from mpvm.config.keys import Key, dotted
from mpvm.config.types import BUILTIN, Config, Device, FwCfgItem, Machine

if TYPE_CHECKING:
    from mpvm.config.document import Document
    from mpvm.config.schema import Problem

MAX_BYTES = 1 << 20

_GUESTS = Path(__file__).parent.parent / "guests"
_COMMAND_LINE = "command line"


class Override(NamedTuple):
    """A value that goes before the file's: of the dotted `key`, as `origin` (``--smp``) gave it."""

    key: str
    value: object
    origin: str
    # Added to the file's list or section, instead of in its place.
    adds: bool = False


def load_config(path: Path | None, overrides: Sequence[Override] = ()) -> Config:
    """The validated configuration in the file at `path` (none: overrides alone), every path absolute.

    Relative paths are relative to the file's folder, those of overrides to the current one. Raises
    `ConfigError` that names the file, its line, the key, the value and what would be right.
    """
    source = _Source(path, overrides)
    if path is None:
        return _resolve(_validate(source), source)

    from mpvm.config import cache

    name = cache.digest(source.text, {override.key: override.value for override in overrides})
    config = cache.find(name)
    if config is None:
        config = _validate(source)
        cache.keep(name, config)
    return _resolve(config, source)


class _Source:
    """The file's text with the overrides, and who to name for an error at a key."""

    def __init__(self, path: Path | None, overrides: Sequence[Override]) -> None:
        self.name = _COMMAND_LINE if path is None else str(path)
        self.folder = Path.cwd() if path is None else path.absolute().parent
        self.text = b"" if path is None else _read(path)
        self.overrides = overrides
        self._document: Document | None = None

    def document(self) -> "Document":
        """The text parsed: on the first call, since a run with a remembered configuration needs none."""
        if self._document is None:
            from mpvm.config import document

            try:
                text = self.text.decode("utf-8-sig")
            except UnicodeDecodeError as error:
                line = self.text.count(b"\n", 0, error.start) + 1
                raise ConfigError(f"{self.name}:{line}: not UTF-8, a YAML text is right") from error
            self._document = document.parse(text, self.name)
        return self._document

    @property
    def data(self) -> Any:
        """What the text says."""
        return self.document().data if self.text else {}

    @property
    def lines(self) -> Mapping[Key, int]:
        """The line of each key of the text."""
        return self.document().lines if self.text else {}

    def origin(self, key: Key) -> str | None:
        """The command-line option that gave the value at `key`."""
        for override in self.overrides:
            path = tuple(override.key.split("."))
            # An addition is behind what the file has; only the file's keys have lines.
            added = not override.adds or key[: len(path) + 1] not in self.lines
            if key[: len(path)] == path and added:
                return override.origin
        return None

    def line(self, key: Key) -> int:
        """The line of `key`, or of the nearest section around it; 0 where that is the whole text."""
        while key and key not in self.lines:
            key = key[:-1]
        return self.lines[key] if key else 0

    def error(self, key: Key, text: str, more: int = 0) -> ConfigError:
        """The one line for the problem `text` at `key`."""
        rest = f" (and {more} more)" if more else ""
        if origin := self.origin(key):
            return ConfigError(f"{origin}: {text}{rest}")
        line = self.line(key)
        where = f"{self.name}:{line}" if line else self.name
        return ConfigError(f"{where}: {dotted(key)}: {text}{rest}")

    def folder_of(self, key: Key) -> Path:
        return Path.cwd() if self.origin(key) else self.folder


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
    except OSError as error:
        problem = (error.strerror or "can't be read").lower()
        raise ConfigError(f"{path}: {problem}, the path of a YAML configuration is right") from error
    if len(text) > MAX_BYTES:
        raise ConfigError(f"{path}: more than {MAX_BYTES} bytes, a YAML configuration is right")
    return text


def _validate(source: _Source) -> Config:
    data = source.data
    if not isinstance(data, dict):
        raise ConfigError(
            f"{source.name}: not a configuration, sections such as machine: and boot: are right"
        )
    for override in source.overrides:
        _put(data, override)

    _set_machine_defaults(data)
    result = direct.validate(data) or _validate_by_schema(data)
    if isinstance(result, Config):
        _check_machine(source, result)
        return result
    first = min(result, key=lambda problem: source.line(problem.key))
    raise source.error(first.key, first.text, len(result) - 1)


def _validate_by_schema(data: dict[str, Any]) -> "Config | list[Problem]":
    from mpvm.config import schema

    return schema.validate(data)


def _set_machine_defaults(data: dict[str, Any]) -> None:
    """A machine class that needs no vCPU has none unless it is said, and no RAM."""
    machine = data.get("machine")
    if not isinstance(machine, dict) or "type" not in machine:
        return

    from mpvm.machine import machine_class

    try:
        cls = machine_class(str(machine.get("type")))
    except ConfigError:
        # Validation says what is right.
        return
    if not cls.min_cpus:
        machine.setdefault("smp", 0)
        machine.setdefault("memory", Machine().memory if machine["smp"] else 0)


def _check_machine(source: _Source, config: Config) -> None:
    """What a machine class needs: vCPUs, and for them RAM and a boot image."""
    machine, cpus = config.machine, config.machine.smp.cpus
    if not cpus and _min_cpus(machine.type):
        raise source.error(("machine", "smp"), f"{cpus} is out of range, {rules.smp().right} is right")
    if cpus and not machine.memory:
        right = f"{rules.memory_size().right} is right"
        raise source.error(("machine", "memory"), f"0 is too small, {right}")
    if cpus and config.boot.kernel is None:
        right = "the path of a kernel image or builtin:smp is right"
        raise source.error(("boot", "kernel"), f"missing, {right}")


def _min_cpus(machine: str) -> int:
    # Imported here: nearly every machine has vCPUs.
    from mpvm.machine import machine_class

    return machine_class(machine).min_cpus


def _put(data: dict[str, Any], override: Override) -> None:
    *sections, last = override.key.split(".")
    for section in sections:
        inner = data.setdefault(section, {})
        if not isinstance(inner, dict):
            # Left as it is: validation says what is wrong with it.
            return
        data = inner
    known = data.get(last)
    if override.adds and isinstance(known, list) and isinstance(override.value, list):
        data[last] = known + override.value
    elif override.adds and isinstance(known, dict) and isinstance(override.value, dict):
        data[last] = {**known, **override.value}
    else:
        data[last] = override.value


def _resolve(config: Config, source: _Source) -> Config:
    """`config` with absolute paths, of files that are there."""
    _check_cpu(source, config.cpu.model)
    _check_cputune(source, config)
    boot = config.boot
    kernel = boot.kernel and _kernel(source, boot.kernel)
    initrd = boot.initrd and _file(source, ("boot", "initrd"), boot.initrd, "an initial RAM disk")
    modules = tuple(
        module._replace(path=_file(source, ("boot", "modules", index, "path"), module.path, "a module"))
        for index, module in enumerate(boot.modules)
    )
    boot = boot._replace(kernel=kernel, initrd=initrd, modules=modules)
    table = ChardevTable(source)
    chardevs = tuple(table.define(("chardevs", index), spec) for index, spec in enumerate(config.chardevs))
    serial = tuple(table.use(("serial", index), spec) for index, spec in enumerate(config.serial))
    debugcon = table.use(("debugcon",), config.debugcon)
    monitor = tuple(table.use(("monitor", index), spec) for index, spec in enumerate(config.monitor))
    devices = tuple(_device(table, ("devices", index), each) for index, each in enumerate(config.devices))
    fw_cfg = tuple(_fw_cfg(source, config.fw_cfg, index) for index in range(len(config.fw_cfg)))
    _one_name(source, devices)
    qmp = config.qmp and _socket(source, ("qmp",), config.qmp)
    logfile = config.logfile and _new_file(source, ("logfile",), config.logfile)
    pidfile = config.pidfile and _new_file(source, ("pidfile",), config.pidfile)
    symbols = config.symbols and _file(source, ("symbols",), config.symbols, "a symbol table")
    if symbols and not config.perfmap:
        raise source.error(("symbols",), "nothing asks for symbols, perfmap: true or --perfmap is right")
    return config._replace(
        boot=boot,
        chardevs=chardevs,
        serial=serial,
        debugcon=debugcon,
        monitor=monitor,
        devices=devices,
        fw_cfg=fw_cfg,
        pidfile=pidfile,
        qmp=qmp,
        logfile=logfile,
        symbols=symbols,
    )


def _kernel(source: _Source, kernel: Path) -> Path:
    key = ("boot", "kernel")
    if not str(kernel).startswith(BUILTIN):
        return _file(source, key, kernel, "a kernel image or builtin:smp")
    name = str(kernel).removeprefix(BUILTIN)
    if name != "smp":
        raise source.error(key, f"{kernel} is not accepted, builtin:smp is right")
    image = _GUESTS / f"{name}.elf"
    if not image.is_file():
        raise source.error(key, f"{kernel} is not built: {image} is missing, `pip install .` builds it")
    return image


def _file(source: _Source, key: Key, path: Path, what: str) -> Path:
    path = source.folder_of(key) / path
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise _unusable(
            source, key, path, error.strerror or "Can't be read", f"the path of {what}"
        ) from error
    if not stat.S_ISREG(mode):
        raise _unusable(source, key, path, "Not a file", f"the path of {what}")
    if not os.access(path, os.R_OK):
        raise _unusable(source, key, path, os.strerror(errno.EACCES), "a file that you can read")
    return path


def _unusable(source: _Source, key: Key, path: Path, problem: str, right: str) -> ConfigError:
    error = source.error(key, f"{path}: {problem[0].lower()}{problem[1:]}, {right} is right")
    return BootImageError(str(error), str(key[1]), problem) if key[0] == "boot" else error


def _socket(source: _Source, key: Key, path: Path) -> Path:
    path = source.folder_of(key) / path
    if not os.path.isdir(path.parent):  # noqa: PTH112 -- never raises
        raise source.error(key, f"{path}: can't be made, unix:PATH in a folder that exists is right")
    return path


def _new_file(source: _Source, key: Key, path: Path) -> Path:
    path = source.folder_of(key) / path
    if os.path.isdir(path) or not os.path.isdir(path.parent):  # noqa: PTH112 -- never raises
        raise source.error(key, f"{path}: can't be made, a file in a folder that exists is right")
    return path


def _device(table: ChardevTable, key: Key, device: Device) -> Device:
    """`device` with its chardevs looked up."""
    resolved = {name: table.use((*key, name), spec) for name, spec in device.chardevs().items()}
    properties = tuple((name, resolved.get(name, value)) for name, value in device.properties)
    return device._replace(properties=properties)


def _fw_cfg(source: _Source, items: Sequence[FwCfgItem], index: int) -> FwCfgItem:
    """The item with an absolute path, of a file that is there."""
    key, item = ("fw_cfg", index), items[index]
    if any(other.name == item.name for other in items[:index]):
        raise source.error((*key, "name"), f"there are two {item.name}, one is right")
    if (item.file is None) == (item.string is None):
        raise source.error(key, f"{item.name} has no content or two, file: or string: is right")
    if item.file is None:
        return item
    return item._replace(file=_file(source, (*key, "file"), item.file, "an item's content"))


def _one_name(source: _Source, devices: tuple[Device, ...]) -> None:
    names: set[str] = set()
    for index, device in enumerate(devices):
        if device.id in names:
            raise source.error(("devices", index, "id"), f"there are two {device.id}, one is right")
        names |= {device.id} if device.id is not None else set()


def _check_cputune(source: _Source, config: Config) -> None:
    """Pins of vCPUs that are there, one each, to CPUs that mpvm may use on this host."""
    tune = config.cputune
    if tune.cpuset is not None:
        _check_cpuset(source, ("cputune", "cpuset"), tune.cpuset)
    pinned: set[int] = set()
    for position, pin in enumerate(tune.vcpupin):
        key = ("cputune", "vcpupin", position)
        if pin.vcpu >= config.machine.smp.maxcpus:
            right = f"one from 0 to {config.machine.smp.maxcpus - 1} is right"
            raise source.error((*key, "vcpu"), f"there is no vCPU {pin.vcpu}, {right}")
        if pin.vcpu in pinned:
            raise source.error((*key, "vcpu"), f"vCPU {pin.vcpu} is pinned twice, once is right")
        pinned.add(pin.vcpu)
        _check_cpuset(source, (*key, "cpuset"), pin.cpuset)


def _check_cpuset(source: _Source, key: Key, cpus: Sequence[int]) -> None:
    allowed = os.sched_getaffinity(0)
    for cpu in cpus:
        if cpu not in allowed:
            right = ", ".join(map(str, sorted(allowed)))
            raise source.error(key, f"mpvm may not use the host's CPU {cpu}, CPUs out of {right} are right")


def _check_cpu(source: _Source, model: str) -> None:
    # Imported here: a text that is not YAML needs no CPU.
    from mpvm.cpu.options import parse_cpu

    try:
        parse_cpu(model)
    except ConfigError as error:
        raise source.error(("cpu", "model"), str(error).removeprefix("cpu.model: ")) from error
