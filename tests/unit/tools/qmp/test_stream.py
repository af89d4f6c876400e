"""Cutting a stream into JSON values, wherever it is cut itself."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpvm.tools.qmp.stream import JsonStream

_TEXT = st.text(max_size=6)
_VALUES = _TEXT | st.integers() | st.lists(_TEXT, max_size=2) | st.dictionaries(_TEXT, _TEXT, max_size=2)


@settings(max_examples=50)
@given(
    st.lists(st.dictionaries(_TEXT, _VALUES, max_size=3), max_size=3),
    st.sampled_from(["", "\n", "\r\n", "  "]),
    st.integers(1, 9),
)
def test_every_object_comes_out_whole_wherever_the_stream_is_cut(
    objects: list[dict[str, object]], between: str, piece: int
) -> None:
    data = "".join(json.dumps(each) + between for each in objects).encode()
    stream = JsonStream()
    got = [value for at in range(0, len(data), piece) for value in stream.feed(data[at : at + piece])]
    assert [json.loads(value) for value in got] == objects


@pytest.mark.parametrize(
    ("data", "values"),
    [
        (b"nonsense\n{}", [b"nonsense", b"{}"]),
        (b"\n \r\n{}\n", [b"{}"]),
        (b"}{}", [b"}", b"{}"]),
        (rb'{"a": "}\"}"}{', [rb'{"a": "}\"}"}']),
    ],
)
def test_what_is_no_object_comes_out_by_itself(data: bytes, values: list[bytes]) -> None:
    assert JsonStream().feed(data) == values


def test_its_length_is_what_is_not_whole_yet() -> None:
    stream = JsonStream()
    stream.feed(b'{}{"a')
    assert len(stream) == 3
