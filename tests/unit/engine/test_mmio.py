"""Accesses to what is not RAM exit with the guest-physical address (KVM_EXIT_MMIO)."""

import pytest

from mpvm.abi.exits import ExitReason, IoDirection
from tests.unit.engine.long_mode import LongModeMachine
from tests.unit.engine.machine import DONE_PORT, EVENT_PORT, MMIO_BASE, Exit
from tests.unit.engine.real_mode import RealModeMachine

UD = 6
REGISTER = MMIO_BASE + 0x10
SIZES = [(1, "movb %bl, (%rsi)"), (2, "movw %bx, (%rsi)"), (4, "movl %ebx, (%rsi)")]
LOADS = [(1, "movb (%rsi), %bl"), (2, "movw (%rsi), %bx"), (4, "movl (%rsi), %ebx")]


def mmio(direction: IoDirection, size: int, data: int, address: int = REGISTER) -> Exit:
    return Exit(ExitReason.MMIO, direction, address, size, data)


@pytest.mark.parametrize(("size", "instruction"), SIZES)
def test_a_store_exits_with_address_size_and_value(
    long_mode: LongModeMachine, size: int, instruction: str
) -> None:
    value = 0xF1E2D3C4B5A69788
    long_mode.boot(f"movl ${REGISTER:#x}, %esi; movabsq ${value:#x}, %rbx; {instruction}; done")
    assert long_mode.run() == mmio(IoDirection.OUT, size, value & (1 << 8 * size) - 1)
    long_mode.finish()


@pytest.mark.parametrize(("size", "instruction"), LOADS)
def test_a_load_gets_the_reply(long_mode: LongModeMachine, size: int, instruction: str) -> None:
    long_mode.boot(f"movl ${REGISTER:#x}, %esi; movabsq $0x1111111111111111, %rbx; {instruction}; done")
    assert long_mode.run() == mmio(IoDirection.IN, size, 0)
    mask = (1 << 8 * size) - 1
    kept = 0 if size >= 4 else 0x1111111111111111 & ~mask
    assert long_mode.finish(reply=0xF1E2D3C4B5A69788).rbx == kept | (0xF1E2D3C4B5A69788 & mask)


def test_a_sign_extending_load_extends_the_reply(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"movl ${REGISTER:#x}, %esi; movsbq (%rsi), %rbx; done")
    long_mode.run_until(ExitReason.MMIO)
    assert long_mode.finish(reply=0x80).rbx == 0xFFFFFFFFFFFFFF80


@pytest.mark.parametrize("prefix", ["", "lock"])
def test_a_read_modify_write_reads_once_and_writes_once(long_mode: LongModeMachine, prefix: str) -> None:
    long_mode.boot(f"movl ${REGISTER:#x}, %esi; {prefix} addl $5, (%rsi); pushfq; popq %rbx; done")
    assert long_mode.run() == mmio(IoDirection.IN, 4, 0)
    assert long_mode.run(reply=0xFFFFFFFD) == mmio(IoDirection.OUT, 4, 2)
    assert long_mode.finish().rbx & 1 == 1, "the sum has carried"


def test_xchg_reads_and_writes(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"movl ${REGISTER:#x}, %esi; movl $0x1234, %ebx; xchgl %ebx, (%rsi); done")
    assert long_mode.run() == mmio(IoDirection.IN, 4, 0)
    assert long_mode.run(reply=0x5678) == mmio(IoDirection.OUT, 4, 0x1234)
    assert long_mode.finish().rbx == 0x5678


def test_an_8_byte_store_is_two_of_4_bytes_low_half_first(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"movl ${REGISTER:#x}, %esi; movabsq $0xf1e2d3c4b5a69788, %rbx; movq %rbx, (%rsi); done")
    assert long_mode.run() == mmio(IoDirection.OUT, 4, 0xB5A69788)
    assert long_mode.run() == mmio(IoDirection.OUT, 4, 0xF1E2D3C4, REGISTER + 4)
    long_mode.finish()


def test_an_8_byte_load_is_two_of_4_bytes_low_half_first(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"movl ${REGISTER:#x}, %esi; pushq (%rsi); popq %rbx; done")
    assert long_mode.run() == mmio(IoDirection.IN, 4, 0)
    assert long_mode.run(reply=0x89ABCDEF) == mmio(IoDirection.IN, 4, 0, REGISTER + 4)
    assert long_mode.finish(reply=0x01234567).rbx == 0x0123456789ABCDEF


def test_rep_movs_from_registers_to_ram_is_one_exit_an_element(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"cld; movl ${REGISTER:#x}, %esi; movl $0x30000, %edi; movl $3, %ecx; rep movsl; done")
    for i in range(3):
        assert long_mode.run(reply=0x1000 + i - 1) == mmio(IoDirection.IN, 4, 0, REGISTER + 4 * i)
    state = long_mode.finish(reply=0x1002)
    assert [long_mode.load(0x30000 + 4 * i, 4) for i in range(3)] == [0x1000, 0x1001, 0x1002]
    assert (state.rcx, state.rsi) == (0, REGISTER + 12)


def test_the_hole_below_1_mib_is_not_ram(real_mode: RealModeMachine) -> None:
    real_mode.boot("movw $0xb800, %ax; movw %ax, %ds; movb $0x41, 2; movb 3, %bl; done")
    assert real_mode.run() == mmio(IoDirection.OUT, 1, 0x41, 0xB8002)
    assert real_mode.run() == mmio(IoDirection.IN, 1, 0, 0xB8003)
    assert real_mode.finish(reply=0x07).rbx == 0x07
    assert real_mode.load(0xB8002, 1) == 0


def test_ram_makes_no_exit(long_mode: LongModeMachine) -> None:
    long_mode.boot("movl $0x30000, %esi; movq $7, (%rsi); lock incq (%rsi); movq (%rsi), %rbx; done")
    assert long_mode.finish().rbx == 8
    assert long_mode.exits(ExitReason.MMIO) == 0


def test_exits_are_counted_by_reason(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"movl ${REGISTER:#x}, %esi; movl %eax, (%rsi); movl (%rsi), %eax; mark; done")
    long_mode.run()
    long_mode.run()
    long_mode.mark()
    long_mode.finish()
    assert (long_mode.exits(ExitReason.MMIO), long_mode.exits(ExitReason.IO)) == (2, 2)


def test_code_can_be_fetched_from_registers(long_mode: LongModeMachine) -> None:
    code = long_mode.place("movl $0x10000, %edx; movb $0x42, %bl; jmp *%rcx", 64, 0x40000).code
    long_mode.boot(f"movl ${REGISTER:#x}, %eax; leaq back(%rip), %rcx; jmp *%rax; back: done")
    last = long_mode.run()
    assert last == mmio(IoDirection.IN, last.size, 0)
    while last.reason is ExitReason.MMIO:
        offset = last.address - REGISTER
        last = long_mode.run(int.from_bytes(code[offset : offset + last.size], "little"))
    state = long_mode.pause()
    assert (last.address, state.rbx, state.rdx) == (DONE_PORT, 0x42, 0x10000)


def test_a_jump_to_where_nobody_answers_is_ud(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"movl ${REGISTER:#x}, %eax; jmp *%rax")
    last = long_mode.run()
    while last.reason is ExitReason.MMIO:
        last = long_mode.run(reply=0xFFFFFFFFFFFFFFFF)
    event = long_mode.last_event()
    assert (last.address, event.vector, event.rip) == (EVENT_PORT, UD, REGISTER)


# --- Where no device is, and the I/O APIC ---------------------------------------------------------------


def device_at(machine: LongModeMachine, start: int, end: int) -> None:
    machine.vm.device_range[0].start, machine.vm.device_range[0].end = start, end
    machine.vm.device_range_count, machine.vm.device_ranges_seq = 1, 2


def test_where_no_device_is_nobody_is_asked(long_mode: LongModeMachine) -> None:
    device_at(long_mode, MMIO_BASE + 0x1000, MMIO_BASE + 0x2000)
    long_mode.boot(f"""
        movl ${REGISTER:#x}, %esi
        movl $1, (%rsi)
        movb (%rsi), %bl
        movq (%rsi), %rcx
        done
    """)
    state = long_mode.finish()
    assert (state.rbx, state.rcx) == (0xFF, 0xFFFFFFFFFFFFFFFF)
    assert long_mode.exits(ExitReason.MMIO) == 0


@pytest.mark.parametrize("address", [MMIO_BASE + 0xFFE, MMIO_BASE + 0x1000, MMIO_BASE + 0x1FFF])
def test_a_device_is_asked_for_an_access_that_touches_it(long_mode: LongModeMachine, address: int) -> None:
    device_at(long_mode, MMIO_BASE + 0x1000, MMIO_BASE + 0x2000)
    long_mode.boot(f"movl ${address:#x}, %esi; movl (%rsi), %ebx; done")
    assert long_mode.run().reason is ExitReason.MMIO


@pytest.mark.parametrize(("field", "value"), [("device_ranges_seq", 3), ("precise_exits", 1)])
def test_the_coordinator_is_asked_while_the_ranges_change_and_with_precise_exits(
    long_mode: LongModeMachine, field: str, value: int
) -> None:
    device_at(long_mode, MMIO_BASE + 0x1000, MMIO_BASE + 0x2000)
    setattr(long_mode.vm, field, value)
    long_mode.boot(f"movl ${REGISTER:#x}, %esi; movl (%rsi), %ebx; done")
    assert long_mode.run().reason is ExitReason.MMIO


def test_the_io_apics_registers_are_read_without_it_and_written_to_it(long_mode: LongModeMachine) -> None:
    long_mode.vm.ioapic_base = MMIO_BASE
    long_mode.vm.ioapic_registers[0x10] = 0x12345
    long_mode.boot(f"""
        movl ${MMIO_BASE:#x}, %esi
        movl $0x110, (%rsi)
        movl (%rsi), %ebx
        movl 0x10(%rsi), %ecx
        movl $0x50, (%rsi)
        movl 0x10(%rsi), %edi
        movl $0x7, 0x10(%rsi)
        movb (%rsi), %bh
        done
    """)
    assert long_mode.run() == mmio(IoDirection.OUT, 4, 7, MMIO_BASE + 0x10)
    assert long_mode.vm.ioapic_select == 0x50
    assert long_mode.run() == mmio(IoDirection.IN, 1, 0, MMIO_BASE)
    state = long_mode.finish()
    assert (state.rbx & 0xFF, state.rcx, state.rdi) == (0x10, 0x12345, 0)
