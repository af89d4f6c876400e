"""The command as a whole, up to where a machine would start."""

import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from mpvm.cli.system.main import main
from mpvm.config import Config, load_config
from mpvm.coordinator import forkserver
from mpvm.coordinator import main as vl
from mpvm.coordinator.outcome import Outcome


class Machine:
    """Takes the place of a run; `status` and `reason` are how it ends."""

    def __init__(self) -> None:
        self.config: Config | None = None
        self.status, self.reason = 0, "guest-shutdown"
        self.servers = 0

    def run(self, config: Config, observer: Any, *, owns_process: bool) -> Outcome:
        self.config = config
        if self.reason == "host-signal":
            observer.signalled(15, 0)
        return Outcome(self.status, "", [], self.reason)

    def start_early(self, *, detached: bool) -> None:
        self.servers += 1


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    one = Machine()
    monkeypatch.setattr(vl, "main", one.run)
    monkeypatch.setattr(forkserver, "start_early", one.start_early)
    monkeypatch.setattr(forkserver, "stop", lambda: None)
    return one


def multiboot_kernel(folder: Path) -> Path:
    kernel = folder / "kernel"
    kernel.write_bytes(struct.pack("<III", 0x1BADB002, 0, -0x1BADB002 & 0xFFFFFFFF).ljust(512, b"\0"))
    return kernel


def test_a_usual_command_line_is_a_configuration(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    multiboot_kernel(tmp_path)
    (tmp_path / "env").write_text("A=1\n")
    monkeypatch.chdir(tmp_path)
    text = (
        "--no-reboot -nodefaults -device pc-testdev -device isa-debug-exit,iobase=0xf4,iosize=0x4 -vnc none"
        " -serial stdio -device pci-testdev -machine accel=tcg -kernel kernel -smp 2 -cpu max -initrd env"
    )
    assert main([*text.split(), "-append", "one two"]) == 0
    config = machine.config
    assert config is not None
    assert config.boot.kernel == tmp_path / "kernel"
    assert (config.boot.argv0, config.boot.append) == ("kernel", "one two")
    assert [(module.path, module.string) for module in config.boot.modules] == [(tmp_path / "env", "env")]
    assert [device.driver for device in config.devices] == ["pc-testdev", "isa-debug-exit", "pci-testdev"]
    assert (config.machine.smp.cpus, config.machine.accel, config.machine.memory) == (2, "unicorn", 128 << 20)
    assert [(spec.kind, spec.signal, spec.mux) for spec in config.serial] == [("stdio", True, False)]
    assert config.no_reboot
    assert capsys.readouterr() == ("", "")


def test_an_initrd_of_a_multiboot_kernel_is_modules_with_arguments(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    multiboot_kernel(tmp_path)
    for name in ("a", "b,c"):
        (tmp_path / name).write_text("x")
    monkeypatch.chdir(tmp_path)
    assert main(["-kernel", "kernel", "-initrd", "a x,,y z,b,,c"]) == 0
    assert machine.config is not None
    modules = [(module.path.name, module.string) for module in machine.config.boot.modules]
    assert modules == [("a", "a x,y z"), ("b,c", "b,c")]


def test_an_initrd_of_another_kernel_is_a_file(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kernel").write_bytes(bytes(510) + b"\x55\xaa")
    (tmp_path / "a b,c").write_text("x")
    monkeypatch.chdir(tmp_path)
    assert main(["-kernel", "kernel", "-initrd", "a b,c"]) == 0
    assert machine.config is not None
    assert machine.config.boot.initrd == tmp_path / "a b,c"


@pytest.mark.parametrize(
    "option", [["-bogus"], ["-machine", "pc,bogus=1"], ["-usb"], ["-vga", "std"], ["x.img"]]
)
def test_an_option_that_is_none_is_one_line_before_any_process(
    option: list[str], machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["-kernel", "builtin:smp", *option]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith(f"mpvm-system-x86_64: {' '.join(option)}: ")
    assert output.err.count("\n") == 1
    assert machine.servers == 0
    assert machine.config is None


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["-machine", "isapc"], "mpvm-system-x86_64: -machine isapc: isapc is not accepted, "),
        (["-cpu", "bogus"], "mpvm-system-x86_64: -cpu bogus: 'bogus' is no CPU model"),
        (["-smp", "65"], "mpvm-system-x86_64: -smp 65: "),
        (["-device", "bogus"], "mpvm-system-x86_64: -device bogus: "),
        (["-serial", "bogus:"], "mpvm-system-x86_64: -serial bogus:: "),
        (["-serial", "stdio", "-serial", "stdio"], "mpvm-system-x86_64: -serial: stdio is taken"),
        (["-d", "bogus"], "mpvm-system-x86_64: -d bogus: "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_value_that_is_none_is_one_line_and_status_1(
    argv: list[str], message: str, machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["-kernel", "builtin:smp", *argv]) == 1
    output = capsys.readouterr()
    assert output.err.startswith(message)
    assert output.err.count("\n") == 1
    assert machine.config is None


def test_a_kernel_that_is_not_there_is_told_in_qemus_words(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["-kernel", "_NO_FILE_4Uhere_", "-smp", "2"]) == 1
    message = "qemu: could not load kernel '_NO_FILE_4Uhere_': No such file or directory\n"
    assert capsys.readouterr() == ("", message)
    assert machine.servers == 0


def test_what_else_is_wrong_comes_before_a_kernel_that_is_not_there(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["-kernel", "_NO_FILE_4Uhere_", "-cpu", "max,+bogus"]) == 1
    assert "_NO_FILE_4Uhere_" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("status", "reason", "expected", "said"),
    [
        (0, "guest-shutdown", 0, ""),
        (33, "guest-shutdown", 33, ""),
        (0, "guest-reset", 0, ""),
        (143, "host-signal", 0, "mpvm-system-x86_64: terminating on signal 15\n"),
    ],
)
def test_an_exit_status_is_qemus(
    status: int,
    reason: str,
    expected: int,
    said: str,
    machine: Machine,
    capsys: pytest.CaptureFixture[str],
) -> None:
    machine.status, machine.reason = status, reason
    assert main(["-kernel", "builtin:smp"]) == expected
    assert capsys.readouterr() == ("", said)


def test_the_printed_configuration_is_the_same_machine_wherever_it_is_kept(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kernel = multiboot_kernel(tmp_path)
    (tmp_path / "env").write_text("A=1\n")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    argv = ["-kernel", "kernel", "-initrd", "env x", "-smp", "2,sockets=2", "-m", "64", "-serial", "file:out"]
    argv += [
        "-device",
        "pc-testdev",
        "-global",
        "isa-debug-exit.iobase=0xf4",
        "-cpu",
        "max,-avx",
        "-no-reboot",
    ]
    argv += [
        "-serial",
        "unix:sock,server=on,wait=off",
        "-chardev",
        "file,id=a,path=log",
        "-debugcon",
        "chardev:a",
    ]
    argv += ["-qmp", "unix:qmp,server,nowait", "-fw_cfg", "opt/x,file=env", "-serial", "stdio", "-D", "trace"]
    assert main(argv) == 0
    assert main([*argv, "--print-config"]) == 0
    printed = tmp_path / "elsewhere" / "vm.yaml"
    printed.write_text(capsys.readouterr().out)
    assert yaml.safe_load(printed.read_text())["boot"]["kernel"] == str(kernel)
    assert load_config(printed) == machine.config


def test_a_default_for_a_device_that_is_not_here_is_qemus_warning(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["-global", "kvm-pit.lost_tick_policy=discard", "-global", "isa-serial.irq=5"]
    assert main(["-kernel", "builtin:smp", *given]) == 0
    assert machine.config is not None
    assert [(each.driver, each.property) for each in machine.config.globals] == [("isa-serial", "irq")]
    message = "mpvm-system-x86_64: warning: global kvm-pit.lost_tick_policy has invalid class name\n"
    assert capsys.readouterr() == ("", message)


def test_a_defect_of_ours_has_a_traceback_and_status_1(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(vl, "main", SimpleNamespace())
    assert main(["-kernel", "builtin:smp"]) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("accelerator", "warned"), [("tcg", True), ("unicorn", False)], ids=["by QEMU's name", "by ours"]
)
def test_the_deadline_timer_is_refused_as_tcg_does_unless_the_accelerator_has_our_name(
    machine: Machine,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    accelerator: str,
    warned: bool,
) -> None:
    kernel = multiboot_kernel(tmp_path)
    argv = f"-kernel {kernel} -cpu qemu64,+x2apic,+tsc-deadline -accel {accelerator}".split()
    assert main(argv) == 0
    text = "TCG doesn't support requested feature: CPUID.01H:ECX.tsc-deadline [bit 24]"
    assert capsys.readouterr().err == (f"mpvm-system-x86_64: warning: {text}\n" if warned else "")
    assert machine.config is not None
    assert ("+tsc-deadline" in machine.config.cpu.model.split(",")) is not warned
    assert "+x2apic" in machine.config.cpu.model.split(",")
