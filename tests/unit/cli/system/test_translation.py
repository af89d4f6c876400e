"""Options as what they make of a configuration."""

from pathlib import Path
from typing import Any

import pytest

from mpvm.abi.errors import ConfigError
from mpvm.cli.system import command_line
from mpvm.cli.system.command_line import CommandLine
from mpvm.cli.system.options import OPTIONS

KERNEL = ["-kernel", "builtin:smp"]
TCG_MAX = "vendor=AuthenticAMD,family=15,model=107,stepping=1,model-id=QEMU TCG CPU version 2.5+"
# What QEMU's TCG has in no model.
NOT_DEADLINE = "-x2apic,-tsc-adjust,-invtsc,-kvm-steal-time,-rdseed,-topoext"
LACKS = "-x2apic,-tsc-deadline,-tsc-adjust,-invtsc,-kvm-steal-time,-rdseed,-topoext"


def translated(*argv: str) -> CommandLine:
    line = CommandLine()
    for option, value in command_line.read([*KERNEL, *argv], OPTIONS):
        option.translate(line, f"-{option.name}", value)
    line.finish()
    assert {override.key: override.value for override in line.overrides()} == line.values
    return line


TABLE: list[tuple[str, str, Any]] = [
    ("-machine pc", "machine.type", "pc"),
    ("-M microvm", "machine.type", "microvm"),
    ("-machine type=pc-i440fx-7.2", "machine.type", "pc"),
    ("-machine pc-i440fx-2.12", "machine.type", "pc"),
    ("-machine q35", "machine.type", "q35"),
    ("-M pc-q35-6.0,kernel-irqchip=split", "machine.type", "q35"),
    ("-machine pc-i440fx-0.1", "machine.type", "pc-i440fx-0.1"),
    ("-machine pc-i440fx-8.0", "machine.type", "pc-i440fx-8.0"),
    ("-machine accel=tcg", "machine.accel", "unicorn"),
    ("-machine pc,accel=kvm:tcg", "machine.accel", "kvm:unicorn"),
    ("-accel kvm -accel tcg,thread=multi,tb-size=64", "machine.accel", "kvm:unicorn"),
    ("-accel tcg,thread=single", "machine.accel", "unicorn"),
    ("-enable-kvm", "machine.accel", "kvm"),
    ("-machine pit=off", "machine.pit", False),
    ("-machine vmport=on", "machine.vmport", True),
    ("-machine hpet=off", "machine.hpet", False),
    ("-no-hpet", "machine.hpet", False),
    ("-machine kernel=k,append=x=1,,2", "boot.append", "x=1,2"),
    ("-cpu Haswell,+vmx,-avx", "cpu.model", f"Haswell,{LACKS},-arat,+vmx,-avx"),
    (
        "-accel unicorn -cpu qemu64,+x2apic,tsc_deadline=on,arat=off",
        "cpu.model",
        "qemu64,-tsc-adjust,-invtsc,-kvm-steal-time,-rdseed,-topoext,+x2apic,tsc_deadline=on,arat=off",
    ),
    (
        "-cpu qemu64,+x2apic,tsc_deadline=on,arat=off",
        "cpu.model",
        "qemu64,-tsc-deadline,-tsc-adjust,-invtsc,-kvm-steal-time,-rdseed,-topoext,+x2apic,arat=off",
    ),
    ("-cpu qemu64,-tsc-deadline", "cpu.model", f"qemu64,{NOT_DEADLINE},-arat,-tsc-deadline"),
    ("-cpu max", "cpu.model", f"max,{TCG_MAX},{LACKS}"),
    ("-cpu max,-avx,vendor=GenuineIntel", "cpu.model", f"max,{TCG_MAX},{LACKS},-avx,vendor=GenuineIntel"),
    ("-accel kvm -cpu max", "cpu.model", "max"),
    ("-nodefaults", "cpu.model", f"qemu64,{LACKS},-arat"),
    ("-smp 4", "machine.smp", {"cpus": 4}),
    ("-smp cpus=4,sockets=2,cores=2,threads=1,maxcpus=4", "machine.smp", None),
    ("-smp 2,clusters=1", "machine.smp", {"cpus": 2}),
    ("-m 512", "machine.memory", 512 << 20),
    ("-m 2g", "machine.memory", 2 << 30),
    ("-m size=1.5G", "machine.memory", 3 << 29),
    ("-m 1000000k", "machine.memory", 1024_000_000),
    ("-m 1000001b", "machine.memory", 1007616),
    ("-m 0x200", "machine.memory", 512 << 20),
    ("-append console=ttyS0", "boot.append", "console=ttyS0"),
    ("--append x", "boot.append", "x"),
    ("-no-reboot", "no_reboot", True),
    ("--no-reboot", "no_reboot", True),
    ("-no-shutdown", "action.shutdown", "pause"),
    ("-action panic=none,reboot=shutdown", "action.panic", "none"),
    ("-no-reboot", "action.triple_fault", "reset"),
    ("-S", "paused", True),
    ("-name vm1,debug-threads=on", "name", "vm1"),
    ("-name guest=vm1", "name", "vm1"),
    ("-pidfile p", "pidfile", "p"),
    ("-d int,cpu_reset -d unimp", "log", ["int", "cpu_reset", "unimp"]),
    ("-d int,trace:vcpu_*", "trace", ["vcpu_*"]),
    ("-D log", "logfile", "log"),
    ("-trace enable=startup,file=f", "trace", ["startup"]),
    ("-trace startup -trace vcpu_exit", "trace", ["startup", "vcpu_exit"]),
    ("-rtc base=localtime,clock=vm", "rtc.base", "localtime"),
    ("-uuid 12345678-1234-5678-9abc-123456789abc", "uuid", "12345678-1234-5678-9abc-123456789abc"),
    ("-fw_cfg name=opt/a,string=b,,c", "fw_cfg", [{"name": "opt/a", "string": "b,c"}]),
    ("-fw_cfg opt/a,file=f", "fw_cfg", [{"name": "opt/a", "file": "f"}]),
    ("-global isa-serial.irq=5", "globals", {"isa-serial.irq": "5"}),
    ("-global driver=isa-serial,property=irq,value=5", "globals", {"isa-serial.irq": "5"}),
    (
        "-device pc-testdev -device isa-debug-exit,iobase=0xf4,iosize=0x4",
        "devices",
        [{"driver": "pc-testdev"}, {"driver": "isa-debug-exit", "iobase": "0xf4", "iosize": "0x4"}],
    ),
    # Serial lines and monitors, by QEMU's rules for what is not said.
    ("-nodefaults", "serial", []),
    ("-display none", "serial", ["null"]),
    ("-nographic", "serial", ["mon:stdio"]),
    ("-nographic -nodefaults", "serial", []),
    ("-nographic -serial file:x", "monitor", [{"backend": "stdio"}]),
    ("-nographic -monitor none", "serial", [{"backend": "stdio"}]),
    ("-serial stdio", "serial", [{"backend": "stdio"}]),
    ("-serial none -serial null", "serial", ["null"]),
    ("-serial none", "serial", []),
    ("-serial vc:80Cx24C", "serial", ["null"]),
    ("-serial unix:/tmp/s,server,nowait", "serial", ["unix:/tmp/s,server,nowait"]),
    ("-serial mon:stdio", "serial", ["mon:stdio"]),
    ("-chardev file,id=a,path=x -serial chardev:a", "chardevs", ["file,id=a,path=x"]),
    ("-debugcon file:x", "debugcon", "file:x"),
    ("-debugcon stdio", "debugcon", {"backend": "stdio"}),
    ("-monitor none", "monitor", []),
    ("-monitor unix:/m,server=on,wait=off", "monitor", ["unix:/m,server=on,wait=off"]),
    ("-qmp unix:/q,server,nowait", "qmp", "unix:/q"),
    ("-qmp unix:/q,server=on,wait=off", "qmp", "unix:/q"),
    ("-chardev socket,id=m,path=/q,server=on,wait=off -mon chardev=m,mode=control", "qmp", "unix:/q"),
    ("-chardev stdio,id=m -mon m", "monitor", ["chardev:m"]),
]


@pytest.mark.parametrize(("text", "key", "value"), TABLE, ids=[row[0] for row in TABLE])
def test_an_option_is_a_key_of_the_configuration(text: str, key: str, value: Any) -> None:
    line = translated(*text.split())
    if value is None:
        value = {"cpus": 4, "sockets": 2, "cores": 2, "threads": 1, "maxcpus": 4}
    assert line.values[key] == value


ACCEPTED = [
    "-machine kernel_irqchip=split -machine kernel-irqchip=on",
    "-machine usb=off,graphics=off,smm=auto,vmport=auto,dump-guest-core=off,mem-merge=off",
    "-no-user-config -no-fd-bootchk -bios none -vga none -vnc none -net none -nic none -parallel none",
    "-display none -monitor null -qmp none -d nochain",
    "-overcommit cpu-pm=on -overcommit mem-lock=off,cpu-pm=off",
]


@pytest.mark.parametrize("text", ACCEPTED)
def test_what_changes_nothing_here_is_taken(text: str) -> None:
    assert translated(*text.split()).values.keys() <= {
        *translated().values.keys(),
        "monitor",
    }


REFUSED = [
    ("-bogus", "-bogus: invalid option"),
    ("--bogus", "--bogus: invalid option"),
    ("-kernel=x", "-kernel=x: invalid option"),
    ("-usb", "-usb: there is no USB here"),
    ("-drive file=x", "-drive: there are no disks here"),
    ("disk.img", "disk.img: there are no disks here, -kernel FILE is right"),
    ("-smp", "-smp: requires an argument"),
    ("-machine pc,bogus=1", "-machine pc,bogus=1: Property 'machine.bogus' not found"),
    ("-machine smm=on", "-machine smm=on: smm=on is not there in mpvm, smm=off or smm=auto is right"),
    (
        "-overcommit mem-lock=on",
        "-overcommit mem-lock=on: mem-lock=on is not there in mpvm, mem-lock=off is right",
    ),
    ("-overcommit cpu-pm=5", "-overcommit cpu-pm=5: Parameter 'cpu-pm' expects 'on' or 'off'"),
    ("-machine pit=2", "-machine pit=2: Parameter 'pit' expects 'on' or 'off'"),
    ("-machine accel=xen", "-machine accel=xen: invalid accelerator xen"),
    ("-accel tcg,thread=all", "-accel tcg,thread=all: Invalid 'thread' setting all"),
    ("-accel tcg,bogus=1", "-accel tcg,bogus=1: Property 'tcg-accel.bogus' not found"),
    ("-smp 2,bogus=1", "-smp 2,bogus=1: Invalid parameter 'bogus'"),
    ("-smp two", "-smp two: Parameter 'cpus' expects a number"),
    ("-smp 4,clusters=2", "-smp 4,clusters=2: clusters not supported by this machine's CPU topology"),
    ("-m much", "-m much: Parameter 'size' expects a size such as 512, 512M or 1.5G"),
    ("-m -1", "-m -1: Parameter 'size' expects a size such as 512, 512M or 1.5G"),
    ("-m 1G,maxmem=2G", "-m 1G,maxmem=2G: memory does not come later here, no slots and no maxmem is right"),
    ("-no-acpi", "-no-acpi: the machine has ACPI, leave it out"),
    ("-bios x.bin", "-bios x.bin: there is no firmware here, none is right"),
    ("-vga std", "-vga std: is not there in mpvm, none is right"),
    ("-display gtk", "-display gtk: there is no display here, none is right"),
    ("-qmp tcp:localhost:1", "-qmp tcp:localhost:1: is no server at a socket"),
    ("-qmp unix:/q,server", "-qmp unix:/q,server: is no server at a socket"),
    ("-mon chardev=x,mode=control", "-mon chardev=x,mode=control: x is no chardev that is a UNIX socket"),
    ("-fw_cfg opt/a", "-fw_cfg opt/a: name, plus exactly one of file and string, are needed"),
    ("-global isa-serial.irq", "-global isa-serial.irq: Invalid parameter 'isa-serial.irq'"),
    ("-rtc base=utc,bogus=1", "-rtc base=utc,bogus=1: Invalid parameter 'bogus'"),
    ("-trace events=/no/such", "-trace events=/no/such: /no/such: No such file or directory"),
]


@pytest.mark.parametrize(("text", "message"), REFUSED, ids=[row[0] for row in REFUSED])
def test_what_is_not_here_is_refused_in_a_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        translated(*text.split())
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "there is no firmware here that could boot, -kernel FILE is right"),
        (["-append", "x"], "-append only allowed with -kernel option"),
        (["-initrd", "x"], "-initrd only allowed with -kernel option"),
    ],
)
def test_without_a_kernel_there_is_nothing_to_boot(argv: list[str], message: str) -> None:
    line = CommandLine()
    for option, value in command_line.read(argv, OPTIONS):
        option.translate(line, f"-{option.name}", value)
    with pytest.raises(ConfigError) as error:
        line.finish()
    assert str(error.value) == message


def test_the_machine_none_needs_no_kernel() -> None:
    line = CommandLine()
    for option, value in command_line.read(["-machine", "none", "-nodefaults"], OPTIONS):
        option.translate(line, f"-{option.name}", value)
    line.finish()
    assert "boot.kernel" not in line.values


def test_trace_events_come_from_a_file(tmp_path: Path) -> None:
    events = tmp_path / "events"
    events.write_text("# those of a start\nstartup\n\nvcpu_exit\n")
    assert translated("-trace", f"events={events}").values["trace"] == ["startup", "vcpu_exit"]
