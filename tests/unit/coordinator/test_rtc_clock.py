"""The time of day of a machine: what it begins with, and what it goes by."""

import calendar
import time

import pytest

from mpvm.config import Rtc
from mpvm.coordinator.rtc_clock import RtcClock
from mpvm.hw.clock import NS_PER_SECOND

HOST = calendar.timegm((2026, 7, 1, 12, 0, 0))
DATE = calendar.timegm((2006, 6, 17, 16, 1, 21))


class Bench:
    """A driven host: `ns` goes by, `host` may be set."""

    def __init__(self, **rtc: str) -> None:
        self.ns = 5 * NS_PER_SECOND
        self.host = float(HOST)
        self.clock = RtcClock(Rtc(**rtc), lambda: self.ns, lambda: self.host)

    def seconds(self, count: float) -> None:
        self.ns += int(count * NS_PER_SECOND)
        self.host += count


@pytest.mark.parametrize("clock", ["host", "rt", "vm"])
@pytest.mark.parametrize(
    ("base", "begins"),
    [
        ("utc", HOST),
        ("2006-06-17T16:01:21", DATE),
        ("2006-06-17", DATE - (16 * 3600 + 60 + 21)),
    ],
)
def test_it_begins_with_its_base_and_goes_on(clock: str, base: str, begins: int) -> None:
    bench = Bench(base=base, clock=clock)
    assert bench.clock() == begins
    bench.clock.go()
    bench.seconds(1.5)
    assert bench.clock() == begins + 1.5


def test_local_time_is_the_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "XYZ-2:30")
    time.tzset()
    try:
        assert Bench(base="localtime").clock() == HOST + 9000
    finally:
        monkeypatch.undo()
        time.tzset()


def test_the_host_clock_jumps_with_the_hosts_and_the_others_do_not() -> None:
    host, others = Bench(base="2006-06-17"), [Bench(clock=clock) for clock in ("rt", "vm")]
    before = host.clock()
    for bench in (host, *others):
        bench.host += 3600
    assert host.clock() == before + 3600
    assert [bench.clock() for bench in others] == [HOST, HOST]


def test_the_vms_clock_stands_while_the_vm_does() -> None:
    bench = Bench(clock="vm")
    bench.seconds(10)
    assert bench.clock() == HOST, "it has not been started"
    bench.clock.go()
    bench.clock.go()
    bench.seconds(1)
    bench.clock.stop()
    bench.clock.stop()
    bench.seconds(100)
    assert bench.clock() == HOST + 1
    bench.clock.go()
    bench.seconds(1)
    assert bench.clock() == HOST + 2
    rt = Bench(clock="rt")
    rt.clock.stop()
    rt.seconds(100)
    assert rt.clock() == HOST + 100
