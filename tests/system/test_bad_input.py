"""Bad input is one line that says what is wrong and what would be right; nothing is left behind."""

import os
from pathlib import Path

import pytest

from mpvm.abi.errors import ExitStatus
from tests.system import tiny
from tests.system.runner import Launcher, Run

_GOOD = """\
machine:
  smp: 2
  memory: 64M
boot:
  kernel: guest
timeout: 60
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Holds `guest`, a kernel that ends at once, and images that are none."""
    (tmp_path / "guest").write_bytes(tiny.image(tiny.debug_exit(0)))
    (tmp_path / "text").write_text("A kernel this is not.\n" * 1000)
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    (tmp_path / "large").write_bytes(tiny.image(tiny.HALT) + bytes(8 << 20))
    (tmp_path / "elf").write_bytes(b"\x7fELF\x02\x01\x01" + bytes(4096))
    (tmp_path / "short-bzimage").write_bytes(bytes(0x1FE) + b"\x55\xaa\xeb\x66HdrS\x0f\x02" + bytes(64))
    return tmp_path


def _error(run: Run, status: ExitStatus) -> str:
    """The one line that `run` has said."""
    assert run.status == status, run
    assert run.console == "", run
    [line] = run.messages.splitlines()
    assert line.startswith("mpvm: "), run
    return line


def _configured(launch: Launcher, folder: Path, text: str) -> Run:
    (folder / "vm.yaml").write_text(text)
    return launch.run("run", folder / "vm.yaml")


def test_the_configuration_that_the_others_spoil_is_good(launch: Launcher, folder: Path) -> None:
    run = _configured(launch, folder, _GOOD + "isa_debug_exit: true\n")
    assert (run.status, run.console) == (1, "!"), run


@pytest.mark.parametrize(
    ("good", "bad", "named"),
    [
        ("  smp: 2", "  smpp: 2", ["vm.yaml:2", "machine.smpp", "unknown key", "smp is right"]),
        ("timeout: 60", "speed: 60", ["vm.yaml:6", "speed", "unknown key"]),
        ("smp: 2", "smp: two", ["vm.yaml:2", "machine.smp", "two", "1 to 64"]),
        ("smp: 2", "smp: 0", ["vm.yaml:2", "machine.smp", "0", "1 to 64"]),
        ("smp: 2", "smp: 65", ["vm.yaml:2", "machine.smp", "65", "1 to 64"]),
        ("memory: 64M", "memory: lots", ["vm.yaml:3", "machine.memory", "lots", "such as"]),
        ("memory: 64M", "memory: 64K", ["vm.yaml:3", "machine.memory", "64K", "too small"]),
        ("kernel: guest", "kernel: absent", ["vm.yaml:5", "boot.kernel", "absent"]),
        ("kernel: guest", "kernel: folder", ["vm.yaml:5", "boot.kernel", "folder", "not a file"]),
        ("kernel: guest", "initrd: guest", ["boot.kernel", "missing"]),
        ("kernel: guest", "kernel: guest\n  initrd: absent", ["vm.yaml:6", "boot.initrd", "absent"]),
        ("kernel: guest", "kernel: [guest", ["vm.yaml", "YAML"]),
        (
            "  smp: 2",
            "  smp: 2\n  type: toaster",
            ["vm.yaml:3", "machine.type", "toaster", "microvm or none or pc"],
        ),
        ("  smp: 2", "  smp: 2\n  accel: steam", ["machine.accel", "steam", "unicorn"]),
        ("timeout: 60", "cpu: {model: i8008}", ["cpu.model", "i8008", "mpvm cpu list"]),
        ("timeout: 60", "cpu: {model: 'max,+teleport'}", ["cpu.model", "teleport"]),
        ("timeout: 60", "timeout: -1", ["vm.yaml:6", "timeout", "-1", "above 0"]),
    ],
)
def test_a_bad_value_is_named_with_its_file_and_key(
    launch: Launcher, folder: Path, good: str, bad: str, named: list[str]
) -> None:
    assert good in _GOOD
    line = _error(_configured(launch, folder, _GOOD.replace(good, bad)), ExitStatus.BAD_CONFIGURATION)
    assert [word for word in named if word not in line] == [], line


@pytest.mark.parametrize("image", ["text", "empty", "elf", "short-bzimage"])
def test_a_kernel_that_is_none_is_named(launch: Launcher, folder: Path, image: str) -> None:
    text = _GOOD.replace("guest", image)
    line = _error(_configured(launch, folder, text), ExitStatus.BAD_CONFIGURATION)
    assert str(folder / image) in line


def test_a_kernel_that_does_not_fit_into_memory_is_named(launch: Launcher, folder: Path) -> None:
    text = _GOOD.replace("guest", "large").replace("64M", "4M")
    line = _error(_configured(launch, folder, text), ExitStatus.BAD_CONFIGURATION)
    assert str(folder / "large") in line
    assert "memory" in line


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], ["configuration is missing"]),
        (["absent.yaml"], ["absent.yaml"]),
        (["configs/4cpu.yaml", "--smp", "65"], ["--smp", "65", "1 to 64"]),
        (["configs/4cpu.yaml", "--smp", "many"], ["--smp", "many", "1 to 64"]),
        (["configs/4cpu.yaml", "--memroy", "1G"], ["--memroy", "--memory is right"]),
        (["configs/4cpu.yaml", "--memory"], ["--memory"]),
        (["configs/4cpu.yaml", "--kernel", "/absent"], ["--kernel", "/absent"]),
        (["configs/4cpu.yaml", "--serial", "carrier-pigeon"], ["--serial", "carrier-pigeon", "stdio"]),
        (["configs/4cpu.yaml", "--json=/absent/file"], ["--json", "/absent/file"]),
    ],
)
def test_a_bad_argument_is_named(launch: Launcher, arguments: list[str], named: list[str]) -> None:
    line = _error(launch.run("run", *arguments), ExitStatus.BAD_CONFIGURATION)
    assert [word for word in named if word not in line] == [], line


def test_an_unknown_command_is_named(launch: Launcher) -> None:
    line = _error(launch.run("fly"), ExitStatus.BAD_CONFIGURATION)
    assert "fly" in line
    assert "run" in line


def test_a_kernel_that_may_not_be_read_is_named(launch: Launcher, folder: Path) -> None:
    (folder / "guest").chmod(0)
    launch.forget_privileges()
    line = _error(_configured(launch, folder, _GOOD), ExitStatus.BAD_CONFIGURATION)
    assert str(folder / "guest") in line


def test_memory_that_the_host_has_not_got_is_a_failure_to_start(launch: Launcher, folder: Path) -> None:
    text = _GOOD.replace("64M", "500G")
    room = os.statvfs("/dev/shm")
    assert room.f_blocks * room.f_frsize < 500 << 30, "this host has more memory than the test asks for"
    line = _error(_configured(launch, folder, text), ExitStatus.START_FAILURE)
    assert "/dev/shm" in line
