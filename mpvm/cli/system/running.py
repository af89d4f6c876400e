"""Options of a run: its name, its log, what happens at its end, and those that change nothing here."""

from __future__ import annotations

from mpvm.cli.system import opts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mpvm.cli.system.command_line import CommandLine

_TRACE = "trace:"
_ACTIONS = ("panic", "reboot", "shutdown", "watchdog")


def name(line: CommandLine, option: str, text: str) -> None:
    """-name [guest=]NAME[,process=NAME][,debug-threads=on|off]."""
    given = opts.parse(option, text, "guest", {"guest": None, "process": None, "debug-threads": None})
    line.set("name", given.get("guest", ""), option, text)


def no_reboot(line: CommandLine, option: str, _text: str) -> None:
    """-no-reboot: a reset ends the run."""
    line.set("no_reboot", True, option)


def no_shutdown(line: CommandLine, option: str, _text: str) -> None:
    """-no-shutdown: a guest that powers off is paused."""
    line.set("action.shutdown", "pause", option)


def action(line: CommandLine, option: str, text: str) -> None:
    """-action EVENT=ACTION[,...]."""
    if opts.wants_help(text):
        from mpvm.cli.system import probes

        probes.keys_help("action", "str", _ACTIONS)
    for key, value in opts.parse(option, text, known=dict.fromkeys(_ACTIONS)).items():
        line.set(f"action.{key}", value, option, text)


def paused(line: CommandLine, option: str, _text: str) -> None:
    """-S: the guest starts when a monitor says so."""
    line.set("paused", True, option)


def pidfile(line: CommandLine, option: str, text: str) -> None:
    """-pidfile FILE."""
    line.set("pidfile", text, option, text)


def uuid(line: CommandLine, option: str, text: str) -> None:
    """-uuid UUID."""
    line.set("uuid", text, option, text)


def daemonize(line: CommandLine, _option: str, _text: str) -> None:
    """-daemonize: come back when the machine runs."""
    line.daemonize = True


def log(line: CommandLine, option: str, text: str) -> None:
    """-d ITEM[,ITEM...], trace:PATTERN among them."""
    words = opts.split(text)
    if opts.wants_help(text):
        from mpvm.cli.system import probes

        probes.log_help()
    for word in words:
        if word.startswith(_TRACE):
            _trace(line, option, word.removeprefix(_TRACE))
        elif word != "nochain":
            line.add("log", [word], option, text)


def logfile(line: CommandLine, option: str, text: str) -> None:
    """-D FILE."""
    line.set("logfile", text, option, text)


def trace(line: CommandLine, option: str, text: str) -> None:
    """-trace [[enable=]PATTERN][,events=FILE][,file=FILE]."""
    given = opts.parse(option, text, "enable", {"enable": None, "events": None, "file": None})
    if "enable" in given:
        _trace(line, option, given["enable"])
    if "file" in given:
        line.set("logfile", given["file"], option, text)
    if "events" in given:
        try:
            with open(given["events"], encoding="utf-8") as file:  # noqa: PTH123 - of what pathlib is made of
                patterns = [row.strip() for row in file if row.strip() and not row.startswith("#")]
        except OSError as error:
            raise opts.wrong(option, text, f"{given['events']}: {error.strerror}") from error
        for pattern in patterns:
            _trace(line, option, pattern)


def _trace(line: CommandLine, option: str, pattern: str) -> None:
    if pattern in opts.HELP:
        from mpvm.cli.system import probes

        probes.trace_help()
    line.add("trace", [pattern], option, pattern)


def nodefaults(line: CommandLine, _option: str, _text: str) -> None:
    """-nodefaults: no serial line and no monitor but those that are given."""
    line.nodefaults = True


def nothing(_line: CommandLine, _option: str, _text: str) -> None:
    """An option that changes nothing here."""


def overcommit(_line: CommandLine, option: str, text: str) -> None:
    """-overcommit [mem-lock=off][,cpu-pm=on|off]: what KVM does with a core that the guest lets go."""
    for key, value in opts.parse(option, text, known=dict.fromkeys(("mem-lock", "cpu-pm"))).items():
        if opts.switch(option, text, key, value) and key == "mem-lock":
            raise opts.wrong(option, text, "mem-lock=on is not there in mpvm, mem-lock=off is right")


def print_config(line: CommandLine, _option: str, _text: str) -> None:
    """--print-config: the configuration as YAML, and no run."""
    line.print_config = True


def version(_line: CommandLine, _option: str, _text: str) -> None:
    """-version."""
    from mpvm.cli.system import probes

    probes.version()


def usage(_line: CommandLine, _option: str, _text: str) -> None:
    """-help."""
    from mpvm.cli.system import probes

    probes.usage()
