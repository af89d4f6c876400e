"""What holds for every test: a cache and a runtime directory of its own, and nothing left behind.

The ladder of fixtures: `write_config` gives a machine's description, `guest` an image it may boot,
`machine_config` both as a `Config`; a running machine is tests/system's `launch`.
"""

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from mpvm.abi.errors import StartError
from mpvm.accel import accelerator
from mpvm.config import Config, load_config
from mpvm.trace import log

_SHM = Path("/dev/shm")
_PREFIX = "mpvm-"
# What was killed outright is tidied up by others.
_TIDY_SECONDS = 10.0

_before = pytest.StashKey[set[str]]()


@pytest.fixture(scope="session", autouse=True)
def cache_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache folder for the session, so that no test sees what a user's runs have remembered."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture
def host_kvm() -> None:
    """Skips where /dev/kvm can't be used, with the reason that a user gets."""
    try:
        accelerator("kvm").check()
    except StartError as error:
        pytest.skip(str(error))


@pytest.fixture(autouse=True)
def runtime_dir(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """This test's own place for runtime directories; what it leaves there fails it.

    So do the shared-memory segments and the child processes of the test's process. Others' are not
    looked at: tests run side by side. The path is short, as it has to hold names of Unix sockets.
    """
    folder = Path(tempfile.mkdtemp(prefix="mpvm-test-"))
    monkeypatch.setenv("MPVM_RUNTIME_DIR", str(folder))
    children = _children()
    try:
        yield folder
        deadline = time.monotonic() + _TIDY_SECONDS
        while (left := _left(folder, children)) and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        shutil.rmtree(folder)
    assert not left, f"left behind: {', '.join(left)}"


@pytest.fixture
def guest(tmp_path: Path) -> Path:
    """A file that stands for a kernel: it is there, no more."""
    path = tmp_path / "kernel"
    path.write_bytes(b"\x7fELF")
    return path


@pytest.fixture
def write_config(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a configuration's text to a file and returns its path."""

    def write(text: str) -> Path:
        path = tmp_path / "machine.yaml"
        path.write_text(text)
        return path

    return write


@pytest.fixture
def machine_config(guest: Path, write_config: Callable[[str], Path]) -> Callable[..., Config]:
    """Makes a valid `Config` that boots `guest`, with the sections given as keywords."""

    def make(**sections: Any) -> Config:
        sections["boot"] = {"kernel": str(guest), **sections.get("boot", {})}
        return load_config(write_config(yaml.safe_dump(sections)))

    return make


@pytest.fixture
def logged(capfd: pytest.CaptureFixture[str]) -> Iterator[Callable[[], list[str]]]:
    """Every log category is on; returns the lines since the last call, without the command's name."""
    log.set_log(log.LOG_ITEMS)
    yield lambda: [line.removeprefix("mpvm: ") for line in capfd.readouterr().err.splitlines()]
    log.close_log()


def pytest_sessionstart(session: pytest.Session) -> None:
    """Note which segments others hold."""
    session.config.stash[_before] = _segments()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail the run when a VM that has ended has left a segment: whoever started it, nobody has cleaned up."""
    if hasattr(session.config, "workerinput"):
        return
    before = session.config.stash[_before]
    left = [name for name in _segments() if name not in before and not _owner_lives(name)]
    if left:
        print(f"\nshared-memory segments left behind: {', '.join(sorted(left))}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the seeds of tests that choose their own."""
    seeds = sorted(
        str(value)
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", None) == "call"
        for name, value in report.user_properties
        if name == "seed"
    )
    if seeds:
        terminalreporter.write_line(f"seeds: {' '.join(seeds)}")


def _left(folder: Path, children: set[int]) -> list[str]:
    return [
        *(path.name for path in folder.iterdir()),
        *(path.name for path in _SHM.glob(f"{_PREFIX}{os.getpid()}-*")),
        *(_command(pid) for pid in sorted(_children() - children)),
    ]


def _segments() -> set[str]:
    return {path.name for path in _SHM.glob(f"{_PREFIX}*")}


def _owner_lives(segment: str) -> bool:
    pid = segment.removeprefix(_PREFIX).partition("-")[0]
    return Path("/proc", pid).exists()


def _children() -> set[int]:
    """Child processes of this one."""
    pids: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        # A thread may end while we look.
        with contextlib.suppress(OSError):
            pids.update(map(int, (task / "children").read_text().split()))
    return pids


def _command(pid: int) -> str:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        command = ""
    return f"process {pid} {command}".strip()
