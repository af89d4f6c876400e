"""The log's categories that are the CPU's: what is taken, and what is reset."""

import os
import re
from pathlib import Path

import pytest

from mpvm.abi.layout import Startup
from mpvm.abi.log import LogItem
from tests.unit.engine.apic import enable
from tests.unit.engine.long_mode import LongModeMachine
from tests.unit.engine.machine import Machine
from tests.unit.engine.real_mode import RealModeMachine


class Log:
    """What the engine logs of `mask`, as fields by name, without the prefix."""

    def __init__(self, machine: Machine, path: Path, mask: LogItem) -> None:
        self._path = path
        machine.engine.log(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), mask)

    def lines(self) -> list[str]:
        return self._path.read_text().splitlines()

    def events(self) -> list[tuple[str, int, int]]:
        """Kind, vector and error code of each event."""
        found = [re.match(r"mpvm: int: vCPU 0 (\w+) v=(\w\w) e=(\w{4}) cpl", line) for line in self.lines()]
        return [(each[1], int(each[2], 16), int(each[3], 16)) for each in found if each]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log"


def test_interrupts_and_nmis_are_logged_as_they_are_taken(long_mode: LongModeMachine, path: Path) -> None:
    long_mode.boot(f"{enable()} sti; mark; 1: jmp 1b")
    log = Log(long_mode, path, LogItem.INT)
    long_mode.mark()
    long_mode.interrupt(0x40)
    long_mode.event()
    long_mode.nmi()
    long_mode.event()
    assert log.events() == [("interrupt", 0x40, 0), ("NMI", 2, 0)]


def test_exceptions_and_int_are_logged_with_where_they_happen(long_mode: LongModeMachine, path: Path) -> None:
    long_mode.boot("fault: movq (0x500000), %rax; done", cpl=3)
    log = Log(long_mode, path, LogItem.INT)
    event = long_mode.event()
    [(kind, vector, _code)] = log.events()
    assert (kind, vector) == ("exception", event.vector)
    [line] = log.lines()
    assert f" cpl=3 IP={event.cs:04x}:{event.rip:016x} SP={event.ss:04x}:{event.rsp:016x} " in line


def test_int_n_is_no_exception(real_mode: RealModeMachine, path: Path) -> None:
    real_mode.boot("int $0x21; done")
    log = Log(real_mode, path, LogItem.INT)
    real_mode.event()
    assert log.events() == [("INT", 0x21, 0)]


def test_a_reset_and_an_init_are_logged_with_the_registers_before_them(
    real_mode: RealModeMachine, path: Path
) -> None:
    log = Log(real_mode, path, LogItem.CPU_RESET)
    real_mode.boot("movl $0x12345678, %ebx; mark; 1: jmp 1b")
    real_mode.mark()
    real_mode.area.inbox.startup = Startup.INIT
    real_mode.kick()
    real_mode.run()
    *resets, init = log.lines()
    assert resets
    assert all(line.startswith("mpvm: cpu_reset: vCPU 0 reset IP=") for line in resets)
    assert init.startswith("mpvm: cpu_reset: vCPU 0 INIT IP=0000:")
    assert " RBX=0000000012345678 " in init


def test_what_is_not_asked_for_is_not_logged(real_mode: RealModeMachine, path: Path) -> None:
    log = Log(real_mode, path, LogItem.CPU_RESET)
    real_mode.boot("int $0x21; done")
    real_mode.event()
    assert log.events() == []
