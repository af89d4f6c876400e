"""The table of the options that exist: as data, for the command line's reader and for -help."""

from __future__ import annotations

from typing import NamedTuple

from mpvm.cli.system import board, characters, devices, images, running

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from mpvm.cli.system.command_line import CommandLine


class Option(NamedTuple):
    """`argument` is how -help writes the value, empty for none; `translate(line, "-name", value)` acts."""

    name: str
    argument: str
    translate: Callable[[CommandLine, str, str], None]
    help: str


# By the headings of -help. An option without help is another name of the one before.
SECTIONS: dict[str, tuple[Option, ...]] = {
    "Standard options": (
        Option("h", "", running.usage, "display this help and exit"),
        Option("help", "", running.usage, ""),
        Option("version", "", running.version, "display version information and exit"),
        Option(
            "machine",
            "[type=]name[,prop[=value][,...]]",
            board.machine,
            "select the machine ('-machine help' for list)\n"
            "property accel=accel1[:accel2[:...]] selects accelerator (tcg or kvm, default: tcg)\n"
            "pit=on|off, hpet=on|off, vmport=on|off|auto: whether there is such a device",
        ),
        Option("M", "[type=]name[,prop[=value][,...]]", board.machine, ""),
        Option(
            "accel",
            "[accel=]accelerator[,prop[=value][,...]]",
            board.accel,
            "select accelerator (tcg or kvm; use 'help' for a list); given again, the next to try",
        ),
        Option("enable-kvm", "", board.enable_kvm, "the same as -accel kvm"),
        Option(
            "cpu", "model[,+feature][,-feature][,prop=value]", board.cpu, "select CPU ('-cpu help' for list)"
        ),
        Option(
            "smp",
            "[[cpus=]n][,maxcpus=n][,sockets=n][,dies=n][,cores=n][,threads=n]",
            board.smp,
            "set the number of CPUs [default=1], and how they are arranged",
        ),
        Option(
            "m", "[size=]megs", board.memory, "configure guest RAM; suffixes are k, M, G and T [default=128]"
        ),
        Option(
            "device", "driver[,prop[=value][,...]]", devices.device, "add device ('-device help' for list)"
        ),
        Option(
            "global", "driver.property=value", devices.global_property, "set a default of devices' property"
        ),
        Option("name", "string", running.name, "set the name of the guest"),
        Option("uuid", "%08x-%04x-%04x-%04x-%012x", running.uuid, "specify machine UUID"),
        Option("fw_cfg", "[name=]name,file=file|string=text", devices.fw_cfg, "add a named fw_cfg entry"),
        Option(
            "rtc",
            "[base=utc|localtime|date][,clock=host|rt|vm][,driftfix=none|slew]",
            devices.rtc,
            "set the RTC",
        ),
        Option("no-hpet", "", board.no_hpet, "disable HPET"),
        Option("no-acpi", "", board.no_acpi, "disable ACPI: refused, there is no machine without"),
        Option("nodefaults", "", running.nodefaults, "don't create default devices"),
        Option(
            "no-user-config",
            "",
            running.nothing,
            "don't load default user-provided config files: there are none",
        ),
        Option("no-fd-bootchk", "", running.nothing, "accepted: there is no floppy disk"),
        Option(
            "overcommit",
            "[mem-lock=off][,cpu-pm=on|off]",
            running.overcommit,
            "accepted: as with TCG, a vCPU that halts leaves its core",
        ),
    ),
    "Boot options": (
        Option(
            "kernel",
            "file",
            images.kernel,
            "use file as kernel image: a bzImage, a Multiboot or a PVH kernel",
        ),
        Option("append", "cmdline", images.append, "use cmdline as kernel command line"),
        Option(
            "initrd",
            "file",
            images.initrd,
            "use file as initial ram disk; 'file args,file args' are a Multiboot kernel's modules",
        ),
        Option("bios", "none", images.bios, "accepted: there is no firmware"),
    ),
    "Character devices and monitors": (
        Option(
            "serial",
            "dev",
            characters.serial,
            "redirect the serial port to char device dev: stdio, mon:stdio, null, none,\n"
            "file:path, pipe:path, pty, unix:path, tcp:host:port, chardev:id",
        ),
        Option(
            "chardev",
            "backend,id=id[,...]",
            characters.chardev,
            "add a char device ('-chardev help' for list)",
        ),
        Option(
            "debugcon",
            "dev",
            characters.debugcon,
            "redirect the debug console (port 0xe9) to char device dev",
        ),
        Option("parallel", "none", characters.parallel, "accepted: there is no parallel port"),
        Option("monitor", "dev", characters.monitor, "redirect the monitor to char device dev"),
        Option("qmp", "unix:path,server=on,wait=off", characters.qmp, "a socket for clients of QMP"),
        Option("mon", "[chardev=]id[,mode=readline|control]", characters.mon, "a monitor on a char device"),
        Option(
            "nographic", "", characters.nographic, "redirect serial I/Os and the monitor to this terminal"
        ),
        Option("display", "none", characters.display, "accepted: there is no display"),
        Option("vnc", "none", characters.none, "accepted: there is no display"),
        Option("vga", "none", characters.none, "accepted: there is no video card"),
        Option("net", "none", characters.none, "accepted: there is no network"),
        Option("nic", "none", characters.none, "accepted: there is no network"),
    ),
    "Debug and run options": (
        Option("no-reboot", "", running.no_reboot, "exit instead of rebooting"),
        Option("no-shutdown", "", running.no_shutdown, "stop before shutdown"),
        Option(
            "action",
            "[reboot=reset|shutdown][,shutdown=poweroff|pause][,panic=...][,watchdog=...]",
            running.action,
            "what is to happen at these events of the guest",
        ),
        Option("S", "", running.paused, "freeze CPU at startup (use 'c' to start execution)"),
        Option("d", "item1,...", running.log, "enable logging of specified items (use '-d help' for a list)"),
        Option("D", "logfile", running.logfile, "output log to logfile (default stderr)"),
        Option(
            "trace", "[[enable=]pattern][,events=file][,file=file]", running.trace, "specify tracing options"
        ),
        Option("pidfile", "file", running.pidfile, "write PID to file"),
        Option("daemonize", "", running.daemonize, "daemonize when the machine is initialized"),
        Option(
            "print-config", "", running.print_config, "print this as a configuration of 'mpvm run' and exit"
        ),
    ),
}
OPTIONS: dict[str, Option] = {option.name: option for options in SECTIONS.values() for option in options}
