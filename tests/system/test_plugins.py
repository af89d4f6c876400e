"""Types of other packages: installed by pip, found by their entry points, used in a machine by a guest."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system import tiny
from tests.system.debian import REPOSITORY
from tests.system.runner import Launcher

_PACKAGE = REPOSITORY / "tests" / "system" / "plugin"
_PIP = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pip has installed the package."""
    folder = tmp_path_factory.mktemp("plugin")
    # A copy: the build leaves files beside its sources.
    source = shutil.copytree(_PACKAGE, folder / "source")
    done = subprocess.run([*_PIP, "--target", folder / "site", source], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "site"


@pytest.fixture
def plugged(launch: Launcher, site: Path) -> Launcher:
    """Runs of an mpvm beside which the package is installed."""
    launch.environment["PYTHONPATH"] += f"{os.pathsep}{site}"
    return launch


def guest(folder: Path, port: int) -> Path:
    """Writes 20 and 17 to `port`, reads it and ends with what was read."""
    dx = b"\x66\xba" + port.to_bytes(2, "little")
    add = dx + b"\xb0\x14\xee" + b"\xb0\x11\xee"  # mov al, 20; out dx, al; mov al, 17; out dx, al
    leave = b"\xec\xe6\xf4" + tiny.SPIN  # in al, dx; out 0xf4, al
    path = folder / f"add-{port:x}.elf"
    path.write_bytes(tiny.image(add + leave))
    return path


def test_a_type_of_another_package_is_listed_and_described(plugged: Launcher) -> None:
    listed = plugged.run("types")
    assert listed.status == 0, listed
    assert "isa-adder" in listed.console
    assert "adder-machine" in listed.console
    described = plugged.run("types", "--describe", "isa-adder")
    assert "parents:     isa-device, io-device, device, object" in described.console
    assert "the sum after a reset" in described.console


def test_a_guest_reads_and_writes_a_device_of_another_package(plugged: Launcher, tmp_path: Path) -> None:
    device = ("--device", "isa-adder,id=adder,iobase=0x720,start=5")
    run = plugged.run(
        "run", "--kernel", guest(tmp_path, 0x720), "--isa-debug-exit", "--timeout", "100", "--quiet", *device
    )
    assert run.status == (5 + 20 + 17) << 1 | 1, run


def test_a_guest_runs_on_a_machine_of_another_package(plugged: Launcher, tmp_path: Path) -> None:
    kernel = guest(tmp_path, 0x6F0)
    options = ("--kernel", kernel, "--machine", "adder", "--isa-debug-exit", "--timeout", "100", "--quiet")
    run = plugged.run("run", *options)
    assert run.status == (2 + 20 + 17) << 1 | 1, run


def test_without_the_package_its_types_are_unknown(launch: Launcher, tmp_path: Path) -> None:
    run = launch.run("run", "--kernel", guest(tmp_path, 0x700), "--device", "isa-adder")
    assert run.status == 2
    assert "mpvm: --device: device 'isa-adder' is unknown, " in run.messages
