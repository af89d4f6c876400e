"""What each key takes, and the one line that a user gets for anything else."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mpvm.abi.errors import ConfigError, ExitStatus
from mpvm.config import ChardevSpec, Config, CpuTune, Override, VcpuPin, load_config
from mpvm.config.chardevs import STDIO
from mpvm.cpu.topology import single_socket

WriteConfig = Callable[[str], Path]
MakeConfig = Callable[..., Config]


def test_every_key_but_the_kernel_has_a_default(machine_config: MakeConfig, guest: Path) -> None:
    config = machine_config()
    assert config.boot.kernel == guest
    assert config.boot.protocol == "auto"
    assert (config.boot.initrd, config.boot.append, config.boot.modules) == (None, "", ())
    assert (config.machine.type, config.machine.smp.cpus, config.machine.accel) == ("", 1, "unicorn")
    assert config.machine.memory == 128 << 20
    assert config.cpu.model == "max"
    assert config.serial == (STDIO,)
    assert config.debugcon == ChardevSpec("null")
    assert (config.isa_debug_exit, config.no_reboot, config.timeout) == (False, False, None)
    assert (config.perfmap, config.symbols) == (False, None)


@pytest.mark.parametrize(
    ("written", "size"),
    [
        (2097152, 2 << 20),
        ("1M", 1 << 20),
        ("512M", 512 << 20),
        ("2G", 2 << 30),
        ("2 GiB", 2 << 30),
        ("64mb", 64 << 20),
        ("1024k", 1 << 20),
        ("512G", 512 << 30),
    ],
)
def test_memory_is_bytes_or_a_number_with_a_unit(
    machine_config: MakeConfig, written: int | str, size: int
) -> None:
    assert machine_config(machine={"memory": written}).machine.memory == size


@pytest.mark.parametrize("smp", [1, 64])
def test_smp_takes_both_its_ends(machine_config: MakeConfig, smp: int) -> None:
    assert machine_config(machine={"smp": smp}).machine.smp == single_socket(smp)


def test_a_machine_that_needs_no_vcpu_has_none_unless_it_is_said(
    write_config: WriteConfig, guest: Path
) -> None:
    config = load_config(write_config("machine: {type: none}\n"))
    assert (config.machine.smp.cpus, config.machine.memory, config.boot.kernel) == (0, 0, None)
    path = write_config(f"machine: {{type: none, smp: 2}}\nboot: {{kernel: {guest}}}\n")
    config = load_config(path)
    assert (config.machine.smp.cpus, config.machine.memory) == (2, 128 << 20)
    assert load_config(path) == config
    with pytest.raises(ConfigError, match=r"boot\.kernel: missing, the path of a kernel image"):
        load_config(write_config("machine: {type: none, smp: 1}"))


def test_a_chardev_may_be_a_file(machine_config: MakeConfig, tmp_path: Path) -> None:
    config = machine_config(serial=["null", "file:log"], debugcon="stdio")
    assert config.serial == (ChardevSpec("null"), ChardevSpec("file", tmp_path / "log"))
    assert config.debugcon == STDIO


def test_null_needs_no_quotes(machine_config: MakeConfig) -> None:
    config = machine_config(serial=[None, "stdio"], debugcon=None)
    assert (config.serial, config.debugcon) == (
        (ChardevSpec("null"), STDIO),
        ChardevSpec("null"),
    )


@pytest.mark.parametrize(
    ("written", "cpus"), [(0, (0,)), ("0", (0,)), ("1,0", (0, 1)), ("0-1", (0, 1)), ("1, 0-1", (0, 1))]
)
def test_a_cpuset_is_a_list_of_numbers_and_ranges(
    machine_config: MakeConfig, two_cpus: None, written: int | str, cpus: tuple[int, ...]
) -> None:
    assert machine_config(cputune={"cpuset": written}).cputune.cpuset == cpus


def test_a_vcpu_may_be_pinned_and_all_be_nice(machine_config: MakeConfig, two_cpus: None) -> None:
    pins = [{"vcpu": 1, "cpuset": "1"}]
    tune = machine_config(machine={"smp": 2}, cputune={"vcpupin": pins, "nice": -5}).cputune
    assert tune == CpuTune(vcpupin=(VcpuPin(vcpu=1, cpuset=(1,)),), nice=-5)


def test_a_time_limit_may_be_a_fraction(machine_config: MakeConfig) -> None:
    assert machine_config(timeout=0.5).timeout == 0.5


@pytest.fixture
def two_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host on which mpvm may use CPUs 0 and 1."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1})


WRONG = [
    ("machine: {type: none, smp: 1, memory: 0}", ":1: machine.memory: 0 is too small, a size from 1M to"),
    ("machine: {memory: 0}", ":1: machine.memory: 0 is too small, a size from 1M to 512G"),
    ("machine: {smp: 0}", ":1: machine.smp: 0 is out of range, an integer from 1 to 64 is right"),
    ("machine:\n  smp: 65", ":2: machine.smp: 65 is out of range, an integer from 1 to 64 is right"),
    ("machine: {smp: four}", ":1: machine.smp: four is not an integer, an integer from 1 to 64 is right"),
    ("machine: {smp: true}", ":1: machine.smp: true is not an integer, an integer from 1 to 64 is right"),
    ("machine: {smp: 4.0}", ":1: machine.smp: 4.0 is not an integer, an integer from 1 to 64 is right"),
    ('machine: {smp: ""}', ':1: machine.smp: "" is not an integer, an integer from 1 to 64 is right'),
    ("machine: {smp: '4,cores=two'}", ":1: machine.smp: 4,cores=two has cores not an integer, an integer"),
    ("machine: {smp: '4,4'}", ":1: machine.smp: 4,4 has an unknown key 4, cpus, maxcpus, sockets, dies, "),
    (
        "machine: {smp: {cpus: 4, nodes: 2}}",
        ':1: machine.smp: {"cpus": 4, "nodes": 2} has an unknown key nodes',
    ),
    (
        "machine: {smp: {cpus: 4, cores: 0}}",
        ':1: machine.smp: {"cpus": 4, "cores": 0} has cores out of range',
    ),
    (
        "machine: {smp: '8,sockets=2,cores=3,threads=1'}",
        ":1: machine.smp: 8,sockets=2,cores=3,threads=1 can't be: sockets (2) * dies (1) * cores (3) *"
        " threads (1) != maxcpus (8), a product of the hierarchy that matches maxcpus is right",
    ),
    (
        "machine: {smp: '8,maxcpus=4'}",
        ":1: machine.smp: 8,maxcpus=4 can't be: maxcpus (4) < cpus (8), maxcpus equal to or greater",
    ),
    (
        "machine: {memory: lots}",
        ":1: machine.memory: lots is not a size, a size from 1M to 512G such as 512M or 2G is right",
    ),
    (
        "machine: {memory: 640K}",
        ":1: machine.memory: 640K is too small, a size from 1M to 512G such as 512M or 2G is right",
    ),
    (
        "machine: {memory: 1T}",
        ":1: machine.memory: 1T is too large, a size from 1M to 512G such as 512M or 2G is right",
    ),
    (
        "machine: {memory: 2097153}",
        ":1: machine.memory: 2097153 is not a multiple of 4096 bytes, "
        "a size from 1M to 512G such as 512M or 2G is right",
    ),
    ("machine: {memory: -1}", ":1: machine.memory: -1 is too small"),
    ("machine: {type: isapc}", ":1: machine.type: isapc is not accepted, microvm or "),
    (
        "machine: {accel: tcg}",
        ":1: machine.accel: tcg is not accepted, unicorn or kvm, or several as kvm:unicorn, is right",
    ),
    ("machine: {accel: 'kvm:'}", ":1: machine.accel: kvm: is not accepted, unicorn or kvm, or"),
    ("machine: {accel: 'kvm:kvm'}", ":1: machine.accel: kvm:kvm has one twice, unicorn or kvm, or"),
    ("log: [everything]", ":1: log[0]: everything is not accepted, int or cpu_reset or"),
    ("log: guest_errors", ":1: log: guest_errors is not a list, a list such as [stdio] is right"),
    (
        "logfile: /absent/log",
        ":1: logfile: /absent/log: can't be made, a file in a folder that exists is right",
    ),
    (
        "trace: [strtup]",
        ":1: trace[0]: strtup matches no trace event, startup, or what `mpvm run --trace help` lists,",
    ),
    (
        "machine: 4",
        ":1: machine: 4 is not a section, type, smp, memory, accel, hpet, pit, vmport are right below it",
    ),
    (
        "machine:",
        ":1: machine: null is not a section, type, smp, memory, accel, hpet, pit, vmport are right below it",
    ),
    ("machine: {spm: 4}", ":1: machine.spm: unknown key, smp is right"),
    ("machine: {colour: red}", ":1: machine.colour: unknown key, right here are type, smp, memory, accel"),
    ("machines: {smp: 4}", ":1: machines: unknown key, machine is right"),
    ("name: 4", ":1: name: 4 is not a text, the guest's name in quotes is right"),
    ("qmp: /run/qmp", ":1: qmp: /run/qmp is not a socket, unix:PATH is right"),
    ("qmp: 'unix:'", ":1: qmp: unix: is not a path, unix:PATH is right"),
    (
        "qmp: unix:/absent/qmp",
        ":1: qmp: /absent/qmp: can't be made, unix:PATH in a folder that exists is right",
    ),
    ("cpu: {model: 486}", ":1: cpu.model: 486 is not a text, a CPU model in quotes is right"),
    (
        "cputune: {cpuset: two}",
        ":1: cputune.cpuset: two is not a list of CPUs, a list of the host's CPUs such as",
    ),
    ("cputune: {cpuset: 1-0}", ":1: cputune.cpuset: 1-0 has a range that ends before it begins, a list of"),
    (
        "cputune: {cpuset: 0-2}",
        ":1: cputune.cpuset: mpvm may not use the host's CPU 2, CPUs out of 0, 1 are right",
    ),
    ("cputune: {nice: 20}", ":1: cputune.nice: 20 is out of range, an integer from -20 to 19 is right"),
    ("cputune: {vcpupin: 0}", ":1: cputune.vcpupin: 0 is not a list"),
    (
        "cputune:\n  vcpupin:\n  - {cpuset: 0}",
        ":3: cputune.vcpupin[0].vcpu: missing, the index of a vCPU is right",
    ),
    ("cputune: {vcpupin: [{vcpu: 0}]}", ":1: cputune.vcpupin[0].cpuset: missing, a list of the host's CPUs"),
    (
        "cputune: {vcpupin: [{vcpu: 0, cpuset: null}]}",
        ":1: cputune.vcpupin[0].cpuset: null is not a list of CPUs",
    ),
    (
        "cputune: {vcpupin: [{vcpu: 1, cpuset: 0}]}",
        ":1: cputune.vcpupin[0].vcpu: there is no vCPU 1, one from 0 to 0 is right",
    ),
    (
        "cputune:\n  vcpupin:\n  - {vcpu: 0, cpuset: 0}\n  - {vcpu: 0, cpuset: 1}",
        ":4: cputune.vcpupin[1].vcpu: vCPU 0 is pinned twice, once is right",
    ),
    (
        "cputune: {vcpupin: [{vcpu: 0, cpuset: 4}]}",
        ":1: cputune.vcpupin[0].cpuset: mpvm may not use the host's CPU 4, CPUs out of 0, 1 are right",
    ),
    ("boot: {}", ":1: boot.kernel: missing, the path of a kernel image or builtin:smp is right"),
    (
        "boot: {kernel: 5}",
        ":1: boot.kernel: 5 is not a path, the path of a kernel image, or builtin:smp, is right",
    ),
    ('boot: {kernel: ""}', ':1: boot.kernel: "" is not a path'),
    ("boot: {kernel: k, protocol: uefi}", ":1: boot.protocol: uefi is not accepted, auto or linux or "),
    (
        "boot: {kernel: k, append: on}",
        ":1: boot.append: true is not a text, the kernel's command line in quotes",
    ),
    (
        "boot: {kernel: k, initrd: [a]}",
        ':1: boot.initrd: ["a"] is not a path, the path of an initial RAM disk',
    ),
    ("boot: {kernel: k, modules: m}", ":1: boot.modules: m is not a list"),
    ("boot: {kernel: k, modules: [{}]}", ":1: boot.modules[0].path: missing, the path of a module is right"),
    ("boot: {kernel: k, modules: [m]}", ":1: boot.modules[0]: m is not a section, path, string are right"),
    (
        "boot: {kernel: k, modules: [{path: m, strin: a}]}",
        ":1: boot.modules[0].strin: unknown key, string is right",
    ),
    ("serial: stdio", ":1: serial: stdio is not a list, a list such as [stdio] is right"),
    ("serial: [tty]", ":1: serial[0]: tty is not accepted, stdio, null, file:PATH"),
    ("serial:\n- stdio\n- 5", ":3: serial[1]: 5 is not accepted, stdio, null, file:PATH"),
    ("serial: ['file:']", ":1: serial[0]: file: is not accepted"),
    ("debugcon: tcp", ":1: debugcon: tcp is not accepted, stdio, null, file:PATH"),
    (
        "uuid: abc",
        ":1: uuid: abc is not a UUID, a text such as 12345678-",
    ),
    ("monitor: stdio", ":1: monitor: stdio is not a list"),
    ("rtc: {base: 2006-13-01}", ":1: rtc.base: 2006-13-01 month must be in 1..12, utc, localtime or a date"),
    ("rtc: {base: now}", ":1: rtc.base: now is not a date, utc, localtime or a date such as"),
    ("rtc: {clock: tsc}", ":1: rtc.clock: tsc is not accepted, host or rt or vm is right"),
    ("rtc: utc", ":1: rtc: utc is not a section, base, clock, driftfix are right below it"),
    ("action: {reboot: pause}", ":1: action.reboot: pause is not accepted, reset or shutdown is right"),
    ("action: {triple_fault: 1}", ":1: action.triple_fault: 1 is not accepted, panic or reset is right"),
    ("fw_cfg: [{string: a}]", ":1: fw_cfg[0].name: missing, a name such as opt/org.example/x is right"),
    ("fw_cfg: [{name: x, string: a}, {name: x, string: b}]", ":1: fw_cfg[1].name: there are two x, one is"),
    ("fw_cfg: [{name: opt/a}]", ":1: fw_cfg[0]: opt/a has no content or two, file: or string: is right"),
    ("fw_cfg: [{name: opt/a, file: /absent}]", ":1: fw_cfg[0].file: /absent: no such file or directory"),
    (f"fw_cfg: [{{name: {'n' * 56}, string: a}}]", f":1: fw_cfg[0].name: {'n' * 56} is too long"),
    ("paused: 1", ":1: paused: 1 is not a boolean"),
    ("isa_debug_exit: 1", ":1: isa_debug_exit: 1 is not a boolean, true or false is right"),
    ("no_reboot: maybe", ":1: no_reboot: maybe is not a boolean, true or false is right"),
    ("timeout: 0", ":1: timeout: 0 is out of range, a number of seconds above 0 is right"),
    ("timeout: .inf", ":1: timeout: Infinity is out of range, a number of seconds above 0 is right"),
    ("timeout: .nan", ":1: timeout: NaN is out of range, a number of seconds above 0 is right"),
    ("timeout: soon", ":1: timeout: soon is not a number, a number of seconds above 0 is right"),
    ("perfmap: 1", ":1: perfmap: 1 is not a boolean, true or false is right"),
    ("symbols: 5", ":1: symbols: 5 is not a path, the path of a symbol table is right"),
    ("timeout: true", ":1: timeout: true is not a number, a number of seconds above 0 is right"),
]


@pytest.mark.parametrize(("text", "message"), WRONG, ids=[text.replace("\n", " ") for text, _ in WRONG])
def test_a_wrong_value_is_named_with_its_line_and_what_is_right(
    write_config: WriteConfig, guest: Path, two_cpus: None, text: str, message: str
) -> None:
    if not text.startswith("boot"):
        text += f"\nboot: {{kernel: {guest}}}"
    path = write_config(text + "\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value).startswith(f"{path}{message}")
    assert "\n" not in str(caught.value)
    assert caught.value.exit_status == ExitStatus.BAD_CONFIGURATION


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("Haswel", "'Haswel' is no CPU model; Haswell or Haswell-IBRS is right"),
        ("max,-x2apik", "'x2apik' is no CPU feature or property; x2apic or extapic or apic is right"),
        ("max,stepping=16", "stepping=16 is out of range; a number from 0 to 15 is right"),
    ],
)
def test_a_cpu_that_the_engine_is_not_is_named_with_its_line(
    write_config: WriteConfig, guest: Path, model: str, message: str
) -> None:
    path = write_config(f'boot: {{kernel: {guest}}}\ncpu:\n  model: "{model}"\n')
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value) == f"{path}:3: cpu.model: {message}"
    with pytest.raises(ConfigError) as caught:
        load_config(path, [Override("cpu.model", model, "--cpu")])
    assert str(caught.value) == f"--cpu: {message}"


def test_of_several_errors_the_first_in_the_file_is_told_and_the_others_counted(
    write_config: WriteConfig,
) -> None:
    path = write_config("timeout: 0\nboot: {initrd: 5}\nmachine: {smp: 65}\n")
    with pytest.raises(ConfigError, match=r":1: timeout: .* \(and 2 more\)$"):
        load_config(path)


def test_a_long_value_is_cut(write_config: WriteConfig) -> None:
    path = write_config(f"machine: {{type: {'x' * 500}}}\nboot: {{kernel: k}}\n")
    with pytest.raises(ConfigError, match=r"x{57}\.\.\. is not accepted"):
        load_config(path)


def test_control_characters_in_a_value_are_escaped(write_config: WriteConfig) -> None:
    path = write_config('machine: {type: "\\e[2J\\n"}\nboot: {kernel: k}\n')
    with pytest.raises(ConfigError, match=r"\\x1b\[2J\\n is not accepted"):
        load_config(path)


def test_an_override_goes_before_the_file(write_config: WriteConfig, guest: Path) -> None:
    path = write_config(f"machine: {{smp: 2, memory: 64M}}\nboot: {{kernel: {guest}}}\n")
    config = load_config(path, [Override("machine.smp", 8, "--smp")])
    assert (config.machine.smp.cpus, config.machine.memory) == (8, 64 << 20)


def test_an_override_of_an_absent_section_makes_it(guest: Path) -> None:
    config = load_config(
        None, [Override("boot.kernel", str(guest), "--kernel"), Override("cpu.model", "qemu64", "--cpu")]
    )
    assert (config.boot.kernel, config.cpu.model) == (guest, "qemu64")


def test_a_wrong_override_is_named_by_its_option(write_config: WriteConfig, guest: Path) -> None:
    path = write_config(f"boot: {{kernel: {guest}}}\n")
    with pytest.raises(ConfigError, match=r"^--smp: 65 is out of range, an integer from 1 to 64 is right$"):
        load_config(path, [Override("machine.smp", 65, "--smp")])
