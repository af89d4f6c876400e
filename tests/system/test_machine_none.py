"""The machine class `none`: a run to be asked things, or vCPUs with RAM and nothing else."""

import json
from pathlib import Path

from mpvm.abi.errors import ExitStatus
from tests.system import tiny
from tests.system.runner import Launcher


def test_a_machine_of_nothing_answers_questions_until_it_is_ended(launch: Launcher) -> None:
    child = launch.start("run", "--machine", "none", "--timeout", "300")
    assert child.stderr is not None
    assert b"0 vCPUs running" in child.stderr.readline()
    assert launch.run("qom", "get", "/machine", "type").console == "none\n"
    assert launch.run("qom", "list", "/machine/unattached").console == ""
    child.terminate()
    assert child.wait() == ExitStatus.TERMINATED


def test_its_vcpus_run_a_boot_image_and_no_port_answers(launch: Launcher, tmp_path: Path) -> None:
    kernel, summary = tmp_path / "guest", tmp_path / "summary.json"
    kernel.write_bytes(tiny.image(tiny.TRIPLE_FAULT))
    options = ("--smp", "1", "--memory", "16M", "--timeout", "100", "--quiet", f"--json={summary}")
    run = launch.run("run", "--machine", "none", "--kernel", kernel, *options)
    assert (run.status, run.console) == (ExitStatus.GUEST_CRASH, "")
    (vcpu,) = json.loads(summary.read_text())["summary"]
    assert vcpu["exits"]["IO"] == 1
