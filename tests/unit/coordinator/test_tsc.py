"""The measurement of the host's TSC."""

import mmap
import time

import pytest

from mpvm.abi.errors import StartError
from mpvm.coordinator import tsc


class Host:
    """A host whose TSC runs at `hz` and where time passes only in sleep and by calls."""

    def __init__(self, hz: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.hz, self.ns = hz, 10**9
        self.slept = 0.0
        monkeypatch.setattr(time, "monotonic_ns", self.now)
        monkeypatch.setattr(time, "sleep", self.sleep)
        monkeypatch.setattr(tsc, "_reader", lambda: self.read)

    def now(self) -> int:
        self.ns += 50
        return self.ns

    def read(self) -> int:
        return self.ns * self.hz // 10**9

    def sleep(self, seconds: float) -> None:
        self.slept += seconds
        self.ns += int(seconds * 1e9)


@pytest.mark.parametrize("khz", [1_000_000, 2_596_144, 5_700_000])
def test_the_frequency_is_within_10_ppm(khz: int, monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(khz * 1000, monkeypatch)
    meter = tsc.TscMeter()
    host.ns += 50_000_000
    assert abs(meter.frequency_khz() - khz) <= khz / 100_000
    assert host.slept == 0


def test_too_short_a_time_is_made_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(2_000_000_000, monkeypatch)
    assert abs(tsc.TscMeter().frequency_khz() - 2_000_000) <= 20
    assert 0.019 < host.slept < 0.021


def test_a_host_that_lets_nobody_make_code_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> mmap.mmap:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(mmap, "mmap", refuse)
    with pytest.raises(StartError, match="execmem"):
        tsc.TscMeter().frequency_khz()


def test_the_real_tsc_counts() -> None:
    read = tsc._reader()
    assert read is not None
    first, second = read(), read()
    assert 0 < first < second
