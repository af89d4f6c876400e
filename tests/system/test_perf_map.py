"""`mpvm run --perfmap`: perf(1) can name the code that the vCPUs run."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mpvm.abi.errors import ExitStatus
from tests.system.debian import REPOSITORY
from tests.system.runner import Launcher

_GUEST = REPOSITORY / "mpvm" / "guests" / "smp.elf"


class Maps:
    """Runs the SMP guest on two vCPUs, and finds the maps of its workers."""

    def __init__(self, launch: Launcher, folder: Path) -> None:
        self._launch = launch
        self._summary = folder / "summary.json"
        self.paths: list[Path] = []

    def run(self, *options: str | Path) -> None:
        run = self._launch.run(
            "run", "configs/4cpu.yaml", "--smp", "2", "--timeout", "400", f"--json={self._summary}", *options
        )
        assert run.status == 0, run
        pids = [vcpu["pid"] for vcpu in json.loads(self._summary.read_text())["summary"]]
        self.paths = [Path(f"/tmp/perf-{pid}.map") for pid in pids]


@pytest.fixture
def maps(launch: Launcher, tmp_path: Path) -> Iterator[Maps]:
    maps = Maps(launch, tmp_path)
    yield maps
    for path in maps.paths:
        path.unlink(missing_ok=True)


def test_every_worker_leaves_a_map_that_names_blocks_by_the_guests_functions(
    maps: Maps, tmp_path: Path
) -> None:
    table = tmp_path / "System.map"
    table.write_text(subprocess.run(["nm", _GUEST], check=True, capture_output=True, text=True).stdout)
    maps.run("--perfmap", "--symbols", table)
    assert len(maps.paths) == 2
    for path, entered_by in zip(maps.paths, ("multiboot_entry", "ap_entry64"), strict=True):
        names = [line.split(" ", 2)[2] for line in path.read_text().splitlines()]
        assert names[0] == "tcg-prologue"
        assert f"cpl0:{entered_by}+0x0" in names


def test_without_the_option_no_map_is_left(maps: Maps) -> None:
    maps.run()
    assert len(maps.paths) == 2
    assert not any(path.exists() for path in maps.paths)


def test_a_symbol_table_that_is_none_is_named(launch: Launcher) -> None:
    run = launch.run("run", "configs/4cpu.yaml", "--perfmap", "--symbols", _GUEST)
    assert run.status == ExitStatus.BAD_CONFIGURATION
    assert f"{_GUEST}: line 1: " in run.messages
    assert run.messages.splitlines()[-1].endswith("what nm(1) or /proc/kallsyms prints is right")
