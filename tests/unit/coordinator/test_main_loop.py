"""The event loop as an object."""

import pytest

from mpvm.abi.errors import PropertyError
from mpvm.abi.polling import POLL_NS
from mpvm.coordinator.clock import MonotonicClock
from mpvm.coordinator.loop import EventLoop
from mpvm.coordinator.main_loop import MainLoop
from mpvm.qom.globals import GlobalProperties, GlobalProperty


def test_what_is_set_while_it_runs_is_the_loops_own() -> None:
    loop = EventLoop(MonotonicClock())
    main_loop = MainLoop()
    main_loop.loop = loop
    assert main_loop.poll_max_ns == loop.polling.limit_ns == POLL_NS
    for limit in (0, 50_000):
        main_loop.set_property("poll-max-ns", str(limit))
        assert loop.polling.limit_ns == limit
    with pytest.raises(PropertyError, match=r"main-loop\.poll-max-ns: -1 is out of range"):
        main_loop.poll_max_ns = -1
    loop.close()


def test_a_global_is_taken_over() -> None:
    loop = EventLoop(MonotonicClock())
    main_loop = MainLoop()
    main_loop.loop = loop
    GlobalProperties([GlobalProperty("main-loop", "poll-max-ns", 7)]).apply(main_loop)
    main_loop.take_over()
    assert loop.polling.limit_ns == 7
    loop.close()
