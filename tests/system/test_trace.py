"""What a real run logs and traces."""

import re
from pathlib import Path

import pytest

from tests.system import tiny
from tests.system.runner import Launcher

_LINE = re.compile(r"mpvm: trace: (\d+\.\d{6}) (\w+) ?(.*)")
_SMP = 2


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    """A guest that reads a port of nobody's and ends."""
    path = tmp_path / "guest"
    # mov dx, 0x1f0; in al, dx
    path.write_bytes(tiny.image(b"\x66\xba\xf0\x01\xec" + tiny.debug_exit(0)))
    return path


def test_a_start_is_traced_up_to_the_first_entry(launch: Launcher, kernel: Path) -> None:
    run = launch.run(
        "run", "--kernel", kernel, "--smp", str(_SMP), "--memory", "64M", "--quiet", "--isa-debug-exit",
        "--trace", "startup",
    )  # fmt: skip
    assert run.status == 1, run
    lines = [_LINE.fullmatch(line) for line in run.messages.splitlines()]
    events = sorted((float(line[1]), line[2], line[3]) for line in lines if line)
    assert len(events) == len(lines)
    for vcpu in range(_SMP):
        life = [name for _at, name, told in events if re.match(rf"vcpu={vcpu}\b", told)]
        assert life == [
            "init_vcpu", "x86_cpu_realizefn", "start_vcpu", "vcpu_created", "vcpu_ready",
            "vcpu_first_entry",
        ]  # fmt: skip
    assert [told for _at, name, told in events if name == "main_step"][-1] == "step=cleanup"


def test_a_log_category_goes_to_the_file_it_is_sent_to(
    launch: Launcher, kernel: Path, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    run = launch.run(
        "run", "--kernel", kernel, "--memory", "64M", "--quiet", "--isa-debug-exit", "-d", "guest_errors",
        "-D", log,
    )  # fmt: skip
    assert (run.status, run.messages) == (1, "")
    assert log.read_text() == (
        "mpvm: guest_errors: I/O ports: a read of 1 bytes at 0x1f0, where nothing answers\n"
    )


@pytest.mark.parametrize("to_file", [False, True])
def test_the_workers_log_where_the_coordinator_does(
    launch: Launcher, kernel: Path, tmp_path: Path, to_file: bool
) -> None:
    log = tmp_path / "log"
    where = ("-D", log) if to_file else ()
    run = launch.run(
        "run", "--kernel", kernel, "--smp", str(_SMP), "--memory", "64M", "--quiet", "--isa-debug-exit",
        "-d", "int,cpu_reset,guest_errors", *where,
    )  # fmt: skip
    assert run.status == 1, run
    lines = (log.read_text() if to_file else run.messages).splitlines()
    assert (run.messages == "") == to_file
    kinds = sorted(" ".join(line.split()[:4]) for line in lines)
    assert kinds == [
        "mpvm: cpu_reset: vCPU 0",
        "mpvm: cpu_reset: vCPU 1",
        "mpvm: guest_errors: I/O ports:",
    ]


def test_the_next_accelerator_is_taken_where_the_first_one_can_not_be(launch: Launcher, kernel: Path) -> None:
    run = launch.run(
        "run", "--kernel", kernel, "--memory", "64M", "--quiet", "--isa-debug-exit", "--accel", "kvm:unicorn"
    )
    assert run.status == 1, run
    refusals = run.messages.splitlines()
    # Where KVM works there is nothing to say.
    assert not refusals or refusals[0].startswith("mpvm: failed to initialize kvm: "), run
    assert not refusals or refusals[1:] == ["mpvm: falling back to unicorn"], run
