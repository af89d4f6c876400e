"""What a measurement leaves can be read, and put together with others."""

import pytest

from benchmarks.contenders import MPVM, QEMU
from benchmarks.document import Document, describe_host, merge
from benchmarks.results import Result


def _document(*results: Result, failures: tuple[str, ...] = ()) -> Document:
    return Document(list(results), list(failures), describe_host(), {"runs": 3})


def _fork(mpvm: list[float], qemu: list[float]) -> Result:
    return Result("fork", 2, "kernel", "fork, exit, wait", "/s", True, {MPVM: mpvm, QEMU: qemu})


def test_json_is_read_back_as_it_was_written() -> None:
    document = _document(_fork([800.0], [400.0]), failures=("Linux with 8 vCPUs on qemu: hung",))
    assert Document.from_json(document.to_json()) == document


def test_json_of_another_version_is_refused() -> None:
    with pytest.raises(ValueError, match="version 99 of the results: 1 is right"):
        Document.from_json('{"version": 99}')


def test_values_of_several_are_put_together_by_row_and_vcpus() -> None:
    other = Result("fork", 4, "kernel", "fork, exit, wait", "/s", True, {MPVM: [1.0]})
    first = _document(_fork([800.0], [400.0]), failures=("one",))
    merged = merge([first, _document(_fork([900.0], [500.0]), other, failures=("two",))])
    assert merged.results == [_fork([800.0, 900.0], [400.0, 500.0]), other]
    assert merged.failures == ["one", "two"]
    assert first.results == [_fork([800.0], [400.0])]


def test_the_host_is_described() -> None:
    assert describe_host()["cpus"] >= 1
