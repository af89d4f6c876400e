"""Options of what is booted: -kernel, -initrd, -append, -bios."""

from __future__ import annotations

from mpvm.cli.system import opts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpvm.cli.system.command_line import CommandLine
    from mpvm.config import Override


def kernel(line: CommandLine, option: str, text: str) -> None:
    """-kernel FILE; a Multiboot kernel finds the name as it was given in front of its command line."""
    line.set("boot.kernel", text, option, text)
    line.set("boot.argv0", text, option, text)


def initrd(line: CommandLine, option: str, text: str) -> None:
    """-initrd FILE, or for a Multiboot kernel "FILE arguments,FILE arguments" (`modules`)."""
    line.initrd = text
    line.set("boot.initrd", text, option, text)


def append(line: CommandLine, option: str, text: str) -> None:
    """-append TEXT."""
    line.set("boot.append", text, option, text)


def bios(_line: CommandLine, option: str, text: str) -> None:
    """-bios none: there is none."""
    if text != "none":
        raise opts.wrong(option, text, "there is no firmware here, none is right")


def modules(line: CommandLine) -> None:
    """Turn -initrd into modules where the kernel is a Multiboot one, as QEMU's load_multiboot does."""
    text = line.initrd
    if text is None or not _is_multiboot(str(line.values["boot.kernel"])):
        return
    del line.values["boot.initrd"]
    found = [{"path": part.partition(" ")[0], "string": part} for part in opts.split(text)]
    line.set("boot.modules", found, "-initrd", text)


def _is_multiboot(path: str) -> bool:
    from mpvm.boot.headers import SEARCH_BYTES, find_header, is_linux

    try:
        with open(path, "rb") as file:  # noqa: PTH123 - of what pathlib is made of
            data = file.read(SEARCH_BYTES)
    except OSError:
        # Loading the configuration says so.
        return False
    return not is_linux(data) and find_header(data) is not None


def check_without(overrides: Sequence[Override]) -> None:
    """Raise `MpvmError` for what is wrong beside the boot images: what QEMU looks at before them.

    Scripts ask for a kernel that is not there to learn whether all the rest of a command line is right.
    """
    from mpvm.accel.configure import configure_accelerators
    from mpvm.config import Override, load_config
    from mpvm.cpu.resolve import resolve_model

    rest = [each for each in overrides if not each.key.startswith("boot.")]
    config = load_config(None, [*rest, Override("boot.kernel", "builtin:smp", "-kernel")])
    resolve_model(config.cpu.model, configure_accelerators(config.machine.accel))
