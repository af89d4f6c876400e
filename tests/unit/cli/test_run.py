"""`mpvm run` from its arguments to its exit status, with a machine that only says how it ended."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mpvm.abi.errors import ExitStatus, WorkerError
from mpvm.cli.main import main
from mpvm.config import Config
from mpvm.coordinator import forkserver
from mpvm.coordinator import main as vl
from mpvm.coordinator.observer import Observer
from mpvm.coordinator.outcome import Outcome, VcpuSummary

WriteConfig = Callable[[str], Path]

VCPU = VcpuSummary(
    index=0,
    pid=4711,
    exits={"IO": 2},
    interrupts=0,
    nmis=0,
    halts=0,
    pauses=2,
    yields=0,
    kicks=0,
    ipis_sent=0,
    posted_writes=0,
    shadowed_reads=0,
    exclusive_steps=1,
    code_drops=4,
    write_watches=6,
    guest_ns=0,
    halted_ns=0,
    run_ns=0,
    stolen_ns=0,
    moves=0,
    created_ns=0,
    ready_ns=0,
    first_entry_ns=50_000_000,
)


class Machine:
    """Stands for the main function: notes its configuration, comes up and ends with `status`."""

    configs: list[Config]
    status = 0
    failure: Exception | None = None

    @classmethod
    def main(cls, config: Config, observer: Observer, *, owns_process: bool) -> Outcome:
        cls.configs.append(config)
        observer.machine_started(1_000_000)
        if cls.failure is not None:
            raise cls.failure
        return Outcome(status=cls.status, cause="power off", summary=[VCPU])


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> type[Machine]:
    """The class that runs in place of a virtual machine."""

    class Fresh(Machine):
        configs: list[Config] = []  # noqa: RUF012 - a class a test

    monkeypatch.setattr(forkserver, "start_early", lambda *, detached: None)
    monkeypatch.setattr(vl, "main", Fresh.main)
    return Fresh


@pytest.fixture
def path(write_config: WriteConfig, guest: Path) -> str:
    """A valid configuration's path."""
    return str(write_config(f"boot: {{kernel: {guest}}}\n"))


@pytest.mark.parametrize("status", [0, 1, 33, ExitStatus.TIME_LIMIT, ExitStatus.INTERRUPTED])
def test_the_machines_status_is_handed_on(machine: type[Machine], path: str, status: int) -> None:
    machine.status = status
    assert main(["run", path]) == status


def test_the_configuration_with_its_overrides_reaches_the_machine(machine: type[Machine], path: str) -> None:
    main(["run", path, "--smp", "3", "--memory", "64M", "--timeout", "2"])
    (config,) = machine.configs
    assert (config.machine.smp.cpus, config.machine.memory, config.timeout) == (3, 64 << 20, 2.0)


@pytest.mark.usefixtures("machine")
def test_progress_and_summary_go_to_stderr(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["run", path])
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "mpvm: 1 vCPU running, 1 ms\n" in shown.err
    assert "mpvm: power off\n" in shown.err
    assert shown.err.endswith("IO 2\n")


@pytest.mark.usefixtures("machine")
def test_quiet_says_nothing(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["run", "--quiet", path])
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("machine")
def test_json_goes_to_stdout_after_the_console(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["run", "--quiet", "--json", path])
    assert json.loads(capsys.readouterr().out)["summary"][0]["pid"] == 4711


@pytest.mark.usefixtures("machine")
def test_json_goes_to_a_file(path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["run", "--quiet", f"--json={tmp_path / 'out.json'}", path])
    assert json.loads((tmp_path / "out.json").read_text())["status"] == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["absent/out.json", "."])
def test_a_json_file_that_can_not_be_written_is_refused_before_the_run(
    machine: type[Machine], path: str, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", path, f"--json={tmp_path / name}"]) == ExitStatus.BAD_CONFIGURATION
    assert machine.configs == []
    shown = capsys.readouterr().err
    assert shown.startswith("mpvm: --json: ")
    assert shown.endswith("can't be written, a file in a folder that you can write to is right\n")


def test_a_failure_is_one_line_after_the_progress(
    machine: type[Machine], path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.failure = WorkerError("vCPU 2: killed by SIGKILL")
    assert main(["run", "--quiet", path]) == ExitStatus.INTERNAL_ERROR
    assert capsys.readouterr() == ("", "mpvm: vCPU 2: killed by SIGKILL\n")
