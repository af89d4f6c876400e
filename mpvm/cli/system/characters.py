"""Options of where bytes go: -serial, -chardev, -monitor, -qmp, and of displays, of which there are none."""

from __future__ import annotations

from mpvm.cli.system import opts
from mpvm.cli.system.command_line import STDIO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mpvm.cli.system.command_line import CommandLine

# What QEMU puts into a window is nowhere here.
_WINDOWS = ("vc",)


def serial(line: CommandLine, option: str, text: str) -> None:
    """-serial BACKEND: the next serial line."""
    line.add("serial", [] if text == "none" else [_backend(text)], option, text)


def parallel(_line: CommandLine, option: str, text: str) -> None:
    """-parallel none: there is no parallel port."""
    if text not in ("none", "null"):
        raise opts.wrong(option, text, "there is no parallel port here, none is right")


def chardev(line: CommandLine, option: str, text: str) -> None:
    """-chardev BACKEND,id=ID[,...]."""
    if opts.wants_help(text):
        from mpvm.cli.system import probes

        probes.chardev_help()
    line.add("chardevs", [text], option, text)


def debugcon(line: CommandLine, option: str, text: str) -> None:
    """-debugcon BACKEND: port 0xe9."""
    line.set("debugcon", _backend(text), option, text)


def monitor(line: CommandLine, option: str, text: str) -> None:
    """-monitor BACKEND, none for none."""
    line.add("monitor", [] if text in ("none", "null") else [_backend(text)], option, text)


def qmp(line: CommandLine, option: str, text: str) -> None:
    """-qmp unix:PATH,server=on,wait=off; none for none."""
    if text == "none":
        return
    address, *rest = opts.split(text)
    given = dict(opts.pairs(",".join(["-", *rest]), "-"))
    del given["-"]
    waits = given.get("wait", "on") not in ("off", "no")
    if not address.startswith("unix:") or given.get("server", "off") not in ("on", "yes") or waits:
        raise opts.wrong(option, text, "is no server at a socket, unix:PATH,server=on,wait=off is right")
    line.set("qmp", address, option, text)


def mon(line: CommandLine, option: str, text: str) -> None:
    """-mon [chardev=]ID[,mode=readline|control]."""
    given = opts.parse(option, text, "chardev", {"chardev": None, "mode": None, "pretty": None})
    mode = given.get("mode", "readline")
    if "chardev" not in given or mode not in ("readline", "control"):
        raise opts.wrong(option, text, "chardev=ID with mode=readline or mode=control is right")
    if mode == "readline":
        line.add("monitor", [f"chardev:{given['chardev']}"], option, text)
        return
    line.set("qmp", _qmp_chardev(line, option, text, given["chardev"]), option, text)


def _qmp_chardev(line: CommandLine, option: str, text: str, name: str) -> str:
    """The socket of chardev `name`, which becomes QMP's alone."""
    chardevs = line.values.get("chardevs", [])
    assert isinstance(chardevs, list)
    for position, each in enumerate(chardevs):
        given = dict(opts.pairs(each, "backend"))
        if given.get("id") == name and given["backend"] == "socket" and "path" in given:
            del chardevs[position]
            return f"unix:{given['path']}"
    raise opts.wrong(option, text, f"{name} is no chardev that is a UNIX socket, one before -mon is right")


def nographic(line: CommandLine, _option: str, _text: str) -> None:
    """-nographic: the first serial line, with the monitor, is this terminal."""
    line.nographic = True


def display(_line: CommandLine, option: str, text: str) -> None:
    """-display none: there is none."""
    if opts.wants_help(text):
        from mpvm.cli.system import probes

        probes.display_help()
    if text != "none":
        raise opts.wrong(option, text, "there is no display here, none is right")


def none(_line: CommandLine, option: str, text: str) -> None:
    """-vnc, -vga, -net, -nic: none is what there is."""
    if opts.split(text)[0] != "none":
        raise opts.wrong(option, text, "is not there in mpvm, none is right")


def _backend(text: str) -> object:
    if text == "stdio":
        return STDIO
    if text == "null" or text.partition(":")[0] in _WINDOWS:
        return "null"
    return text
