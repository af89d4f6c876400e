"""The file with the process id: locked while the VM lives, and gone with it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mpvm.abi.errors import StartError
from mpvm.coordinator.pidfile import PidFile


def test_it_has_the_process_id_and_goes_with_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    path.write_text("12345678 of a VM that was killed\n")
    file = PidFile(path)
    assert path.read_text() == f"{os.getpid()}\n"
    file.remove()
    assert not path.exists()


def test_it_is_one_vms(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    file = PidFile(path)
    imports = "from pathlib import Path; from mpvm.coordinator.pidfile import PidFile"
    script = f"{imports}; PidFile(Path({str(path)!r}))"
    other = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert f"StartError: cannot create PID file: {path}: another VM has it" in other.stderr
    assert path.read_text() == f"{os.getpid()}\n"
    file.remove()


def test_another_file_in_its_place_is_left_there(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    file = PidFile(path)
    path.unlink()
    path.write_text("another's")
    file.remove()
    assert path.read_text() == "another's"


def test_one_that_can_not_be_made_is_told(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"cannot create PID file: .*: No such file or directory"):
        PidFile(tmp_path / "absent" / "pid")
