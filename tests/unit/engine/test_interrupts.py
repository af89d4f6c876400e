"""Interrupts from the inbox: when they are taken, in what order, and how HLT ends (SDM vol. 3)."""

import threading
import time

import pytest

from mpvm.abi.exits import ExitReason, IoDirection
from mpvm.abi.layout import VcpuMode
from tests.unit.engine.apic import EOI, ICR_LOW, SELF, SVR, TPR, enable, msr_write, read, write
from tests.unit.engine.long_mode import (
    IST1_TOP,
    KERNEL_CS,
    RFLAGS_IF,
    RSP0_TOP,
    STACK_TOP,
    USER_CS,
    USER_STACK_TOP,
    LongModeMachine,
)
from tests.unit.engine.real_mode import RealModeMachine

# What an EOI lets in comes at the next block, as in QEMU.
END = write(EOI, 0) + "jmp 7f; 7: "


def test_an_interrupt_is_delivered_with_if_set(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{enable()} sti; mark; 1: pause; jmp 1b")
    long_mode.mark()
    long_mode.interrupt(0x40)
    event = long_mode.event()
    assert (event.vector, event.error_code, event.cs, event.rsp) == (0x40, 0, KERNEL_CS, STACK_TOP)
    assert event.rflags & RFLAGS_IF
    assert long_mode.area.counters.interrupts == 1
    assert bytes(long_mode.area.inbox.vector) == bytes(256)


def test_a_handler_runs_with_if_clear(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{enable()} sti; mark; 1: pause; jmp 1b; handler: done")
    long_mode.set_gate(0x40, long_mode.label("handler"))
    long_mode.mark()
    long_mode.interrupt(0x40)
    assert not long_mode.finish().rflags & RFLAGS_IF


def test_an_interrupt_waits_while_if_is_clear(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{enable()} mark; jmp 1f; 1: mark; jmp 1f; 1: sti; nop; at: nop; done")
    long_mode.mark()
    long_mode.interrupt(0x40)
    long_mode.mark()
    event = long_mode.event()
    assert (event.vector, event.rip) == (0x40, long_mode.label("at"))


def test_an_interrupt_wakes_hlt_and_returns_behind_it(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{enable()} mark; sti; hlt; after: done")
    long_mode.mark()
    long_mode.interrupt(0x40)
    event = long_mode.event()
    assert (event.vector, event.rip) == (0x40, long_mode.label("after"))
    long_mode.finish()
    assert long_mode.area.counters.halts == 1
    assert long_mode.exits(ExitReason.HLT) == 1


def test_sti_holds_interrupts_off_for_one_instruction(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{enable()} mark; jmp 1f; 1: sti; incl %ebx; at: incl %ebx; done")
    long_mode.mark()
    long_mode.interrupt(0x40)
    assert long_mode.event().rip == long_mode.label("at")


def test_an_interrupt_that_out_has_brought_comes_before_the_next_instruction(
    long_mode: LongModeMachine,
) -> None:
    long_mode.boot(f"{enable()} sti; nop; mark; at: incl %ebx; jmp 1f; 1: done")
    long_mode.mark()
    long_mode.interrupt(0x40)
    assert long_mode.event().rip == long_mode.label("at")


def test_an_interrupt_that_wrmsr_has_brought_comes_before_the_next_instruction(
    long_mode: LongModeMachine,
) -> None:
    x2apic = msr_write(0x1B, 0xFEE00D00) + msr_write(0x80F, 0x1FF)
    long_mode.boot(f"{x2apic} sti; nop; {msr_write(0x83F, 0x40)} at: incl %ebx; jmp 1f; 1: done")
    assert long_mode.event().rip == long_mode.label("at")


def test_sti_then_cli_leaves_no_gap(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{enable()} mark; jmp 1f; 1: sti; cli; jmp 1f; 1: mark; sti; nop; at: nop; done")
    long_mode.mark()
    long_mode.interrupt(0x40)
    long_mode.mark()
    assert long_mode.event().rip == long_mode.label("at")


def test_mov_ss_holds_interrupts_off_for_one_instruction(long_mode: LongModeMachine) -> None:
    long_mode.boot(
        f"{enable()} movl $0x10, %eax; sti; jmp 1f; 1: {write(ICR_LOW, SELF | 0x40)}"
        "movl %eax, %ss; movl $0x22000, %esp; at: nop; done"
    )
    event = long_mode.event()
    assert event.rsp == 0x22000
    assert event.rip == long_mode.label("at")


def test_pop_ss_holds_interrupts_off_for_one_instruction(real_mode: RealModeMachine) -> None:
    real_mode.boot("pushw $0; sti; nop; inb $MARK, %al; popw %ss; movw $0x6000, %sp; at: nop; done")
    assert real_mode.run().direction is IoDirection.IN
    real_mode.area.lapic.regs[SVR // 4] = 0x1FF
    real_mode.interrupt(0x40)
    event = real_mode.event()
    assert (event.vector, event.rsp, event.rip) == (0x40, 0x6000, real_mode.label("at"))


def test_an_interrupt_at_cpl_3_switches_to_rsp0(long_mode: LongModeMachine) -> None:
    long_mode.boot("jmp 1f; 1: jmp 1b", cpl=3, rflags=2 | RFLAGS_IF)
    long_mode.area.lapic.regs[SVR // 4] = 0x1FF
    long_mode.interrupt(0x40)
    event = long_mode.event()
    assert (event.vector, event.cs, event.rsp, event.handler_rsp) == (0x40, USER_CS, USER_STACK_TOP, RSP0_TOP)


def test_an_interrupt_uses_the_ist_of_its_gate(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{enable()} sti; mark; 1: jmp 1b")
    long_mode.set_gate(0x40, ist=1)
    long_mode.mark()
    long_mode.interrupt(0x40)
    assert long_mode.event().handler_rsp == IST1_TOP


def test_registers_and_flags_come_back_after_an_interrupt(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"""
        {enable()}
        movabsq $0x1122334455667788, %rbx
        xorl %edi, %edi
        stc
        sti
        mark
        jmp 1f
    1:  done
    """)
    long_mode.mark()
    long_mode.interrupt(0x40)
    assert long_mode.event().vector == 0x40
    state = long_mode.finish()
    assert state.rbx == 0x1122334455667788
    assert state.rflags & 0x245 == 0x245


# --- Priorities ---------------------------------------------------------------------------------------


def test_of_several_the_highest_vector_comes_first_and_the_rest_after_its_eoi(
    long_mode: LongModeMachine,
) -> None:
    long_mode.boot(f"{enable()} mark; sti; nop; nop; mark; {END} mark; {END} done")
    long_mode.mark()
    long_mode.interrupt(0x31, 0x92, 0x55)
    assert long_mode.event().vector == 0x92
    long_mode.mark()
    assert long_mode.event().vector == 0x55
    long_mode.mark()
    assert long_mode.event().vector == 0x31


def test_a_vector_of_the_class_in_service_waits_for_its_eoi(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{enable()} sti; mark; nop; mark; jmp 1f; 1: mark; {END} done")
    long_mode.mark()
    long_mode.interrupt(0x50)
    assert long_mode.event().vector == 0x50
    long_mode.mark()
    long_mode.interrupt(0x5F)
    long_mode.mark()
    assert long_mode.event().vector == 0x5F


def test_a_vector_of_a_higher_class_nests(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{enable()} sti; mark; nop; mark; 1: jmp 1b")
    long_mode.mark()
    long_mode.interrupt(0x50)
    assert long_mode.event().vector == 0x50
    long_mode.mark()
    long_mode.interrupt(0x60)
    assert long_mode.event().vector == 0x60


def test_eois_end_the_nested_interrupts_from_the_highest_down(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{enable()} sti; mark; nop; mark; jmp 1f; 1: {END} mark; {END} done")
    isr = long_mode.area.lapic.regs
    long_mode.mark()
    long_mode.interrupt(0x50)
    long_mode.event()
    long_mode.mark()
    long_mode.interrupt(0x60)
    long_mode.event()
    assert (isr[0x120 // 4], isr[0x130 // 4]) == (1 << 16, 1)
    long_mode.mark()
    assert (isr[0x120 // 4], isr[0x130 // 4]) == (1 << 16, 0)
    long_mode.finish()
    assert (isr[0x120 // 4], isr[0x130 // 4]) == (0, 0)


@pytest.mark.parametrize("close", [write(TPR, 0x50), "movl $5, %eax; movq %rax, %cr8; "])
@pytest.mark.parametrize("reopen", [write(TPR, 0x4F), "movl $4, %eax; movq %rax, %cr8; "])
def test_the_task_priority_holds_its_class_and_those_below(
    long_mode: LongModeMachine, close: str, reopen: str
) -> None:
    long_mode.boot(f"{enable()} {close} sti; mark; jmp 1f; 1: mark; {reopen} jmp 1f; 1: done")
    long_mode.mark()
    long_mode.interrupt(0x5F)
    long_mode.mark()
    assert long_mode.event().vector == 0x5F


def test_the_task_priority_lets_higher_classes_through(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{enable()} {write(TPR, 0x50)} sti; mark; 1: jmp 1b")
    long_mode.mark()
    long_mode.interrupt(0x60)
    assert long_mode.event().vector == 0x60


def test_cr8_is_the_upper_half_of_the_task_priority(long_mode: LongModeMachine) -> None:
    long_mode.boot(
        f"{write(TPR, 0x93)} movq %cr8, %rbx; movl $7, %eax; movq %rax, %cr8; {read(TPR, 'ecx')} done"
    )
    state = long_mode.finish()
    assert (state.rbx, state.rcx, state.cr8) == (9, 0x70, 7)


CLOSE_AND_OPEN = [
    (write(TPR, 0xF0), write(TPR, 0)),
    ("movl $15, %eax; movq %rax, %cr8; ", "xorl %eax, %eax; movq %rax, %cr8; "),
    ("cli; ", "sti; "),
]


# In the programs below only round 10 of 20 has something to deliver. The rounds before it let the engine
# chain all blocks, and the handler's count is noted at the end of each round.
LOG = 0x30000
ROUND, ROUNDS = 10, 20


def noted(machine: LongModeMachine) -> list[int]:
    return [machine.load(LOG + 4 * i, 4) for i in range(1, ROUNDS + 1)]


@pytest.mark.parametrize(("close", "reopen"), CLOSE_AND_OPEN, ids=["TPR", "CR8", "IF"])
def test_what_was_held_off_comes_in_soon_also_where_blocks_are_chained(
    long_mode: LongModeMachine, close: str, reopen: str
) -> None:
    long_mode.boot(f"""
        {enable()}
        sti
    again:
        incl %ebx
        {close}
        cmpl ${ROUND}, %ebx
        jne 1f
        {write(ICR_LOW, SELF | 0x40)}
    1:  movl $10, %ecx
    2:  decl %ecx
        jnz 2b
        {reopen}
        movl $1000, %ecx
    3:  decl %ecx
        jnz 3b
        movl %ebp, {LOG}(,%rbx,4)
        cmpl ${ROUNDS}, %ebx
        jne again
        done
    handler:
        incl %ebp
        {write(EOI, 0)}
        iretq
    """)
    long_mode.set_gate(0x40, long_mode.label("handler"))
    long_mode.finish()
    assert noted(long_mode) == [0] * (ROUND - 1) + [1] * (ROUNDS - ROUND + 1)


@pytest.mark.parametrize("leave", ["ret", "jmp *%rdx"], ids=["ret", "jmp"])
def test_sti_before_an_indirect_jump_lets_an_interrupt_in_though_all_blocks_are_warm(
    long_mode: LongModeMachine, leave: str
) -> None:
    long_mode.boot(f"""
        {enable()}
        leaq behind(%rip), %rdx
    again:
        incl %ebx
        cli
        cmpl ${ROUND}, %ebx
        jne 1f
        {write(ICR_LOW, SELF | 0x40)}
    1:  pushq %rdx
        sti
        {leave}
    behind:
        movl $1000, %ecx
    2:  decl %ecx
        jnz 2b
        movl %ebp, {LOG}(,%rbx,4)
        cmpl ${ROUNDS}, %ebx
        jne again
        done
    handler:
        incl %ebp
        {write(EOI, 0)}
        iretq
    """)
    long_mode.set_gate(0x40, long_mode.label("handler"))
    long_mode.finish()
    assert noted(long_mode) == [0] * (ROUND - 1) + [1] * (ROUNDS - ROUND + 1)


def test_an_eoi_lets_in_what_waits_soon_also_where_blocks_are_chained(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"""
        {enable()}
        sti
    again:
        incl %ebx
        {write(ICR_LOW, SELF | 0x48)}
        jmp 1f
    1:  cmpl ${ROUNDS}, %ebx
        jne again
        done
    handler:
        cmpl ${ROUND}, %ebx
        jne 1f
        {write(ICR_LOW, SELF | 0x40)}
    1:  sti
        movl $10, %ecx
    2:  decl %ecx
        jnz 2b
        {write(EOI, 0)}
        movl $1000, %ecx
    3:  decl %ecx
        jnz 3b
        movl %ebp, {LOG}(,%rbx,4)
        iretq
    same_class:
        incl %ebp
        {write(EOI, 0)}
        iretq
    """)
    long_mode.set_gate(0x48, long_mode.label("handler"))
    long_mode.set_gate(0x40, long_mode.label("same_class"))
    long_mode.finish()
    assert noted(long_mode) == [0] * (ROUND - 1) + [1] * (ROUNDS - ROUND + 1)


# --- Level-triggered ---------------------------------------------------------------------------------


def test_the_eoi_of_a_level_triggered_interrupt_waits_for_the_io_apic(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{enable()} sti; mark; jmp 1f; 1: {END} done")
    long_mode.mark()
    long_mode.interrupt(0x41, level=True)
    assert long_mode.event().vector == 0x41
    assert long_mode.run_until(ExitReason.IOAPIC_EOI).data == 0
    assert long_mode.area.control.exit.guest_physical_address == 0x41
    assert long_mode.exits(ExitReason.IOAPIC_EOI) == 1
    # The line is still up.
    long_mode.interrupt(0x41, level=True)
    assert long_mode.event().vector == 0x41


def test_the_eoi_of_a_level_triggered_interrupt_is_posted_where_exits_are_precise(
    long_mode: LongModeMachine,
) -> None:
    long_mode.vm.precise_exits = 1
    long_mode.boot(f"{enable()} sti; mark; jmp 1f; 1: {END} done")
    long_mode.mark()
    long_mode.interrupt(0x41, level=True)
    assert long_mode.event().vector == 0x41
    assert long_mode.vm.posted_tail == 0
    long_mode.finish()
    entry = long_mode.vm.posted[0]
    assert long_mode.vm.posted_tail == 1
    assert (entry.seq, entry.kind, entry.address, entry.vcpu) == (1, 2, 0x41, 0)
    assert long_mode.exits(ExitReason.IOAPIC_EOI) == 1


def test_the_eoi_of_an_edge_triggered_interrupt_is_our_own_affair(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{enable()} sti; mark; jmp 1f; 1: {END} done")
    long_mode.mark()
    long_mode.interrupt(0x41)
    long_mode.event()
    long_mode.finish()
    assert (long_mode.vm.posted_tail, long_mode.exits(ExitReason.IOAPIC_EOI)) == (0, 0)


def test_a_vector_is_edge_triggered_again_when_it_comes_as_an_edge(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{enable()} sti; mark; jmp 1f; 1: {END} mark; jmp 1f; 1: {END} done")
    long_mode.mark()
    long_mode.interrupt(0x41, level=True)
    long_mode.event()
    long_mode.run_until(ExitReason.IOAPIC_EOI)
    long_mode.mark()
    long_mode.interrupt(0x41)
    long_mode.event()
    long_mode.finish()
    assert long_mode.exits(ExitReason.IOAPIC_EOI) == 1


def test_an_eoi_with_nothing_in_service_does_nothing(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{enable()} {END} done")
    long_mode.finish()
    assert long_mode.exits(ExitReason.IOAPIC_EOI) == 0


def test_the_eoi_of_a_level_interrupt_exits_when_the_ring_is_full(long_mode: LongModeMachine) -> None:
    long_mode.vm.precise_exits = 1
    long_mode.boot(f"{enable()} sti; mark; jmp 1f; 1: {END} done")
    long_mode.mark()
    long_mode.interrupt(0x41, level=True)
    long_mode.event()
    long_mode.vm.posted_tail = 1024
    assert long_mode.run_until(ExitReason.IOAPIC_EOI).data == 0
    assert long_mode.area.control.exit.guest_physical_address == 0x41
    assert long_mode.exits(ExitReason.IOAPIC_EOI) == 1
    long_mode.finish()


def test_a_store_by_another_process_kicks_a_vcpu_that_never_leaves_its_blocks(
    long_mode: LongModeMachine,
) -> None:
    long_mode.boot(f"{enable()} sti; mark; 1: incl %ecx; jmp 1b")
    long_mode.mark()

    def send_when_in_guest() -> None:
        while long_mode.area.mode != VcpuMode.IN_GUEST:
            time.sleep(0)
        long_mode.area.inbox.vector[0x40] = 1
        long_mode.area.inbox.any = 1
        long_mode.raise_attention()

    thread = threading.Thread(target=send_when_in_guest)
    thread.start()
    event = long_mode.event()
    thread.join()
    assert event.vector == 0x40
    assert long_mode.area.counters.kicks == 0


def test_a_kick_with_nothing_to_do_changes_nothing(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{enable()} sti; movl $100, %ecx; mark; 1: loop 1b; done")
    long_mode.mark()
    long_mode.kick()
    before = long_mode.area.counters.kicks
    assert long_mode.finish().rcx == 0
    assert before >= 1
    assert long_mode.area.counters.interrupts == 0


def test_sti_and_hlt_leave_no_gap_for_an_interrupt_that_waits(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{enable()} mark; jmp 1f; 1: sti; hlt; after: done")
    long_mode.mark()
    long_mode.interrupt(0x40)
    assert long_mode.event().rip == long_mode.label("after")
