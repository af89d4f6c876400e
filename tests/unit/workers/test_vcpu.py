"""The exit loop of a worker, with an accelerator and a link that are scripts."""

from collections import deque
from collections.abc import Sequence

import pytest

from mpvm.abi.errors import MpvmError, ProtocolError
from mpvm.abi.exits import ExitReason, IoDirection
from mpvm.abi.layout import Request, ResumeFlag, VcpuArea, VcpuMode
from mpvm.abi.messages import Kind, Message
from workers.vcpu import Worker


class Script:
    """An accelerator whose exits, and a link whose answers, are given; what the worker does is noted."""

    def __init__(self, exits: Sequence[int], answers: Sequence[tuple[Kind, int | None]]) -> None:
        self.area = VcpuArea()
        self.area.index = 3
        self._exits = deque(exits)
        self._answers = deque(answers)
        self.resets: list[bool] = []
        self.firmware = 0
        self.sent: list[tuple[int | str, ...]] = []
        self.data_at_entry: list[int] = []

    def run(self) -> int:
        self.data_at_entry.append(self.area.control.exit.data)
        return self._exits.popleft()

    def reset(self, *, load_state: bool) -> None:
        self.resets.append(load_state)

    def leave_firmware(self) -> None:
        assert self.resets
        self.firmware += 1

    def error(self) -> str:
        return "unicorn: it broke"

    def close(self) -> None:
        raise AssertionError("the loop does not own the accelerator")

    def send(self, kind: Kind, *fields: int | str) -> None:
        self.sent.append((kind, *fields))

    def receive(self) -> Message:
        kind, field = self._answers.popleft()
        return Message(kind, () if field is None else (field,))

    def serve(self) -> None:
        Worker(self.area, self, self).serve()  # type: ignore[arg-type]
        assert not self._exits, "exits that the worker did not come to"
        assert not self._answers, "answers that the worker did not wait for"


RESUME = (Kind.RESUME, 0)
STOP = (Kind.STOP, None)


def test_a_worker_waits_to_be_started() -> None:
    script = Script([], [STOP])
    script.serve()
    assert script.sent == []
    assert script.data_at_entry == []


def test_a_reset_comes_before_the_first_entry_and_only_when_asked() -> None:
    for flags, resets in (
        (ResumeFlag.RESET | ResumeFlag.LOAD_STATE, [True]),
        (ResumeFlag.RESET, [False]),
        (ResumeFlag(0), []),
    ):
        script = Script([ExitReason.SHUTDOWN], [(Kind.RESUME, int(flags)), STOP])
        script.serve()
        assert (script.resets, script.firmware) == (resets, 0)


def test_what_firmware_has_set_comes_after_the_reset() -> None:
    flags = ResumeFlag.RESET | ResumeFlag.LOAD_STATE | ResumeFlag.FIRMWARE
    script = Script([ExitReason.SHUTDOWN], [(Kind.RESUME, int(flags)), STOP])
    script.serve()
    assert (script.resets, script.firmware) == ([True], 1)


@pytest.mark.parametrize(
    "reason", [ExitReason.IO, ExitReason.MMIO, ExitReason.IRQ_WINDOW_OPEN, ExitReason.SHUTDOWN]
)
def test_an_exit_is_sent_with_its_information_and_its_answer_is_there_at_the_next_entry(reason: int) -> None:
    script = Script([reason, ExitReason.SHUTDOWN], [RESUME, (Kind.REPLY, 0xAB), STOP])
    information = script.area.control.exit
    information.direction = IoDirection.OUT
    information.guest_physical_address = 0x3F8
    information.size = 1
    information.data = 0x41
    script.serve()
    assert script.sent[0] == (Kind.EXIT, reason, IoDirection.OUT, 0x3F8, 1, 0x41)
    assert script.data_at_entry == [0x41, 0xAB]


def test_a_pause_is_told_and_lasts_until_the_vm_is_resumed() -> None:
    script = Script([ExitReason.INTR, ExitReason.SHUTDOWN], [RESUME, RESUME, STOP])
    script.area.request = Request.PAUSE
    script.serve()
    assert script.sent[0] == (Kind.PAUSED,)
    assert script.area.mode == VcpuMode.PAUSED
    assert len(script.data_at_entry) == 2


def test_a_paused_worker_can_be_reset() -> None:
    script = Script(
        [ExitReason.INTR, ExitReason.SHUTDOWN], [RESUME, (Kind.RESUME, int(ResumeFlag.RESET)), STOP]
    )
    script.area.request = Request.PAUSE
    script.serve()
    assert script.resets == [False]


def test_a_paused_worker_can_be_stopped() -> None:
    script = Script([ExitReason.INTR], [RESUME, STOP])
    script.area.request = Request.PAUSE
    script.serve()


def test_a_request_to_stop_needs_no_message() -> None:
    script = Script([ExitReason.INTR], [RESUME])
    script.area.request = Request.STOP | Request.PAUSE
    script.serve()
    assert script.sent == []


def test_a_kick_without_a_request_goes_on() -> None:
    script = Script([ExitReason.INTR, ExitReason.SHUTDOWN], [RESUME, STOP])
    script.serve()
    assert [message[0] for message in script.sent] == [Kind.EXIT]


def test_stop_instead_of_an_answer_ends_the_loop() -> None:
    script = Script([ExitReason.IO], [RESUME, STOP])
    script.serve()


def test_an_answer_that_nobody_asked_for_is_a_protocol_error() -> None:
    script = Script([], [(Kind.REPLY, 0)])
    with pytest.raises(ProtocolError, match="vCPU 3 got REPLY, RESUME or STOP is right"):
        script.serve()


def test_an_exit_that_nobody_serves_is_an_error_with_the_accelerators_words() -> None:
    script = Script([ExitReason.INTERNAL_ERROR], [RESUME])
    with pytest.raises(MpvmError, match="vCPU 3: exit 17: unicorn: it broke"):
        script.serve()
