"""What a command line says: the overrides of a configuration, with QEMU's defaults for what it leaves out."""

from __future__ import annotations

import os

from mpvm.abi.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mpvm.cli.system.options import Option
    from mpvm.config import Override

    Given = tuple[Option, str]

# What QEMU's machine has where its command line says nothing, and mpvm's configuration is otherwise.
_DEFAULTS: dict[str, object] = {
    "cpu.model": "qemu64",
    "action.triple_fault": "reset",
}
# Who QEMU's `max` is without KVM, where ours is an Intel CPU. Guests go by the vendor, as SYSCALL does.
_TCG_MAX = "vendor=AuthenticAMD,family=15,model=107,stepping=1,model-id=QEMU TCG CPU version 2.5+"
# What models have here and under QEMU's TCG none has; `arat` it has in `max` alone. Who asks for one gets it.
_TCG_LACKS = ("x2apic", "tsc-deadline", "tsc-adjust", "invtsc", "kvm-steal-time", "rdseed", "topoext")
_TCG_HAS_IN_MAX = "arat"
# But for these, which suites ask for whatever they run on: without them they skip what needs them, as under
# TCG, where with them they spend seconds in timed loops. The accelerator by our own name has them.
_TCG_REFUSES = ("tsc-deadline",)
_ON = ("", "on", "yes", "true", "y")
# A terminal without keys of ours, whose Ctrl-C ends the run: what -serial stdio is.
STDIO: Mapping[str, object] = {"backend": "stdio"}


class CommandLine:
    """Collects what options mean. Values are the configuration's; what is said last of a key wins."""

    def __init__(self) -> None:
        self.values: dict[str, object] = {}
        self._origins: dict[str, str] = {}
        self.nodefaults = False
        self.nographic = False
        self.daemonize = False
        self.print_config = False
        # Whether the accelerator was given by our name for it; and what was asked for that TCG refuses.
        self.names_unicorn = False
        self.refused: list[str] = []
        # -initrd as it was given: what it means depends on the kernel.
        self.initrd: str | None = None

    def set(self, key: str, value: object, option: str, text: str | None = None) -> None:
        """The configuration's `key` is `value`, by `option` with the value `text`."""
        self.values[key] = value
        self._origins[key] = option if text is None else f"{option} {text}"

    def add(self, key: str, items: Sequence[object], option: str, text: str) -> None:
        """`items`, which may be none, are more of the list `key`; it is there from now on."""
        known = self.values.setdefault(key, [])
        assert isinstance(known, list)
        known += items
        self._origins[key] = option if key in self._origins else f"{option} {text}"

    def put(self, key: str, item: str, value: object, option: str, text: str) -> None:
        """`value` is what `item` of the mapping `key` is."""
        known = self.values.setdefault(key, {})
        assert isinstance(known, dict)
        known[item] = value
        self._origins[key] = f"{option} {text}" if len(known) == 1 else option

    def finish(self) -> None:
        """What QEMU does when it has read all options: defaults, and what makes no sense."""
        for key, value in (_DEFAULTS | self._console()).items():
            if key not in self.values:
                self.set(key, value, "default")
        self._take_tcgs_cpu()
        needs_kernel = {"boot.append": "-append", "boot.initrd": "-initrd"}
        for key, option in needs_kernel.items():
            if "boot.kernel" not in self.values and key in self.values:
                raise ConfigError(f"{option} only allowed with -kernel option")
        if "boot.kernel" not in self.values and self.values.get("machine.type") != "none":
            raise ConfigError("there is no firmware here that could boot, -kernel FILE is right")

    def _take_tcgs_cpu(self) -> None:
        """A model is what it is under QEMU's TCG; what the user says of it comes after that, and wins."""
        name, *changes = str(self.values["cpu.model"]).split(",")
        if not str(self.values.get("machine.accel", "unicorn")).startswith("unicorn"):
            return
        if not self.names_unicorn:
            self.refused = [feature for feature in _TCG_REFUSES if any(_asks(c, feature) for c in changes)]
            changes = [change for change in changes if not any(_asks(change, f) for f in self.refused)]
        said = {_feature(change) for change in changes}
        lacks = _TCG_LACKS if name == "max" else (*_TCG_LACKS, _TCG_HAS_IN_MAX)
        identity = [_TCG_MAX] if name == "max" else []
        without = [f"-{feature}" for feature in lacks if feature not in said]
        self.values["cpu.model"] = ",".join([name, *identity, *without, *changes])

    def _console(self) -> dict[str, object]:
        """Where the first serial line and the monitor are unless it is said."""
        if self.nodefaults:
            return {"serial": []}
        if not self.nographic:
            # QEMU has them in a window's tabs, of which there is none.
            return {"serial": ["null"]}
        if not {"serial", "monitor"} & self.values.keys():
            return {"serial": ["mon:stdio"]}
        return {"serial": [STDIO], "monitor": [STDIO]}

    def has_kernel(self) -> bool:
        """Whether the kernel can be read, if there is to be one."""
        kernel = self.values.get("boot.kernel")
        return kernel is None or str(kernel).startswith("builtin:") or os.access(str(kernel), os.R_OK)

    def overrides(self) -> list[Override]:
        """The same for `load_config`."""
        from mpvm.config import Override

        return [Override(key, value, self._origins[key]) for key, value in self.values.items()]


def _feature(change: str) -> str:
    """The feature or property that `change` of a CPU model is about."""
    return change.lstrip("+-").partition("=")[0].lower().replace("_", "-")


def _asks(change: str, feature: str) -> bool:
    """Whether `change` switches `feature` on."""
    return (
        _feature(change) == feature and not change.startswith("-") and change.partition("=")[2].lower() in _ON
    )


def read(argv: Sequence[str], options: Mapping[str, Option]) -> list[Given]:
    """The options in `argv` with their values; raises `ConfigError` for one that is none or has no value."""
    found = []
    words = iter(argv)
    for word in words:
        name = word[2:] if word.startswith("--") else word[1:]
        if not word.startswith("-"):
            raise ConfigError(f"{word}: there are no disks here, -kernel FILE is right")
        option = options.get(name)
        if option is None:
            raise ConfigError(f"{word}: {_why_unknown(name)}")
        found.append((option, _value(word, words) if option.argument else ""))
    return found


def _value(word: str, words: Iterator[str]) -> str:
    for value in words:
        return value
    raise ConfigError(f"{word}: requires an argument")


def _why_unknown(name: str) -> str:
    from mpvm.cli.system.refused import REFUSED

    return REFUSED.get(name, "invalid option")
