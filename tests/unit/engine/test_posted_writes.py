"""Posted writes, shadowed reads and the doorbell: port accesses that do not stop the vCPU."""

import contextlib
import os
import time

import pytest

from mpvm.abi import layout
from mpvm.abi.exits import ExitReason, IoDirection
from tests.unit.engine.machine import Machine
from tests.unit.engine.real_mode import RealModeMachine

PORT = 0x3F8
OUT_THREE = f"""
    movw ${PORT}, %dx
    movl $0x89abcdef, %eax
    outb %al, %dx
    outw %ax, %dx
    outl %eax, %dx
    done
"""


def post(machine: Machine, port: int, size: int = 4) -> None:
    """Writes to the byte ports of a register of `size` need not be waited for."""
    for byte in range(size):
        machine.vm.port_posted[port + byte] = 1


def shadow(machine: Machine, port: int, slot: int, **fields: int) -> None:
    for name, value in fields.items():
        setattr(machine.vm.shadow[slot], name, value)
    machine.vm.port_shadow[port] = slot + 1


def rings(machine: Machine) -> int:
    """How often the doorbell has been rung since the last look."""
    with contextlib.suppress(BlockingIOError):
        return os.eventfd_read(machine.doorbell)
    return 0


def test_a_write_that_nobody_hears_goes_nowhere(real_mode: RealModeMachine) -> None:
    post(real_mode, PORT)
    real_mode.vm.port_posted[PORT] = layout.PortWrite.IGNORED
    real_mode.boot(OUT_THREE)
    real_mode.finish()
    entries = [real_mode.vm.posted[i] for i in range(2)]
    assert [(e.value, e.size) for e in entries] == [(0xCDEF, 2), (0x89ABCDEF, 4)], "a neighbour hears"
    assert real_mode.area.counters.posted_writes == 2


def test_where_there_is_no_device_nobody_is_asked(real_mode: RealModeMachine) -> None:
    for port in range(PORT, PORT + 6):
        shadow(real_mode, port, 0, kind=layout.ShadowKind.NOBODY)
        real_mode.vm.port_posted[port] = layout.PortWrite.NOBODY
    real_mode.boot(f"""
        movw ${PORT}, %dx
        xorl %eax, %eax
        outl %eax, %dx
        inb %dx, %al
        movl %eax, %ebx
        inw %dx, %ax
        movl %eax, %ecx
        inl %dx, %eax
        movl %eax, %esi
        movw ${PORT + 4}, %dx
        inl %dx, %eax
        movl %eax, %edi
        done
    """)
    last = real_mode.run()
    assert (last.reason, last.direction, last.address) == (ExitReason.IO, IoDirection.IN, PORT + 4)
    state = real_mode.finish(reply=0x12345678)
    assert (state.rbx, state.rcx, state.rsi, state.rdi) == (0xFF, 0xFFFF, 0xFFFFFFFF, 0x12345678)
    assert real_mode.area.counters.posted_writes == 0


def test_posted_writes_land_in_the_ring_in_ticket_order_and_do_not_exit(real_mode: RealModeMachine) -> None:
    post(real_mode, PORT)
    real_mode.boot(OUT_THREE)
    before = real_mode.exits(ExitReason.IO)
    real_mode.finish()
    entries = [real_mode.vm.posted[i] for i in range(3)]
    assert [(e.seq, e.address, e.value, e.size) for e in entries] == [
        (1, PORT, 0xEF, 1),
        (2, PORT, 0xCDEF, 2),
        (3, PORT, 0x89ABCDEF, 4),
    ]
    assert [(e.kind, e.vcpu) for e in entries] == [(layout.PostedKind.PORT, 0)] * 3
    assert real_mode.vm.posted_tail == 3
    assert real_mode.vm.posted[3].seq == 0
    assert real_mode.area.counters.posted_writes == 3
    assert real_mode.exits(ExitReason.IO) - before == 1, "only the write to DONE"


def test_a_write_that_reaches_a_port_that_is_not_posted_exits(real_mode: RealModeMachine) -> None:
    post(real_mode, PORT, 3)
    real_mode.boot(OUT_THREE)
    assert real_mode.run()[2:] == (PORT, 4, 0x89ABCDEF)
    assert real_mode.vm.posted_tail == 2


def test_only_the_ports_that_say_so_are_posted(real_mode: RealModeMachine) -> None:
    post(real_mode, PORT + 1)
    real_mode.boot(OUT_THREE)
    assert real_mode.run().address == PORT
    assert real_mode.vm.posted_tail == 0


def test_a_read_of_a_posted_port_exits(real_mode: RealModeMachine) -> None:
    post(real_mode, PORT)
    real_mode.boot(f"movw ${PORT}, %dx; inb %dx, %al; done")
    last = real_mode.run_until(ExitReason.IO)
    assert (last.address, last.direction) == (PORT, IoDirection.IN)


def test_tickets_go_on_round_the_ring(real_mode: RealModeMachine) -> None:
    start = 5 * layout.POSTED_RING_ENTRIES - 1
    real_mode.vm.posted_head = real_mode.vm.posted_tail = start
    post(real_mode, PORT)
    real_mode.boot(OUT_THREE)
    real_mode.finish()
    ring = real_mode.vm.posted
    assert [ring[i].seq for i in (layout.POSTED_RING_ENTRIES - 1, 0, 1)] == [start + 1, start + 2, start + 3]
    assert [ring[i].value for i in (layout.POSTED_RING_ENTRIES - 1, 0, 1)] == [0xEF, 0xCDEF, 0x89ABCDEF]


def test_a_full_ring_exits_instead(real_mode: RealModeMachine) -> None:
    real_mode.vm.posted_head, real_mode.vm.posted_tail = 7, 7 + layout.POSTED_RING_ENTRIES - 1
    post(real_mode, PORT)
    real_mode.boot(OUT_THREE)
    last = real_mode.run_until(ExitReason.IO)
    assert (last.address, last.size, last.data) == (PORT, 2, 0xCDEF), "the first has had the last place"
    assert real_mode.vm.posted_tail == 7 + layout.POSTED_RING_ENTRIES


def test_writes_are_posted_again_when_the_ring_has_room_again(real_mode: RealModeMachine) -> None:
    real_mode.vm.posted_tail = layout.POSTED_RING_ENTRIES
    post(real_mode, PORT)
    real_mode.boot(OUT_THREE)
    real_mode.run_until(ExitReason.IO)
    real_mode.vm.posted_head = layout.POSTED_RING_ENTRIES
    real_mode.finish()
    assert real_mode.vm.posted_tail == layout.POSTED_RING_ENTRIES + 2


def test_the_doorbell_is_rung_once_when_it_is_armed(real_mode: RealModeMachine) -> None:
    real_mode.vm.posted_armed = 1
    post(real_mode, PORT)
    real_mode.boot(OUT_THREE)
    real_mode.finish()
    assert rings(real_mode) == 1
    assert real_mode.vm.posted_armed == 0


def test_the_doorbell_is_silent_when_it_is_not_armed(real_mode: RealModeMachine) -> None:
    post(real_mode, PORT)
    real_mode.boot(OUT_THREE)
    real_mode.finish()
    assert rings(real_mode) == 0


def test_a_shadowed_constant_is_read_without_an_exit(real_mode: RealModeMachine) -> None:
    shadow(real_mode, 0x3FD, 2, kind=layout.ShadowKind.CONSTANT, value=0x60)
    real_mode.boot("movw $0x3fd, %dx; movl $0x11223344, %eax; inb %dx, %al; done")
    assert real_mode.finish().rax == 0x11223360
    assert real_mode.area.counters.shadowed_reads == 1


@pytest.mark.parametrize(("suffix", "register", "value"), [("b", "al", 0x112233CD), ("w", "ax", 0x1122ABCD)])
def test_a_shadowed_counter_is_cut_to_the_access(
    real_mode: RealModeMachine, suffix: str, register: str, value: int
) -> None:
    shadow(real_mode, 0x608, 0, kind=layout.ShadowKind.COUNTER, value=0x89EFABCD, mask=0xFFFFFFFF)
    real_mode.boot(f"movw $0x608, %dx; movl $0x11223344, %eax; in{suffix} %dx, %{register}; done")
    assert real_mode.finish().rax == value


def test_a_wide_read_of_a_shadowed_byte_register_exits(real_mode: RealModeMachine) -> None:
    shadow(real_mode, 0x3FD, 0, kind=layout.ShadowKind.CONSTANT, value=0x60)
    real_mode.boot("movw $0x3fd, %dx; inw %dx, %ax; done")
    assert real_mode.run_until(ExitReason.IO).size == 2


def test_a_shadowed_counter_runs_with_the_monotonic_clock(real_mode: RealModeMachine) -> None:
    base = time.monotonic_ns() - 10**9
    shadow(
        real_mode,
        0x608,
        1,
        kind=layout.ShadowKind.COUNTER,
        value=100,
        base_ns=base,
        hz=3579545,
        mask=0xFFFFFF,
    )
    real_mode.boot("movw $0x608, %dx; inl %dx, %eax; movl %eax, %ebx; inl %dx, %eax; done")
    state = real_mode.finish()
    limit = 100 + (time.monotonic_ns() - base) * 3579545 // 10**9
    assert 100 + 3579545 <= state.rbx <= state.rax <= limit


def test_a_shadowed_counter_wraps_at_its_mask(real_mode: RealModeMachine) -> None:
    shadow(
        real_mode, 0x608, 0, kind=layout.ShadowKind.COUNTER, value=0x1FFFFF5, base_ns=0, hz=0, mask=0xFFFFFF
    )
    real_mode.boot("movw $0x608, %dx; inl %dx, %eax; done")
    assert real_mode.finish().rax == 0xFFFFF5


def test_a_shadow_of_no_kind_exits(real_mode: RealModeMachine) -> None:
    shadow(real_mode, 0x3FD, 0, kind=layout.ShadowKind.NONE, value=0x60)
    real_mode.boot("movw $0x3fd, %dx; inb %dx, %al; done")
    assert real_mode.run_until(ExitReason.IO).address == 0x3FD
    assert real_mode.finish(reply=0x20).rax == 0x20
    assert real_mode.area.counters.shadowed_reads == 0


def test_a_write_to_a_shadowed_port_exits(real_mode: RealModeMachine) -> None:
    shadow(real_mode, 0x3FD, 0, kind=layout.ShadowKind.CONSTANT, value=0x60)
    real_mode.boot("movw $0x3fd, %dx; outb %al, %dx; done")
    last = real_mode.run_until(ExitReason.IO)
    assert (last.address, last.direction) == (0x3FD, IoDirection.OUT)
