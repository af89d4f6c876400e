"""The A20 gate: an OR of its inputs."""

from mpvm.hw.misc.a20 import A20Gate


def test_the_line_closes_when_the_last_input_does_and_opens_with_the_first() -> None:
    heard: list[bool] = []
    gate = A20Gate(heard.append)
    keyboard, port92 = gate.input(), gate.input()
    keyboard(False)
    assert (heard, gate.open) == ([], True)
    port92(False)
    assert (heard, gate.open) == ([False], False)
    keyboard(True)
    port92(True)
    assert (heard, gate.open) == ([False, True], True)


def test_driving_an_input_to_the_level_it_has_is_not_heard() -> None:
    heard: list[bool] = []
    only = A20Gate(heard.append).input()
    only(True)
    only(False)
    only(False)
    assert heard == [False]
