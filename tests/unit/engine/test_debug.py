"""#DB and the debug registers (SDM vol. 3, 17.2 and 17.3; vol. 2, MOV DR, INT1)."""

import pytest

from tests.unit.engine.long_mode import DATA, KERNEL_SS, RECORD, LongModeMachine
from tests.unit.engine.machine import Event

DB, BP, UD, NP, GP, PF = 1, 3, 6, 11, 13, 14
EXT, IDT_CODE = 1, 2
TF, RF = 1 << 8, 1 << 16
DR6_ONES, BD, BS = 0xFFFF0FF0, 1 << 13, 1 << 14
DR7_ONES, GD = 0x400, 1 << 13
CR4, DE = 0x620, 1 << 3
EXECUTE, WRITE, IO, READ_WRITE = 0, 1, 2, 3


def dr7(number: int, kind: int, size: int = 1) -> int:
    """Breakpoint `number`, globally enabled."""
    length = {1: 0, 2: 1, 8: 2, 4: 3}[size]
    return DR7_ONES | 2 << 2 * number | (kind | length << 2) << 16 + 4 * number


def registers(*addresses: int, control: int = DR7_ONES, status: int = DR6_ONES) -> list[int]:
    return [*addresses, *[0] * (4 - len(addresses)), 0, 0, status, control]


def step(machine: LongModeMachine, *, flags: int = 0) -> tuple[Event, int]:
    """The next event, with DR6 as its handler finds it, which clears it and returns with `flags` set."""
    event = machine.event()
    if flags:
        machine.store(RECORD + 32, event.rflags | flags, 8)
    state = machine.pause()
    status = state.dr[6]
    state.dr[6] = DR6_ONES
    state.store(machine.area.control.guest)
    machine.engine.load_state()
    return event, status


def stepped(machine: LongModeMachine, count: int) -> list[tuple[int, int]]:
    """Where each of `count` #DBs comes, by the program's labels' offset, and DR6."""
    found = []
    for _ in range(count):
        event, status = step(machine)
        assert event.vector == DB
        found.append((event.rip - machine.program.origin, status & ~DR6_ONES))
    return found


def offsets(machine: LongModeMachine, *names: str) -> list[tuple[int, int]]:
    return [(machine.label(name) - machine.program.origin, BS) for name in names]


# --- INT1 -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["0xf1", "0x2e, 0x66, 0xf1", "0x48, 0xf1"])
@pytest.mark.parametrize("cpl", [0, 3])
def test_int1_is_a_trap_that_says_nothing_in_dr6(long_mode: LongModeMachine, code: str, cpl: int) -> None:
    long_mode.boot(f"nop; .byte {code}; after: nop; hlt", cpl=cpl)
    long_mode.set_gate(DB, dpl=0)
    event, status = step(long_mode)
    assert (event.vector, event.rip, status) == (DB, long_mode.label("after"), DR6_ONES)
    assert not event.rflags & RF


def test_a_fault_while_int1_is_delivered_is_external_and_at_the_int1(long_mode: LongModeMachine) -> None:
    long_mode.boot("nop; at: .byte 0xf1; done")
    long_mode.set_gate(DB, present=False)
    event = long_mode.event()
    assert (event.vector, event.error_code, event.rip) == (
        NP,
        DB << 3 | IDT_CODE | EXT,
        long_mode.label("at"),
    )


def test_a_page_fault_while_int1_is_delivered_is_at_the_int1(long_mode: LongModeMachine) -> None:
    long_mode.boot("movl $0x40000, %esp; at: .byte 0xf1; done")
    long_mode.store(long_mode.entry(0x3F000), 0, 8)
    long_mode.set_gate(PF, ist=1)
    event = long_mode.event()
    assert (event.vector, event.rip) == (PF, long_mode.label("at"))


def test_int3_and_int_1_are_not_int1(long_mode: LongModeMachine) -> None:
    long_mode.boot("int3; .byte 0xcd, 1; after: done")
    assert long_mode.event().vector == BP
    event, status = step(long_mode)
    assert (event.vector, event.rip, status) == (DB, long_mode.label("after"), DR6_ONES)
    long_mode.boot("at: .byte 0xcd, 1; hlt", cpl=3)
    long_mode.set_gate(DB, dpl=0)
    event = long_mode.event()
    assert (event.vector, event.error_code, event.rip) == (GP, DB << 3 | IDT_CODE, long_mode.label("at"))


# --- Single step ----------------------------------------------------------------------------------------


def test_each_step_sets_bs_alone_and_keeps_what_software_has_set(long_mode: LongModeMachine) -> None:
    long_mode.boot("nop; one: cpuid; two: rdtsc; three: nop; done", rflags=TF | 2)
    event, status = step(long_mode)
    assert (event.rip, status) == (long_mode.label("one"), DR6_ONES | BS)
    assert stepped(long_mode, 2) == offsets(long_mode, "two", "three")
    state = long_mode.initial_state().replace(rflags=TF | 2, dr=registers(status=DR6_ONES | BD | 2))
    long_mode.start(state)
    assert step(long_mode)[1] == DR6_ONES | BS | BD


def test_popf_traps_neither_too_early_nor_too_late(long_mode: LongModeMachine) -> None:
    long_mode.boot("""
        pushfq; orq $0x100, (%rsp); popfq
        nop
    first:
        pushfq; second: andq $~0x100, (%rsp); third: popfq
    fourth:
        nop; done
    """)
    assert stepped(long_mode, 4) == offsets(long_mode, "first", "second", "third", "fourth")
    long_mode.finish()


def test_sti_lets_a_step_through(long_mode: LongModeMachine) -> None:
    long_mode.boot("sti; one: nop; two: nop; done", rflags=TF | 2)
    assert stepped(long_mode, 2) == offsets(long_mode, "one", "two")


@pytest.mark.parametrize("load", ["movl %ecx, %ss", "pushq %rcx; popq %rax; pushq %rcx; movl %eax, %ss"])
def test_mov_ss_holds_a_step_off_for_one_instruction(long_mode: LongModeMachine, load: str) -> None:
    *before, last = load.split("; ")
    long_mode.boot(
        f"""
        {"; ".join([*before, "nop"])}
        pushfq; orq $0x100, (%rsp); popfq
        {last}
        nop
    one:
        nop
    two:
        nop; done
    """,
        rcx=KERNEL_SS,
    )
    assert stepped(long_mode, 2) == offsets(long_mode, "one", "two")


def test_a_step_over_hlt_ends_it(long_mode: LongModeMachine) -> None:
    long_mode.boot("hlt; one: nop; two: nop; done", rflags=TF | 2)
    assert stepped(long_mode, 2) == offsets(long_mode, "one", "two")


def test_int_n_clears_tf_and_does_not_trap(long_mode: LongModeMachine) -> None:
    long_mode.boot("int $0x80; nop; one: done", rflags=TF | 2)
    event = long_mode.event()
    assert (event.vector, event.rflags & TF) == (0x80, TF)
    assert stepped(long_mode, 1) == offsets(long_mode, "one")


def test_int1_under_tf_is_no_step(long_mode: LongModeMachine) -> None:
    long_mode.boot(".byte 0xf1; one: nop; two: done", rflags=TF | 2)
    assert stepped(long_mode, 2) == [(1, 0), (2, BS)]


def test_a_fault_under_tf_traps_after_the_retry(long_mode: LongModeMachine) -> None:
    long_mode.boot("at: ud2; nop; one: done", rflags=TF | 2)
    event = long_mode.event()
    assert (event.vector, event.rflags & TF) == (UD, TF)
    long_mode.resume_at(long_mode.label("at") + 2)
    assert stepped(long_mode, 1) == offsets(long_mode, "one")


def test_syscall_traps_by_the_new_tf(long_mode: LongModeMachine) -> None:
    source = """
        movl $0xc0000082, %ecx
        leaq entry(%rip), %rax
        xorl %edx, %edx
        wrmsr
        movl $0xc0000081, %ecx
        movl $8, %edx
        xorl %eax, %eax
        wrmsr
        pushfq; orq $0x100, (%rsp); popfq
        syscall
        ud2
    entry:
        nop
    one:
        nop; done
    """
    long_mode.boot(source)
    event, status = step(long_mode)
    assert (event.vector, event.rip, status & BS) == (DB, long_mode.label("entry"), BS)


# --- Data breakpoints -----------------------------------------------------------------------------------


def test_a_data_breakpoint_and_a_step_are_one_db(long_mode: LongModeMachine) -> None:
    long_mode.boot(
        "movl %eax, 0x30000; one: nop; two: done",
        rflags=TF | 2,
        dr=registers(DATA, control=dr7(0, WRITE, 4)),
    )
    assert stepped(long_mode, 2) == [(7, BS | 1), (8, BS)]


def test_a_data_breakpoint_is_told_after_the_shadow_of_mov_ss(long_mode: LongModeMachine) -> None:
    long_mode.boot(
        "movw 0x30000, %ss; nop; one: nop; done", dr=registers(0, DATA, control=dr7(1, READ_WRITE, 2))
    )
    long_mode.store(DATA, KERNEL_SS, 2)
    event, status = step(long_mode)
    assert (event.vector, event.rip, status) == (DB, long_mode.label("one"), DR6_ONES | 2)


def test_a_data_breakpoint_before_int_n_is_told_at_the_handler(long_mode: LongModeMachine) -> None:
    long_mode.boot(
        "movw 0x30000, %ss; int $0x80; after: ud2; handler: nop; iretq",
        dr=registers(DATA, control=dr7(0, READ_WRITE, 2)),
    )
    long_mode.store(DATA, KERNEL_SS, 2)
    long_mode.set_gate(0x80, long_mode.label("handler"))
    event, status = step(long_mode)
    assert (event.vector, event.rip, status) == (DB, long_mode.label("handler"), DR6_ONES | 1)
    assert long_mode.event().rip == long_mode.label("after")


def test_a_step_in_the_middle_of_rep_pushes_rf(long_mode: LongModeMachine) -> None:
    long_mode.boot("rep stosb; after: nop; done", rflags=TF | 2, rcx=2, rdi=DATA)
    first, second = step(long_mode)[0], step(long_mode)[0]
    assert (first.rip, first.rflags & RF) == (long_mode.program.origin, RF)
    assert (second.rip, second.rflags & RF) == (long_mode.label("after"), 0)


def test_a_data_breakpoint_before_int1_is_told_by_it(long_mode: LongModeMachine) -> None:
    long_mode.boot(
        "movw 0x30000, %ss; .byte 0x2e, 0x2e, 0xf1; one: ud2",
        dr=registers(DATA, control=dr7(0, READ_WRITE, 2)),
    )
    long_mode.store(DATA, KERNEL_SS, 2)
    event, status = step(long_mode)
    assert (event.vector, event.rip, status) == (DB, long_mode.label("one"), DR6_ONES | 1)
    assert long_mode.event().vector == UD


@pytest.mark.parametrize("kind", [WRITE, READ_WRITE])
@pytest.mark.parametrize(
    "instruction",
    ["lock incl 0x30000", "xchgl %eax, 0x30000", "lock cmpxchgl %ecx, 0x30000", "lock cmpxchg16b 0x30000"],
)
def test_a_locked_instruction_meets_a_data_breakpoint(
    long_mode: LongModeMachine, instruction: str, kind: int
) -> None:
    long_mode.boot(f"nop; {instruction}; one: nop; done", dr=registers(DATA, control=dr7(0, kind, 4)))
    event, status = step(long_mode)
    assert (event.vector, event.rip, status & 15) == (DB, long_mode.label("one"), 1)
    long_mode.finish()


def test_a_locked_instruction_beside_a_data_breakpoint_is_still_done(long_mode: LongModeMachine) -> None:
    long_mode.boot("lock incl 0x30010; done", dr=registers(DATA, control=dr7(0, READ_WRITE, 4)))
    long_mode.finish()
    assert long_mode.load(DATA + 0x10, 4) == 1


# --- I/O breakpoints ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "size"),
    [("inb $0x92", 1), ("movl $0x92, %edx; outb %al, %dx", 1), ("movl $0x92, %edx; inw %dx, %ax", 2)],
)
def test_an_io_breakpoint_is_a_trap_after_the_port_access(
    long_mode: LongModeMachine, source: str, size: int
) -> None:
    long_mode.boot(
        f"nop; {source}; one: nop; two: nop; done",
        cr4=CR4 | DE,
        dr=registers(0, 0, 0x92, control=dr7(2, IO, size)),
    )
    long_mode.run()
    event, status = step(long_mode)
    assert (event.vector, event.rip, status) == (DB, long_mode.label("one"), DR6_ONES | 4)


def test_an_io_breakpoint_needs_de(long_mode: LongModeMachine) -> None:
    long_mode.boot("outb %al, $0x92; done", dr=registers(0x92, control=dr7(0, IO)))
    long_mode.run()
    long_mode.finish()


def test_an_io_breakpoint_of_another_port_is_not_met(long_mode: LongModeMachine) -> None:
    long_mode.boot("outb %al, $0x91; done", cr4=CR4 | DE, dr=registers(0x92, control=dr7(0, IO)))
    long_mode.run()
    long_mode.finish()


def test_an_io_breakpoint_traps_after_each_iteration(long_mode: LongModeMachine) -> None:
    long_mode.boot(
        "movl $0x92, %edx; movl $3, %ecx; movl $0x30000, %esi; at: rep outsb; one: done",
        cr4=CR4 | DE,
        dr=registers(0x92, control=dr7(0, IO)),
    )
    for left in (2, 1, 0):
        long_mode.run()
        event, status = step(long_mode)
        assert (event.vector, status & 15) == (DB, 1)
        assert event.rip == long_mode.label("at" if left else "one")
        assert bool(event.rflags & RF) == bool(left)
    assert long_mode.finish().rcx == 0


def test_an_io_breakpoint_and_a_step_are_one_db(long_mode: LongModeMachine) -> None:
    long_mode.boot(
        "outb %al, $0x92; one: nop; two: done",
        rflags=TF | 2,
        cr4=CR4 | DE,
        dr=registers(0x92, control=dr7(0, IO)),
    )
    long_mode.run()
    assert stepped(long_mode, 2) == [(2, BS | 1), (3, BS)]


# --- Instruction breakpoints and RF ---------------------------------------------------------------------


def on(machine: LongModeMachine, label: str, source: str, **values: int) -> None:
    """Boot `source` with an instruction breakpoint at `label`."""
    machine.boot(source, **values)
    state = machine.initial_state().replace(**values)
    state.dr = registers(machine.label(label), control=dr7(0, EXECUTE))
    machine.start(state)


def test_an_instruction_breakpoint_tells_its_number_and_pushes_no_rf(long_mode: LongModeMachine) -> None:
    on(long_mode, "at", "nop; at: nop; done")
    event, status = step(long_mode, flags=RF)
    assert (event.vector, event.rip, status) == (DB, long_mode.label("at"), DR6_ONES | 1)
    assert not event.rflags & RF
    assert not long_mode.finish().rflags & RF


def test_rf_holds_for_one_instruction(long_mode: LongModeMachine) -> None:
    on(long_mode, "at", "movl $3, %ecx; again: nop; at: nop; decl %ecx; jnz again; done")
    for _ in range(3):
        assert step(long_mode, flags=RF)[0].rip == long_mode.label("at")
    long_mode.finish()


def test_rf_does_not_hide_the_breakpoint_of_the_next_instruction(long_mode: LongModeMachine) -> None:
    long_mode.boot("at: nop; next: nop; nop; done")
    state = long_mode.initial_state().replace(rflags=RF | 2)
    state.dr = registers(
        long_mode.label("at"), long_mode.label("next"), control=dr7(0, EXECUTE) | dr7(1, EXECUTE)
    )
    long_mode.start(state)
    event, status = step(long_mode)
    assert (event.rip, status & 15) == (long_mode.label("next"), 2)


def test_rf_holds_for_all_iterations(long_mode: LongModeMachine) -> None:
    on(long_mode, "at", "cld; at: rep stosb; next: done", rcx=5, rdi=DATA)
    event, _ = step(long_mode, flags=RF)
    assert event.rip == long_mode.label("at")
    state = long_mode.finish()
    assert (state.rcx, state.rdi) == (0, DATA + 5)


def test_rf_holds_while_an_instruction_runs_alone(long_mode: LongModeMachine) -> None:
    on(long_mode, "at", "nop; at: lock incl 0x3003e; done")
    assert step(long_mode, flags=RF)[0].rip == long_mode.label("at")
    long_mode.finish()
    assert long_mode.load(DATA + 0x3E, 4) == 1


@pytest.mark.parametrize(
    ("source", "vector"),
    [
        ("ud2", UD),
        ("movl $0x1230, %eax; at: movl %eax, %ds", GP),
        ("movb 0x50000000, %al", PF),
        ("xorl %ecx, %ecx; at: divl %ecx", 0),
    ],
)
def test_a_fault_pushes_rf(long_mode: LongModeMachine, source: str, vector: int) -> None:
    long_mode.boot(f"{source}; done")
    event = long_mode.event()
    assert (event.vector, event.rflags & RF) == (vector, RF)


@pytest.mark.parametrize("source", ["int $0x80", "int3", ".byte 0xf1", ".byte 0xcd, 14"])
def test_what_is_no_fault_pushes_no_rf(long_mode: LongModeMachine, source: str) -> None:
    long_mode.boot(f"{source}; done")
    assert not long_mode.event().rflags & RF


def test_the_handler_runs_without_rf_and_pushf_never_shows_it(long_mode: LongModeMachine) -> None:
    long_mode.boot("pushfq; popq %rbx; ud2; handler: pushfq; popq %rax; done", rflags=RF | 2)
    long_mode.set_gate(UD, long_mode.label("handler"))
    state = long_mode.finish()
    assert not (state.rax | state.rbx | state.rflags) & RF


def test_a_fault_that_resumes_on_a_breakpoint_does_not_meet_it(long_mode: LongModeMachine) -> None:
    on(long_mode, "at", "nop; at: movb 0x50000000, %al; after: done")
    event, _ = step(long_mode, flags=RF)
    assert event.vector == DB
    event = long_mode.event()
    assert (event.vector, event.rflags & RF) == (PF, RF)
    event = long_mode.event()
    assert (event.vector, event.rflags & RF) == (PF, RF)


# --- MOV DR ---------------------------------------------------------------------------------------------


def test_dr6_and_dr7_keep_their_fixed_bits(long_mode: LongModeMachine) -> None:
    long_mode.boot("""
        movl $0xffffffff, %eax
        movq %rax, %dr6
        movq %dr6, %rbx
        movl $0, %eax
        movq %rax, %dr6
        movq %dr6, %rsi
        movl $0xffffdf00, %eax
        movq %rax, %dr7
        movq %dr7, %rcx
        movl $0, %eax
        movq %rax, %dr7
        movq %dr7, %rdi
        done
    """)
    state = long_mode.finish()
    assert (state.rbx, state.rsi) == (0xFFFFEFFF, DR6_ONES)
    assert (state.rcx, state.rdi) == (0xFFFF0700, DR7_ONES)


@pytest.mark.parametrize("register", ["dr6", "dr7"])
def test_upper_bits_of_dr6_and_dr7_are_gp(long_mode: LongModeMachine, register: str) -> None:
    long_mode.boot(f"nop; at: movq %rax, %{register}; done", rax=1 << 32)
    event = long_mode.event()
    assert (event.vector, event.error_code, event.rip) == (GP, 0, long_mode.label("at"))


def test_dr0_takes_64_bits(long_mode: LongModeMachine) -> None:
    long_mode.boot("movq %rax, %dr0; movq %dr0, %rbx; done", rax=0xFFFF800000000000)
    assert long_mode.finish().rbx == 0xFFFF800000000000


def test_dr4_and_dr5_are_dr6_and_dr7_without_de(long_mode: LongModeMachine) -> None:
    long_mode.boot("movl $0x4002, %eax; movq %rax, %dr4; movq %dr6, %rbx; movq %dr5, %rcx; done")
    state = long_mode.finish()
    assert (state.rbx, state.rcx) == (DR6_ONES | 0x4002, DR7_ONES)


@pytest.mark.parametrize("source", ["movq %dr4, %rax", "movq %dr5, %rax", "movq %rax, %dr4"])
def test_dr4_and_dr5_are_ud_with_de(long_mode: LongModeMachine, source: str) -> None:
    long_mode.boot(f"nop; at: {source}; done", cr4=CR4 | DE)
    event = long_mode.event()
    assert (event.vector, event.rip) == (UD, long_mode.label("at"))


@pytest.mark.parametrize(
    "source", ["movq %dr0, %rax", "movq %rax, %dr3", "movq %dr7, %rax", "movq %rax, %dr6"]
)
def test_general_detect_is_a_fault_that_clears_gd(long_mode: LongModeMachine, source: str) -> None:
    long_mode.boot(f"nop; at: {source}; done", dr=registers(control=DR7_ONES | GD))
    event = long_mode.event()
    assert (event.vector, event.rip) == (DB, long_mode.label("at"))
    state = long_mode.pause()
    assert (state.dr[6], state.dr[7]) == (DR6_ONES | BD, DR7_ONES)
    long_mode.finish()


def test_general_detect_is_not_held_off_by_mov_ss(long_mode: LongModeMachine) -> None:
    long_mode.boot(
        "movl %ecx, %ss; at: movq %dr0, %rax; done", rcx=KERNEL_SS, dr=registers(control=DR7_ONES | GD)
    )
    event, status = step(long_mode)
    assert (event.rip, status) == (long_mode.label("at"), DR6_ONES | BD)


def test_mov_dr_in_ring_3_is_gp_before_all_else(long_mode: LongModeMachine) -> None:
    long_mode.boot("at: movq %dr4, %rax; hlt", cpl=3, cr4=CR4 | DE, dr=registers(control=DR7_ONES | GD))
    event = long_mode.event()
    assert (event.vector, event.error_code, event.rip) == (GP, 0, long_mode.label("at"))


def test_a_breakpoint_moves_with_its_register(long_mode: LongModeMachine) -> None:
    long_mode.boot(
        f"movl ${DATA + 8}, %eax; movq %rax, %dr0; movl %ecx, {DATA}; movl %ecx, {DATA + 8}; one: done",
        dr=registers(DATA, control=dr7(0, WRITE, 4)),
    )
    assert step(long_mode)[0].rip == long_mode.label("one")
