"""The log and its categories."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mpvm.abi.errors import ConfigError
from mpvm.abi.log import LogItem
from mpvm.memory.address_space import AddressSpace
from mpvm.memory.region import Region
from mpvm.trace import log


@pytest.fixture(autouse=True)
def off() -> Iterator[None]:
    yield
    log.close_log()


def test_nothing_is_logged_unless_asked_for(capfd: pytest.CaptureFixture[str]) -> None:
    log.log_mask(LogItem.GUEST_ERRORS, "never")
    log.set_log([])
    log.log_mask(LogItem.GUEST_ERRORS, "never")
    assert not log.log_enabled(LogItem.GUEST_ERRORS)
    assert capfd.readouterr().err == ""


def test_every_category_can_be_asked_for_by_its_name(capfd: pytest.CaptureFixture[str]) -> None:
    for name, (item, _text) in log.LOG_ITEMS.items():
        log.set_log([name])
        for each in LogItem:
            log.log_mask(each, "%d is %s", 4, "four")
        assert log.log_enabled(item)
        assert capfd.readouterr().err == f"mpvm: {name}: 4 is four\n"


def test_the_workers_categories_are_known_as_such() -> None:
    log.set_log(["int", "guest_errors"])
    assert log.workers_mask() == LogItem.INT


def test_an_unknown_category_is_named_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"log: 'everything' is no category, .*guest_errors"):
        log.set_log(["everything"])


def test_the_log_may_go_to_a_file_that_is_made_anew(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "log"
    path.write_text("old\n")
    log.set_log(["guest_errors"], path)
    log.log_mask(LogItem.GUEST_ERRORS, "one")
    log.close_log()
    log.log_mask(LogItem.GUEST_ERRORS, "after the end")
    assert path.read_text() == "mpvm: guest_errors: one\n"
    assert capfd.readouterr().err == ""


def test_a_file_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"logfile: .*: No such file or directory, a file that can be"):
        log.set_log(["guest_errors"], tmp_path / "absent" / "log")


def test_an_access_where_nothing_answers_is_a_guest_error_once(capfd: pytest.CaptureFixture[str]) -> None:
    space = AddressSpace("I/O ports", 0x10000)
    space.map(0x10, Region("byte", 1, lambda offset, size: 0x55, lambda offset, size, value: None))
    log.set_log(["guest_errors"])
    assert space.read(0x10, 1) == 0x55
    # The first byte is somebody's: no error of the guest's.
    assert space.read(0x10, 4) == 0xFFFFFF55
    assert capfd.readouterr().err == ""
    assert space.read(0x20, 4) == 0xFFFFFFFF
    space.write(0x30, 2, 0)
    assert capfd.readouterr().err == (
        "mpvm: guest_errors: I/O ports: a read of 4 bytes at 0x20, where nothing answers\n"
        "mpvm: guest_errors: I/O ports: a write of 2 bytes at 0x30, where nothing answers\n"
    )
