"""`mpvm-system-x86_64` in QEMU's place: probes, runs, messages and exit statuses, beside QEMU's own."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pexpect
import pytest

from mpvm.cpu.features import FEATURES, WORD_SOURCES, CpuidRegister
from tests.system import cpuid, debian, linux, reference
from tests.system.runner import Launcher, Run, read_until

SYSTEM: Final = (sys.executable, "-m", "mpvm.cli.system")
NAME: Final = "mpvm-system-x86_64"
SMP_GUEST: Final = debian.REPOSITORY / "mpvm" / "guests" / "smp.elf"
KERNELS: Final = Path(__file__).parent / "kernels"
EXIT: Final = "-device isa-debug-exit,iobase=0xf4,iosize=0x4"
SECONDS: Final = 120


def on_both(launch: Launcher, folder: Path, options: str) -> tuple[Run, Run]:
    """`options` in `folder` on mpvm and on QEMU, with nothing on stdin."""
    return ours(launch, folder, options), qemu(folder, options)


def ours(launch: Launcher, folder: Path, options: str) -> Run:
    launch.program, launch.working = SYSTEM, folder
    return launch.run(*shlex.split(options), seconds=SECONDS)


def qemu(folder: Path, options: str) -> Run:
    assert shutil.which(reference.PROGRAM), "apt-get install qemu-system-x86 is right on Debian"
    done = subprocess.run(
        ["timeout", str(SECONDS), reference.PROGRAM, *shlex.split(options)],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    return Run(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


@pytest.fixture
def folder(tmp_path: Path, images: dict[str, Path]) -> Path:
    """A folder with the guests, and an environment's file, under short names."""
    for image in images.values():
        (tmp_path / image.name).symlink_to(image)
    (tmp_path / "env").write_text("QEMU_ACCEL=tcg\n")
    (tmp_path / "b,c").write_text("second\n")
    return tmp_path


def test_a_test_suites_usual_command_line_gives_what_qemu_gives(launch: Launcher, folder: Path) -> None:
    mpvm, other = on_both(
        launch,
        folder,
        f"--no-reboot -nodefaults -device pc-testdev {EXIT} -vnc none -serial stdio -device pci-testdev"
        " -machine accel=tcg -kernel multiboot.elf -smp 2 -cpu max -append 'one two=3' -initrd env",
    )
    assert (mpvm.status, mpvm.messages) == (other.status, other.messages) == (33, "")
    assert told(mpvm) == told(other)
    assert "command line at 2d4" in mpvm.console
    assert "multiboot.elf one two=3" in mpvm.console


def told(run: Run) -> list[str]:
    """What a loader says, but for the memory map: SeaBIOS takes some of the memory for itself."""
    lines = run.console.splitlines()
    assert lines, str(run)
    return [line for line in lines if not line.startswith(("upper memory", "map "))]


def ram(run: Run) -> list[range]:
    entries = re.findall(r"^map ([0-9a-f]+)-([0-9a-f]+) 1\r$", run.console, re.MULTILINE)
    assert len(entries) == 2, str(run)
    return [range(int(start, 16), int(end, 16)) for start, end in entries]


def test_a_multiboot_kernel_is_told_the_same_as_by_qemu(launch: Launcher, folder: Path) -> None:
    options = f"-nodefaults -display none {EXIT} -serial stdio -kernel multiboot.elf -m 64"
    mpvm, other = on_both(launch, folder, f"{options} -append 'a  b' -initrd 'env x y=1,./env,env '")
    assert told(mpvm) == told(other)
    assert mpvm.console.count("QEMU_ACCEL=tcg") == 3
    # All RAM that a guest may use on QEMU it may use here.
    assert all(any(one.start <= r.start and r.stop <= one.stop for one in ram(mpvm)) for r in ram(other))


def test_a_comma_in_a_modules_name_is_doubled(launch: Launcher, folder: Path) -> None:
    options = f"-nodefaults -display none {EXIT} -serial stdio -kernel multiboot.elf -initrd 'b,,c x,,y'"
    mpvm, other = on_both(launch, folder, options)
    assert ": b,c x,y\r\nsecond\r\n" in mpvm.console
    assert ": b,c x,y\r\nsecond\r\n" in other.console


def test_a_multiboot_kernel_may_be_an_elf64_file(launch: Launcher, folder: Path) -> None:
    subprocess.run(
        ["objcopy", "-O", "elf64-x86-64", "multiboot.elf", "multiboot64.elf"], cwd=folder, check=True
    )
    assert (folder / "multiboot64.elf").read_bytes()[4] == 2
    run = ours(
        launch, folder, f"-nodefaults -display none {EXIT} -serial stdio -kernel multiboot64.elf -append x"
    )
    assert (run.status, run.messages) == (33, "")
    assert "multiboot64.elf x" in run.console


@pytest.mark.parametrize("name", ["kludge", "pvh"])
def test_a_kernels_protocol_is_told_by_its_content(launch: Launcher, folder: Path, name: str) -> None:
    source, linked, image = KERNELS / f"{name}.S", folder / f"{name}.o", folder / name
    link = [
        "-Wl,-Ttext=0x200000,--section-start=.note.xen=0x201000,--build-id=none",
        "-nostdlib",
        "-static",
        "-no-pie",
    ]
    subprocess.run(["cc", "-m32", *link, source, "-o", linked], check=True)
    if name == "kludge":
        subprocess.run(["objcopy", "-O", "binary", "-j", ".text", linked, image], check=True)
    else:
        linked.rename(image)
    options = f"-nodefaults -display none {EXIT} -kernel {name} -append pvh -initrd env"
    mpvm, other = on_both(launch, folder, options)
    assert (mpvm.status, mpvm.messages) == (other.status, other.messages) == (33, "")


def test_a_bzimage_boots_with_its_initrd(launch: Launcher) -> None:
    image = shlex.join(linux.image("none"))
    run = ours(launch, launch.folder, f"-nodefaults -display none -serial stdio -m 512 {image}")
    assert linux.FIRST_LINE in run.console, run
    assert (run.status, run.messages) == (0, "")


# How a run can end: the options, and what QEMU's status is.
ENDS: Final = [
    ("isa-debug-exit", f"-no-reboot {EXIT} -kernel cpuid.elf", 33),
    ("another code", f"-no-reboot {EXIT} -kernel triple-fault.elf -append cpu=7", 125),
    ("power off", f"{EXIT} -kernel power-off.elf", 0),
    ("triple fault, no reboot", f"-no-reboot {EXIT} -kernel triple-fault.elf", 0),
    ("action reboot=shutdown", f"-action reboot=shutdown {EXIT} -kernel triple-fault.elf", 0),
    ("a kernel that is not there", "-kernel no-such.elf", 1),
    ("an option that is none", "-kernel cpuid.elf -bogus", 1),
    ("an option without its value", "-kernel cpuid.elf -smp", 1),
    ("a CPU that is none", "-kernel cpuid.elf -cpu bogus", 1),
    ("a device that is none", "-kernel cpuid.elf -device bogus", 1),
    ("a property that is none", "-kernel cpuid.elf -device isa-debug-exit,bogus=1", 1),
    ("a machine that is none", "-kernel cpuid.elf -machine bogus", 1),
    ("an accelerator that is none", "-kernel cpuid.elf -accel bogus", 1),
    ("a serial line that is none", "-kernel cpuid.elf -serial bogus", 1),
    ("-append alone", "-append x", 1),
]


@pytest.mark.parametrize(("options", "status"), [case[1:] for case in ENDS], ids=[case[0] for case in ENDS])
def test_an_exit_status_is_qemus(launch: Launcher, folder: Path, options: str, status: int) -> None:
    # power-off.elf is the guest of the package: it ends by ACPI.
    options = options.replace("power-off.elf", f"{SMP_GUEST} -append 'rounds=1 primes=10 locks=1 adds=1'")
    mpvm, other = on_both(launch, folder, f"-nodefaults -display none {options}")
    assert (mpvm.status, other.status) == (status, status), f"{mpvm}\n{other}"
    assert (mpvm.messages == "") == (other.messages == "")
    if status == 1:
        assert mpvm.messages.count("\n") == 1
        assert mpvm.messages.startswith((f"{NAME}: ", "qemu: "))
    assert mpvm.console == other.console == ""


# Options that change the machine or the run, but not how this guest ends.
TAKEN: Final = [
    "-machine pit=off,hpet=off,vmport=off",
    "-M pc,vmport=auto,pit=on,kernel_irqchip=split -no-hpet",
    "-rtc base=2020-01-01,clock=vm -uuid 12345678-1234-5678-9abc-123456789abc -name x,process=y",
    "-fw_cfg opt/a,string=b -fw_cfg name=opt/b,file=env -global isa-debug-exit.iosize=4",
    "-serial none -parallel none -monitor none -debugcon null -no-user-config -vga none -net none",
    "-chardev file,id=c,path=out -device isa-serial,index=1,chardev=c",
    "-chardev null,id=d -device isa-debugcon,chardev=d",
    "-smp 2,sockets=2,maxcpus=4 -m 1.5G -accel tcg,thread=single,tb-size=32",
    "-action panic=none,shutdown=pause -no-shutdown -d guest_errors,unimp -D log -pidfile pid",
]


@pytest.mark.parametrize("options", TAKEN)
def test_an_option_that_is_taken_is_taken_silently(launch: Launcher, folder: Path, options: str) -> None:
    mpvm, other = on_both(launch, folder, f"-nodefaults -display none {EXIT} -kernel multiboot.elf {options}")
    assert (mpvm.status, mpvm.messages, mpvm.console) == (33, "", "")
    assert other.status == 33, other


def test_a_triple_fault_resets_a_machine_that_may_reboot(launch: Launcher, folder: Path) -> None:
    child = start(launch, folder, f"{EXIT} -serial stdio -kernel triple-fault.elf")
    for _boot in range(3):
        read_until(child, b"meets a triple fault")
    assert end(child, signal.SIGTERM) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda n: n.name)
def test_a_signal_ends_the_run_with_qemus_message(
    launch: Launcher, folder: Path, number: signal.Signals
) -> None:
    child = start(launch, folder, f"{EXIT} -serial stdio -kernel moving.elf -append rounds=0")
    read_until(child, b"\n")
    assert end(child, number) == 0
    assert child.stderr is not None
    said = child.stderr.read().decode()
    assert said == f"{NAME}: terminating on signal {int(number)} from pid {os.getpid()} ({own_name()})\n"


def own_name() -> str:
    return Path("/proc/self/cmdline").read_bytes().partition(b"\0")[0].decode()


def start(launch: Launcher, folder: Path, options: str) -> "subprocess.Popen[bytes]":
    launch.program, launch.working = SYSTEM, folder
    return launch.start(*shlex.split(f"-nodefaults -display none {options}"))


def end(child: "subprocess.Popen[bytes]", number: signal.Signals) -> int:
    child.send_signal(number)
    return child.wait(timeout=SECONDS)


def test_the_end_of_stdin_does_not_end_the_run(launch: Launcher, folder: Path) -> None:
    # stdin is /dev/null; the guest runs on behind it until it ends by itself.
    run = ours(
        launch,
        folder,
        f"-nodefaults -display none {EXIT} -serial stdio -kernel moving.elf -append 'rounds=200'",
    )
    assert (run.status, run.messages) == (33, "")


def test_ctrl_c_ends_a_run_whose_serial_line_is_the_terminal(launch: Launcher, folder: Path) -> None:
    options = f"-nodefaults -display none {EXIT} -serial stdio -kernel {folder}/moving.elf -append rounds=0"
    terminal = launch.terminal([*SYSTEM, *shlex.split(options)], SECONDS)
    terminal.expect("\n")
    terminal.send("\x03")
    terminal.expect(f"{NAME}: terminating on signal 2\r\n")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0


# What wrappers of test suites do before they run a test.
PROBES: Final = r"""
set -eu
$QEMU --help | grep -q QEMU
$QEMU -device '?' 2>&1 | grep -F -e \"testdev\" -e \"pc-testdev\" > /dev/null
$QEMU -device '?' 2>&1 | grep -F pci-testdev > /dev/null
$QEMU -device '?' 2>&1 | grep -x 'name "isa-debug-exit", bus ISA' > /dev/null
IFS='[ .]' read -r _ _ _ major minor micro rest <<< "$($QEMU -h | head -1)"
test "$major.$minor" = 7.2
test "$($QEMU -version | sed -n 's/.*version \([0-9]*\.[0-9]*\).*/\1/p')" = 7.2
$QEMU -machine help | awk '$1 == "pc" { found = 1 } END { exit !found }'
$QEMU -machine '?' | grep -q '(default)$'
$QEMU -cpu help | grep -q '^x86 max '
$QEMU -accel help | grep -qx tcg
log=$($QEMU -nodefaults -device pc-testdev -device isa-debug-exit,iobase=0xf4,iosize=0x4 -vnc none \
    -serial stdio -machine accel=tcg -kernel _NO_FILE_4Uhere_ -smp 2 -cpu max 2>&1) && exit 3
echo "$log" | grep _NO_FILE_4Uhere_ | grep -q -e 'could not \(load\|open\) kernel' -e 'error loading'
"""


@pytest.mark.parametrize("program", [NAME, reference.PROGRAM])
def test_the_probes_of_wrappers_find_what_they_look_for(launch: Launcher, folder: Path, program: str) -> None:
    if program == NAME:
        command = folder / NAME
        command.write_text(f'#!/bin/sh\nexec {shlex.join(SYSTEM)} "$@"\n')
        command.chmod(0o755)
        program = str(command)
    done = subprocess.run(
        ["bash", "-c", PROBES],
        env={**launch.environment, "QEMU": program},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_feature_that_can_not_be_had_is_qemus_warning(launch: Launcher, folder: Path) -> None:
    options = f"-nodefaults -display none {EXIT} -serial null -kernel multiboot.elf -cpu max,+vmx"
    mpvm, other = on_both(launch, folder, options)
    assert mpvm.status == other.status == 33
    assert mpvm.messages.replace(NAME, reference.PROGRAM) == other.messages


@pytest.mark.parametrize("model", ["qemu64", "kvm64", "Opteron_G1", "Haswell", "EPYC", "max"])
def test_a_cpu_shows_no_feature_that_qemus_has_not(launch: Launcher, folder: Path, model: str) -> None:
    options = f"-nodefaults -display none {EXIT} -serial stdio -kernel cpuid.elf -cpu {model}"
    (mpvm,), (other,) = (cpuid.parse(run.console) for run in on_both(launch, folder, options))
    shown = {
        name
        for name, (word, bit) in FEATURES.items()
        if isinstance(where := WORD_SOURCES[word], CpuidRegister)
        and mpvm.register(where) & ~other.register(where) & 1 << bit
    }
    # PREFETCHW runs on both; QEMU tells of it by 3DNow! alone.
    assert shown - {"3dnowprefetch"} == set()


def test_with_nographic_ctrl_a_is_ours_and_ctrl_c_the_guests(launch: Launcher, folder: Path) -> None:
    options = f"-nographic {EXIT} -kernel {folder}/moving.elf -append rounds=0"
    terminal = launch.terminal([*SYSTEM, *shlex.split(options)], SECONDS)
    terminal.expect("\n")
    terminal.send("\x03")
    terminal.send("\x01h")
    terminal.expect("quit|exit emulator")
    terminal.send("\x01x")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0
