"""Interrupts whose delivery goes wrong: the fault in their place (SDM vol. 3, section 6.13)."""

from mpvm.abi.exits import ExitReason, ExtInt
from mpvm.cpu.state import DescriptorTableState
from tests.unit.engine.apic import enable
from tests.unit.engine.long_mode import IDT, LongModeMachine, W

NMI, NP, GP, PF = 2, 11, 13, 14
EXT, IDT_CODE = 1, 2


def test_an_interrupt_without_a_gate_is_a_fault_at_the_interrupted_rip(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{enable()} sti; mark; 1: jmp 1b")
    long_mode.set_gate(0x40, present=False)
    long_mode.mark()
    long_mode.interrupt(0x40)
    event = long_mode.event()
    assert event.vector == 11
    assert long_mode.program.origin < event.rip < long_mode.program.origin + len(long_mode.program.code)


def test_the_error_code_of_a_gate_that_is_not_present_says_external(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{enable()} sti; mark; 1: jmp 1b")
    long_mode.set_gate(0x40, present=False)
    long_mode.mark()
    long_mode.interrupt(0x40)
    event = long_mode.event()
    assert (event.vector, event.error_code) == (NP, 0x40 << 3 | IDT_CODE | EXT)


def test_the_error_code_of_a_vector_beyond_the_idt_says_external(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{enable()} sti; mark; 1: jmp 1b", idtr=DescriptorTableState(IDT, 0x3FF))
    long_mode.mark()
    long_mode.interrupt(0x40)
    event = long_mode.event()
    assert (event.vector, event.error_code) == (GP, 0x40 << 3 | IDT_CODE | EXT)


def test_the_error_code_of_an_8259_interrupt_says_external(long_mode: LongModeMachine) -> None:
    long_mode.boot("sti; mark; 1: jmp 1b")
    long_mode.set_gate(0x38, present=False)
    long_mode.mark()
    long_mode.vm.pic_intr = 1
    long_mode.kick()
    long_mode.run_until(ExitReason.IRQ_WINDOW_OPEN)
    long_mode.vm.pic_intr = 0
    event = long_mode.event(reply=ExtInt.VALID | 0x38)
    assert (event.vector, event.error_code) == (NP, 0x38 << 3 | IDT_CODE | EXT)


def test_the_error_code_of_an_nmi_says_external(long_mode: LongModeMachine) -> None:
    long_mode.boot("mark; 1: jmp 1b")
    long_mode.set_gate(NMI, present=False)
    long_mode.mark()
    long_mode.nmi()
    event = long_mode.event()
    assert (event.vector, event.error_code) == (NP, NMI << 3 | IDT_CODE | EXT)


def test_a_page_fault_while_an_interrupt_is_delivered_has_an_error_code_of_its_own(
    long_mode: LongModeMachine,
) -> None:
    long_mode.boot(f"{enable()} movl $0x40000, %esp; sti; mark; 1: jmp 1b")
    long_mode.store(long_mode.entry(0x3F000), 0, 8)
    long_mode.set_gate(PF, ist=1)
    long_mode.mark()
    long_mode.interrupt(0x40)
    event = long_mode.event()
    assert (event.vector, event.error_code, event.rsp) == (PF, W, 0x40000)


def test_a_fault_of_an_interrupts_handler_is_not_external(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{enable()} sti; mark; 1: jmp 1b; handler: movl $0x1230, %eax; movl %eax, %ds; done")
    long_mode.set_gate(0x40, long_mode.label("handler"))
    long_mode.mark()
    long_mode.interrupt(0x40)
    event = long_mode.event()
    assert (event.vector, event.error_code) == (GP, 0x1230)


def test_an_interrupt_with_no_idt_at_all_is_a_shutdown(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{enable()} mark; lidt empty(%rip); sti; 1: jmp 1b; empty: .word 0; .quad {IDT}")
    long_mode.mark()
    long_mode.interrupt(0x40)
    long_mode.run_until(ExitReason.SHUTDOWN)
