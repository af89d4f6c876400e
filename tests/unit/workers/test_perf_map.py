"""The file that perf(1) looks for."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mpvm.abi.errors import StartError
from workers import perf_map

# No process has an id as high (proc_sys_kernel(5), pid_max).
_PID = (1 << 22) + os.getpid()


@pytest.fixture
def path() -> Iterator[Path]:
    path = Path(f"/tmp/perf-{_PID}.map")
    yield path
    if path.is_dir():
        path.rmdir()
    else:
        path.unlink()


def test_the_map_is_where_perf_looks_and_its_owners_alone(path: Path) -> None:
    fd = perf_map.create(_PID)
    os.write(fd, b"line\n")
    os.close(fd)
    assert path.read_bytes() == b"line\n"
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_map_of_an_earlier_process_goes(path: Path) -> None:
    path.write_text("earlier\n")
    os.close(perf_map.create(_PID))
    assert path.read_bytes() == b""


def test_a_link_at_its_place_is_not_followed(path: Path, tmp_path: Path) -> None:
    others = tmp_path / "others"
    others.write_text("untouched")
    path.symlink_to(others)
    os.close(perf_map.create(_PID))
    assert others.read_text() == "untouched"
    assert not path.is_symlink()


def test_a_place_that_is_taken_is_named(path: Path) -> None:
    path.mkdir()
    with pytest.raises(StartError, match=f"^{path}: "):
        perf_map.create(_PID)
