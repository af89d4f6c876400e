"""Looking before sleeping: only where the last wait was short, and nobody else wants the core."""

from collections.abc import Callable

from mpvm.abi.polling import POLL_NS, Polling

LOOK_NS = 1_000


class Core:
    """A core with a clock. A look takes LOOK_NS, and giving way takes what `others` says."""

    def __init__(self) -> None:
        self.now = 10**12
        self.others = 0
        self.looks = 0
        self.polling = Polling(lambda: self.now, self._give_way)

    def _give_way(self) -> None:
        self.now += self.others

    def wait(self, ns: int) -> bool:
        """A wait for something that is there after `ns`; whether it was found by looking."""
        due = self.now + ns
        found = self.polling.wait(self._look(due))
        if not found:
            self.now = max(self.now, due)
            self.polling.slept()
        return found

    def _look(self, due: int) -> Callable[[], bool]:
        def look() -> bool:
            self.looks += 1
            self.now += LOOK_NS
            return self.now >= due

        return look


def test_the_first_wait_sleeps() -> None:
    core = Core()
    assert not core.wait(POLL_NS // 2)
    assert core.looks == 0


def test_after_a_short_wait_it_looks_and_goes_on_looking_while_waits_are_short() -> None:
    core = Core()
    core.wait(POLL_NS // 2)
    assert [core.wait(POLL_NS // 2) for _ in range(3)] == [True] * 3


def test_it_looks_no_longer_than_the_limit_and_sleeps_from_then_on() -> None:
    core = Core()
    core.wait(POLL_NS // 2)
    assert not core.wait(POLL_NS * 3)
    assert core.looks <= POLL_NS // LOOK_NS
    looks = core.looks
    assert not core.wait(POLL_NS // 2)
    assert core.looks == looks
    assert core.wait(POLL_NS // 2)


def test_a_limit_of_nothing_is_never_to_look() -> None:
    core = Core()
    core.polling.limit_ns = 0
    assert [core.wait(1) for _ in range(3)] == [False] * 3
    assert core.looks == 0


def test_a_core_that_others_take_for_long_is_left_to_them_for_a_while() -> None:
    core = Core()
    core.wait(POLL_NS // 2)
    core.others = 3_000_000
    assert not core.wait(POLL_NS // 2)
    looks = core.looks
    assert looks == 1
    for _ in range(10):
        core.wait(POLL_NS // 2)
    assert core.looks == looks
    core.others = 0
    core.now += 1_000_000_000
    assert core.wait(POLL_NS // 2)


def test_a_thread_on_the_way_of_an_exit_may_have_the_core() -> None:
    core = Core()
    core.wait(POLL_NS // 2)
    core.others = 30_000
    assert [core.wait(POLL_NS // 2) for _ in range(3)] == [True] * 3


def test_one_that_is_not_enabled_never_looks() -> None:
    polling = Polling(lambda: 0, enabled=False)
    for _ in range(3):
        assert not polling.wait(lambda: True)
        polling.slept()
