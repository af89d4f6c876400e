"""The private directory, and the sweep of what killed VMs have left."""

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mpvm.abi.errors import StartError
from mpvm.coordinator.runtime_dir import SHM_DIRECTORY, RuntimeDir, parent_directory, segment_name, sweep

# The kernel's largest process id is 4194304 (proc(5), pid_max).
NO_PROCESS = 4194305


@pytest.fixture
def parent(runtime_dir: Path) -> Path:
    return runtime_dir


def leftover(parent: Path, pid: int = NO_PROCESS) -> Path:
    path = parent / f"mpvm-{pid}-0123abcd"
    path.mkdir(mode=0o700)
    (path / "vcpu.sock").touch()
    return path


def test_only_its_owner_may_look_into_it(parent: Path) -> None:
    directory = RuntimeDir(parent)
    assert stat.S_IMODE(directory.path.stat().st_mode) == 0o700
    directory.remove()


def test_it_is_removed_with_everything_in_it(parent: Path) -> None:
    directory = RuntimeDir(parent)
    (directory.path / "vcpu.sock").touch()
    directory.remove()
    assert not list(parent.iterdir())


def test_a_folder_in_it_and_a_segment_that_is_left_go_with_it(parent: Path) -> None:
    directory = RuntimeDir(parent)
    (directory.path / "folder").mkdir()
    segment = SHM_DIRECTORY / segment_name(directory.name, "left")
    segment.touch()
    directory.remove()
    assert not list(parent.iterdir())
    assert not segment.exists()


def test_it_is_removed_when_its_process_has_gone(parent: Path) -> None:
    script = (
        f"from mpvm.coordinator.runtime_dir import *; d = RuntimeDir(Path({str(parent)!r})); print(d.name)"
    )
    script += "; (d.path / 'vcpu.sock').touch(); os.kill(os.getpid(), 9)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.startswith("mpvm-"), done.stderr
    deadline = time.monotonic() + 10
    while list(parent.iterdir()) and time.monotonic() < deadline:
        os.sched_yield()
    assert not list(parent.iterdir())


def test_removing_it_is_harmless_when_a_worker_has_removed_it(parent: Path) -> None:
    directory = RuntimeDir(parent)
    directory.path.rmdir()
    directory.remove()
    assert not directory.path.exists()


def test_the_environment_says_where(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MPVM_RUNTIME_DIR", "/somewhere")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert parent_directory() == Path("/somewhere")
    monkeypatch.delenv("MPVM_RUNTIME_DIR")
    assert parent_directory() == tmp_path


def test_a_place_that_can_not_be_written_is_one_line(parent: Path) -> None:
    with pytest.raises(StartError, match=r"absent.*No such file or directory; MPVM_RUNTIME_DIR may name"):
        RuntimeDir(parent / "absent")


def test_a_path_too_long_for_a_socket_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"too long for a socket's name by .* MPVM_RUNTIME_DIR"):
        RuntimeDir(tmp_path / ("x" * 100))


def test_what_a_dead_vm_has_left_is_swept(parent: Path, tmp_path: Path) -> None:
    dead = leftover(parent)
    for part in ("vm", "ram", "0-vm", "0-ram"):
        (tmp_path / segment_name(dead.name, part)).touch()
    assert sweep(parent, tmp_path) == [dead.name]
    assert not dead.exists()
    assert not list(tmp_path.iterdir())


def test_a_living_vm_is_not_swept(parent: Path, tmp_path: Path) -> None:
    directory = RuntimeDir(parent)
    (tmp_path / segment_name(directory.name, "vm")).touch()
    assert sweep(parent, tmp_path) == []
    assert directory.path.exists()
    assert list(tmp_path.iterdir())
    directory.remove()


def test_a_vm_in_another_pid_namespace_is_saved_by_its_lock(parent: Path, tmp_path: Path) -> None:
    directory = RuntimeDir(parent)
    seen_from_elsewhere = parent / f"mpvm-{NO_PROCESS}-0123abcd"
    directory.path.rename(seen_from_elsewhere)
    assert sweep(parent, tmp_path) == []
    seen_from_elsewhere.rmdir()
    directory.remove()


def test_a_directory_that_is_not_locked_yet_is_saved_by_its_process(parent: Path, tmp_path: Path) -> None:
    path = leftover(parent, os.getpid())
    assert sweep(parent, tmp_path) == []
    (path / "vcpu.sock").unlink()
    path.rmdir()


@pytest.mark.parametrize("name", ["mpvm-12-xyz", f"mpvm-{NO_PROCESS}-0123abcd.bak", "other"])
def test_what_is_not_ours_is_left_alone(parent: Path, tmp_path: Path, name: str) -> None:
    (parent / name).mkdir()
    assert sweep(parent, tmp_path) == []
    (parent / name).rmdir()


def test_a_link_with_a_vms_name_is_not_followed(parent: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    link = parent / f"mpvm-{NO_PROCESS}-0123abcd"
    link.symlink_to(target)
    assert sweep(parent, tmp_path) == []
    assert target.exists()
    link.unlink()
