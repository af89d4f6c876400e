"""Exits that leave the vCPU between two instructions, whose registers may then be changed."""

import pytest

from mpvm.abi import layout
from mpvm.abi.exits import ExitReason, IoDirection
from mpvm.cpu.state import CpuState
from tests.unit.engine.long_mode import LongModeMachine
from tests.unit.engine.machine import MMIO_BASE, Machine
from tests.unit.engine.real_mode import RealModeMachine

HOLE = 0xA0000


@pytest.fixture
def precise(real_mode: RealModeMachine) -> RealModeMachine:
    real_mode.vm.precise_exits = 1
    return real_mode


def registers(machine: Machine) -> CpuState:
    return CpuState.fetch(machine.area.control.guest)


def test_the_state_at_a_port_exit_is_that_before_the_instruction(precise: RealModeMachine) -> None:
    precise.boot("movb $7, %bl\naddb $1, %bl\nat: inb $0x10, %al\nafter: movb %al, %cl\ndone")
    last = precise.run_until(ExitReason.IO)
    assert (last.address, last.direction) == (0x10, IoDirection.IN)
    assert (registers(precise).rip, registers(precise).rbx) == (precise.label("at"), 8)
    assert not registers(precise).rflags & 0x8D5 & ~0x4, "the flags of ADD: none but perhaps parity"
    assert precise.finish(reply=0x5A).rcx == 0x5A


def test_an_answered_instruction_is_complete_when_a_request_stops_the_vcpu(precise: RealModeMachine) -> None:
    precise.boot("inb $0x10, %al\nafter: incb %al\ndone")
    precise.run_until(ExitReason.IO)
    precise.area.request = layout.Request.PAUSE
    precise.run_until(ExitReason.INTR, reply=0x41)
    precise.area.request = 0
    assert (registers(precise).rip, registers(precise).rax & 0xFF) == (precise.label("after"), 0x41)
    assert precise.finish().rax & 0xFF == 0x42


def test_a_write_is_seen_once(precise: RealModeMachine) -> None:
    precise.boot("movw $3, %cx\nmovw $0x600, %si\nrep outsb\nmovb %al, 0x2000\ndone", rdx=0x10)
    precise.write(0x600, b"abc")
    assert [precise.run_to_port(0x10) for _ in range(3)] == list(b"abc")
    assert precise.finish().rcx == 0


def test_registers_that_were_changed_at_an_exit_hold(precise: RealModeMachine) -> None:
    precise.boot("outb %al, $0x10\nhlt\nelsewhere: movb %al, %bl\ndone")
    precise.run_until(ExitReason.IO)
    guest = precise.area.control.guest
    guest.rip, guest.gpr[0] = precise.label("elsewhere"), 0x77
    precise.engine.load_state()
    assert precise.finish().rbx & 0xFF == 0x77


def test_a_memory_exit_is_answered_the_same_way(precise: RealModeMachine) -> None:
    precise.boot(f"movw ${HOLE >> 4:#x}, %ax\nmovw %ax, %ds\nat: addw $5, 4\nafter: movw 6, %bx\ndone")
    last = precise.run_until(ExitReason.MMIO)
    assert (last.address, last.size, last.direction) == (HOLE + 4, 2, IoDirection.IN)
    assert registers(precise).rip == precise.label("at")
    last = precise.run_until(ExitReason.MMIO, reply=0x30)
    assert (last.address, last.direction, last.data) == (HOLE + 4, IoDirection.OUT, 0x35)
    assert precise.run_until(ExitReason.MMIO).address == HOLE + 6
    assert precise.finish(reply=9).rbx & 0xFFFF == 9


def test_an_instruction_of_many_accesses_gets_each_answer(long_mode: LongModeMachine) -> None:
    long_mode.vm.precise_exits = 1
    long_mode.boot(f"mov ${MMIO_BASE}, %rsi\nmovdqu (%rsi), %xmm0\nmovq %xmm0, %rbx\ndone")
    values = {}
    last = long_mode.run()
    while last.reason is ExitReason.MMIO:
        assert last.address not in values, "each is asked for once"
        values[last.address] = last.size
        last = long_mode.run(reply=last.address & 0xFF)
    assert sum(values.values()) == 16
    low = b"".join((at & 0xFF).to_bytes(size, "little") for at, size in sorted(values.items()))[:8]
    state = long_mode.pause()
    assert state.rbx == int.from_bytes(low, "little")


def test_an_acknowledge_cycle_waits_between_two_instructions(precise: RealModeMachine) -> None:
    precise.boot("sti\nnop\nagain: jmp again")
    precise.area.inbox.extint = 1
    precise.area.inbox.any = 1
    precise.run_until(ExitReason.IRQ_WINDOW_OPEN)
    assert registers(precise).rflags & 0x200
    assert precise.event(reply=0x100 | 0x21).vector == 0x21
