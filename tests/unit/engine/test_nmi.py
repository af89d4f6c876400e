"""NMIs from the inbox: when they are taken, and what blocks them (SDM vol. 3, section 6.7)."""

from tests.unit.engine.apic import ICR_LOW, SELF, enable, write
from tests.unit.engine.apic import NMI as SEND_NMI
from tests.unit.engine.long_mode import LongModeMachine

NMI = 2


def test_an_nmi_does_not_ask_if(long_mode: LongModeMachine) -> None:
    long_mode.boot("mark; jmp 1f; 1: done")
    long_mode.mark()
    long_mode.nmi()
    event = long_mode.event()
    assert (event.vector, event.error_code) == (NMI, 0)
    long_mode.finish()
    assert long_mode.area.counters.nmis == 1


def test_an_nmi_wakes_hlt_with_if_clear(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{write(ICR_LOW, SELF | SEND_NMI)} hlt; after: done")
    event = long_mode.event()
    assert (event.vector, event.rip) == (NMI, long_mode.label("after"))


def test_a_second_nmi_waits_for_the_iret_of_the_first(long_mode: LongModeMachine) -> None:
    long_mode.boot("""
        mark
        jmp 1f
    1:  done
    handler:
        incl %ebx
        mark
        jmp 1f
    1:  mark
        iretq
    """)
    long_mode.set_gate(NMI, long_mode.label("handler"))
    long_mode.mark()
    long_mode.nmi()
    long_mode.mark()
    long_mode.nmi()
    long_mode.mark()
    assert long_mode.area.counters.nmis == 1, "the handler has not returned yet"
    long_mode.mark()
    assert long_mode.area.counters.nmis == 2
    long_mode.mark()
    assert long_mode.finish().rbx == 2


def test_two_nmis_that_wait_are_one(long_mode: LongModeMachine) -> None:
    long_mode.boot("mark; jmp 1f; 1: done")
    long_mode.mark()
    long_mode.nmi()
    long_mode.nmi()
    long_mode.event()
    long_mode.finish()
    assert long_mode.area.counters.nmis == 1


def test_of_two_nmis_that_others_send_the_second_waits_for_the_iret_of_the_first(
    long_mode: LongModeMachine,
) -> None:
    long_mode.boot("mark; jmp 1f; 1: done")
    long_mode.mark()
    long_mode.area.inbox.nmi = 2
    long_mode.area.inbox.any = 1
    long_mode.kick()
    long_mode.event()
    assert long_mode.area.inbox.nmi == 1
    long_mode.event()
    long_mode.finish()
    assert long_mode.area.counters.nmis == 2


def test_in_an_nmis_handler_one_more_is_held(long_mode: LongModeMachine) -> None:
    send = write(ICR_LOW, SELF | SEND_NMI)
    long_mode.boot(f"""
        {send} jmp 1f
    1:  done
    handler:
        incl %ebx
        cmpl $1, %ebx
        jne 1f
        {send} {send} {send}
    1:  iretq
    """)
    long_mode.set_gate(NMI, long_mode.label("handler"))
    assert long_mode.finish().rbx == 2


def test_nmis_that_others_send_meanwhile_are_one(long_mode: LongModeMachine) -> None:
    long_mode.boot("mark; jmp 1f; 1: done; handler: incl %ebx; mark; jmp 1f; 1: iretq")
    long_mode.set_gate(NMI, long_mode.label("handler"))
    long_mode.mark()
    long_mode.nmi()
    long_mode.mark()
    long_mode.area.inbox.nmi = 2
    long_mode.area.inbox.any = 1
    long_mode.kick()
    long_mode.mark()
    assert long_mode.finish().rbx == 2


def test_an_interrupt_can_come_while_nmis_are_blocked(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{enable()} mark; 1: jmp 1b; handler: sti; mark; 1: jmp 1b")
    long_mode.set_gate(NMI, long_mode.label("handler"))
    long_mode.mark()
    long_mode.nmi()
    long_mode.mark()
    long_mode.interrupt(0x40)
    assert long_mode.event().vector == 0x40


def test_an_nmi_comes_before_an_interrupt(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{enable()} sti; mark; jmp 1f; 1: done")
    long_mode.mark()
    long_mode.area.inbox.nmi = 1
    long_mode.interrupt(0x40)
    assert long_mode.event().vector == NMI
    assert long_mode.event().vector == 0x40


def test_mov_ss_holds_an_nmi_off_for_one_instruction(long_mode: LongModeMachine) -> None:
    long_mode.boot(
        f"movl $0x10, %eax; {write(ICR_LOW, SELF | SEND_NMI)}"
        "movl %eax, %ss; movl $0x22000, %esp; at: nop; done"
    )
    event = long_mode.event()
    assert (event.vector, event.rsp, event.rip) == (NMI, 0x22000, long_mode.label("at"))


def test_an_iret_that_faults_lets_the_next_nmi_in(long_mode: LongModeMachine) -> None:
    send = write(ICR_LOW, SELF | SEND_NMI)
    long_mode.boot(f"""
        {send} jmp 1f
    1:  done
    handler:
        incl %ebx
        cmpl $2, %ebx
        je second
        {send} jmp 1f
    1:  pushq $0
        pushq $0
    bad:
        iretq
    second:
        mark
    """)
    long_mode.set_gate(NMI, long_mode.label("handler"))
    long_mode.set_gate(13, long_mode.label("second"))
    long_mode.mark()
    assert long_mode.area.counters.nmis == 2
