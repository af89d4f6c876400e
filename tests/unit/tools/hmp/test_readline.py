"""The monitor's line editor."""

import pytest

from mpvm.tools.hmp.readline import LineEditor


class Editor:
    def __init__(self, *words: str) -> None:
        self.shown = ""
        self.lines: list[str] = []
        self.editor = LineEditor(self.show, self.lines.append, lambda line: [*words])
        self.editor.prompt = "> "

    def show(self, text: str) -> None:
        self.shown += text


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ("stop\r", "stop"),
        ("stop\n", "stop"),
        ("stp\x1b[Do\r", "stop"),
        ("sttop\x7f\x7f\x08op\r", "stop"),
        ("top\x01s\x05!\r", "stop!"),
        ("xstop\x1b[H\x1b[3~\r", "stop"),
        ("stop it\x17\r", "stop "),
        ("word\x17\r", ""),
        ("nonsense\x15stop\r", "stop"),
        ("stopped\x1b[D\x1b[D\x1b[D\x0b\r", "stop"),
        ("st\x1b[15~op\r", "stop"),
        ("\x1b[C\x7f\x1b[Dstop\x1b[F\x1b[C\r", "stop"),
    ],
)
def test_keys_edit_the_line(keys: str, line: str) -> None:
    one = Editor()
    one.editor.feed(keys)
    assert one.lines == [line]


def test_lines_come_back_from_the_history() -> None:
    one = Editor()
    one.editor.feed("first\rsecond\r\x1b[A\x1b[A\r\x10\x0ethird\r\x1b[A\x1b[A\x1b[A\x1b[A\x1b[B\r")
    assert one.lines == ["first", "second", "first", "third", "second"]


def test_what_is_typed_is_seen_with_the_cursor_where_it_is() -> None:
    one = Editor()
    one.editor.show()
    one.editor.feed("ac\x1b[Db")
    assert one.shown == "> ac\x1b[Dbc\x1b[D"
    one.shown = ""
    one.editor.show()
    assert one.shown == "> abc\x1b[D"


def test_a_word_is_completed_where_it_can_be_one_alone() -> None:
    one = Editor("status")
    one.editor.feed("info st\t\r")
    assert one.lines == ["info status "]
    several = Editor("stop", "sum")
    several.editor.feed("s\t")
    assert several.shown == "s\nstop sum\n> s"
