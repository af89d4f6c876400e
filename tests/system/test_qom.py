"""`mpvm qom` from the outside: it finds a running VM, shows its objects, and says what is wrong."""

import subprocess
from pathlib import Path

import pytest

from tests.system import tiny
from tests.system.runner import Launcher, read_until


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    path = tmp_path / "guest"
    path.write_bytes(tiny.image(tiny.HALT))
    return path


def _start(launch: Launcher, kernel: Path, name: str) -> "subprocess.Popen[bytes]":
    child = launch.start(
        "run", "--kernel", kernel, "--memory", "64M", "--timeout", "300", "--quiet", "--name", name
    )
    read_until(child, tiny.GREETING)
    return child


def test_the_only_vm_is_found_and_its_objects_are_shown(launch: Launcher, kernel: Path) -> None:
    child = _start(launch, kernel, "one")
    listed = launch.run("qom", "list")
    assert (listed.status, listed.messages) == (0, ""), listed
    assert "machine/" in listed.console.splitlines()
    tree = launch.run("qom", "tree")
    assert "/machine\n  type: pc-i440fx-" in tree.console, tree
    assert launch.run("qom", "get", "/machine", "memory-size").console == f"{64 << 20}\n"
    refused = launch.run("qom", "set", "/machine", "memory-size", "1")
    assert (refused.status, refused.console) == (2, ""), refused
    assert "memory-size" in refused.messages, refused
    main_loop = ("/objects/main-loop", "poll-max-ns")
    assert launch.run("qom", "get", *main_loop).console == "200000\n"
    assert launch.run("qom", "set", *main_loop, "50000").status == 0
    assert launch.run("qom", "get", *main_loop).console == "50000\n"
    wrong = launch.run("qom", "get", "/absent", "type")
    assert (wrong.status, wrong.console) == (2, ""), wrong
    assert wrong.messages.startswith("mpvm: /absent: no such object, "), wrong
    child.terminate()
    child.wait()
    assert launch.run("qom", "list").messages == "mpvm: no VM runs, `mpvm run FILE.yaml` starts one\n"


def test_of_several_vms_one_is_meant_by_its_name_or_process(launch: Launcher, kernel: Path) -> None:
    one, two = _start(launch, kernel, "one"), _start(launch, kernel, "two")
    running = sorted([(one.pid, "one"), (two.pid, "two")])
    choice = " or ".join(f"{pid} ({name})" for pid, name in running)
    assert launch.run("qom", "list").messages == f"mpvm: --vm: more than one VM runs, {choice} is right\n"
    wrong = launch.run("qom", "list", "--vm", "three")
    assert wrong.messages == f"mpvm: --vm: there is no VM 'three', {choice} is right\n"
    for right in ("one", str(two.pid)):
        assert launch.run("qom", "list", "--vm", right).status == 0
    for child in (one, two):
        child.terminate()
        child.wait()
