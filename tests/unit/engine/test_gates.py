"""Far jumps, calls and returns, gates and events in 32-bit protected mode (SDM vol. 3, 5.8 and 6.12)."""

import pytest

from mpvm.cpu.state import SegmentState
from tests.unit.engine.protected_mode import (
    BIG,
    CALL16,
    CALL32,
    CODE,
    CODE_CONFORMING,
    CODE_RX,
    CODE_X,
    DATA_DOWN,
    DATA_RO,
    DATA_RW,
    DPL3,
    ESP0,
    FLAT,
    GDT_LIMIT,
    GRANULAR,
    IF,
    INT16,
    INT32,
    ORIGIN,
    RING3_STACK_TOP,
    SPARE,
    STACK_TOP,
    TF,
    TR,
    TRAP16,
    TRAP32,
    TSS,
    USER_CODE,
    USER_FLAT,
    VM,
    P,
    ProtectedModeMachine,
)

UD, NP, SS, GP, TS, PF = 6, 11, 12, 13, 10, 14
NEW, GATE, OTHER = SPARE, SPARE + 8, SPARE + 16
DPL1 = 0x20


def outcome(machine: ProtectedModeMachine) -> tuple[int, int, int]:
    event = machine.event()
    return event.vector, event.error_code, event.rip


# --- Direct far transfers --------------------------------------------------------------------------------


@pytest.mark.parametrize("instruction", ["ljmp", "lcall"])
@pytest.mark.parametrize(
    ("selector", "access", "vector", "error"),
    [
        (0, CODE_RX, GP, 0),
        (3, CODE_RX, GP, 0),
        (GDT_LIMIT + 1, CODE_RX, GP, GDT_LIMIT + 1),
        (0x0C, CODE_RX, GP, 0x0C),
        (NEW, DATA_RW, GP, NEW),
        (NEW, CODE_RX | DPL3, GP, NEW),
        (NEW | 3, CODE_RX, GP, NEW),
        (NEW, CODE_CONFORMING | DPL3, GP, NEW),
        (NEW, CODE_RX & ~P, NP, NEW),
        (NEW, INT32, GP, NEW),
        (NEW, 0x80, GP, NEW),
    ],
)
def test_a_segment_that_a_far_transfer_may_not_enter(
    protected_mode: ProtectedModeMachine,
    instruction: str,
    selector: int,
    access: int,
    vector: int,
    error: int,
) -> None:
    protected_mode.boot(f"{instruction} ${selector}, $target; target: done")
    protected_mode.describe(NEW, 0, 0xFFFFF, access, BIG | GRANULAR)
    assert outcome(protected_mode) == (vector, error, ORIGIN)
    assert protected_mode.last_event().handler_rsp == STACK_TOP - 12


@pytest.mark.parametrize("instruction", ["ljmp", "lcall"])
def test_a_target_outside_the_segment_is_gp_of_0(
    protected_mode: ProtectedModeMachine, instruction: str
) -> None:
    protected_mode.boot(f"{instruction} ${NEW}, $0x1000")
    protected_mode.describe(NEW, ORIGIN, 0xFFF, CODE_RX, BIG)
    assert outcome(protected_mode) == (GP, 0, ORIGIN)


def test_conforming_code_runs_at_the_callers_level(protected_mode: ProtectedModeMachine) -> None:
    protected_mode.boot(f"lcall ${NEW}, $target; target: done", cpl=3, rflags=0x3002)
    protected_mode.describe(NEW, 0, 0xFFFFF, CODE_CONFORMING & ~1, BIG | GRANULAR)
    state = protected_mode.finish()
    assert (state.cs.selector, state.rsp) == (NEW | 3, RING3_STACK_TOP - 8)
    assert protected_mode.descriptor_access(NEW) & 1


def test_a_call_without_room_on_the_stack_is_ss_of_0(protected_mode: ProtectedModeMachine) -> None:
    small = SegmentState(0, 0xFFF, NEW, 0x4093)
    protected_mode.boot(f"lcall ${CODE}, $0", ss=small, rsp=0x1008)
    protected_mode.set_gate(SS, selector=0)
    protected_mode.describe_gate(GATE, CODE, 0, CALL32)
    # The handler has no room either: what arrives is a shutdown; what counts is that nothing was stored.
    protected_mode.write(0x1000, b"\xee" * 8)
    protected_mode.run()
    assert protected_mode.read(0x1000, 8) == b"\xee" * 8


def test_an_expand_down_stack_ends_at_its_limit(protected_mode: ProtectedModeMachine) -> None:
    protected_mode.boot(f"movl ${NEW}, %eax; movl %eax, %ss; at: lcall ${CODE}, $target; target: done")
    protected_mode.describe(NEW, 0, STACK_TOP - 9, DATA_DOWN, BIG)
    assert protected_mode.finish().rsp == STACK_TOP - 8
    protected_mode.describe(NEW, 0, STACK_TOP - 5, DATA_DOWN, BIG)
    protected_mode.begin(cpl=0)
    protected_mode.set_gate(SS, protected_mode.label("target"))
    assert protected_mode.run().reason.name == "SHUTDOWN"


def test_a_16_bit_call_pushes_words_on_a_16_bit_stack(protected_mode: ProtectedModeMachine) -> None:
    stack = SegmentState(0x50000, 0xFFFF, NEW, 0x93)
    protected_mode.boot(
        f"data16 lcall ${NEW + 8}, $target - {ORIGIN}; after: nop; target: done", ss=stack, rsp=0xAAAA0000
    )
    protected_mode.describe(NEW + 8, ORIGIN, 0xFFFF, CODE_RX, BIG)
    state = protected_mode.finish()
    assert state.rsp == 0xAAAAFFFC
    assert protected_mode.load(0x5FFFC, 4) == CODE << 16 | protected_mode.label("after") & 0xFFFF


# --- Call gates ------------------------------------------------------------------------------------------


def test_a_call_gate_to_ring_0_switches_stacks_and_copies_parameters(
    protected_mode: ProtectedModeMachine,
) -> None:
    protected_mode.boot(
        f"pushl $0x11; pushl $0x22; lcall ${GATE | 3}, $0; after: int $0x40; target: mark; lret $8", cpl=3
    )
    protected_mode.describe_gate(GATE, CODE, protected_mode.label("target"), CALL32 | DPL3, 2)
    protected_mode.mark()
    frame = [protected_mode.load(ESP0 - 24 + 4 * i, 4) for i in range(6)]
    assert frame == [
        protected_mode.label("after"),
        USER_CODE,
        0x22,
        0x11,
        RING3_STACK_TOP - 8,
        USER_FLAT,
    ]
    event = protected_mode.event()
    assert (event.vector, event.cs, event.rsp) == (0x40, USER_CODE, RING3_STACK_TOP)


def test_a_16_bit_call_gate_moves_words(protected_mode: ProtectedModeMachine) -> None:
    protected_mode.boot(f"pushw $0x1122; pushw $0x3344; lcall ${GATE | 3}, $0; after: nop", cpl=3)
    protected_mode.place("done", 32, 0x8F0)
    protected_mode.describe_gate(GATE, CODE, 0x8F0, CALL16 | DPL3, 2)
    assert protected_mode.finish().rsp == ESP0 - 12
    frame = [protected_mode.load(ESP0 - 12 + 2 * i, 2) for i in range(6)]
    assert frame[1:4] == [USER_CODE, 0x3344, 0x1122]
    assert frame[4:] == [RING3_STACK_TOP - 4 & 0xFFFF, USER_FLAT]


def test_a_call_gate_to_ring_1_and_back(protected_mode: ProtectedModeMachine) -> None:
    protected_mode.boot(
        f"lcall ${GATE | 3}, $0; int $0x40; target: mov %cs, %eax; mov %ss, %ebx; lret", cpl=3
    )
    protected_mode.describe(NEW, 0, 0xFFFFF, CODE_RX | DPL1, BIG | GRANULAR)
    protected_mode.describe(OTHER, 0, 0xFFFFF, DATA_RW | DPL1, BIG | GRANULAR)
    protected_mode.describe_gate(GATE, NEW, protected_mode.label("target"), CALL32 | DPL3)
    protected_mode.store(TSS + 0x10, OTHER | 1, 4)
    event = protected_mode.event()
    assert event.vector == 0x40
    state = protected_mode.pause()
    assert (state.rax, state.rbx) == (FLAT, OTHER | 1)


@pytest.mark.parametrize(
    ("access", "target", "code", "vector", "error"),
    [
        (CALL32, CODE, CODE_RX, GP, GATE),
        (CALL32 & ~P | DPL3, CODE, CODE_RX, NP, GATE),
        (CALL32 | DPL3, 0, CODE_RX, GP, 0),
        (CALL32 | DPL3, GDT_LIMIT + 1, CODE_RX, GP, GDT_LIMIT + 1),
        (CALL32 | DPL3, FLAT, CODE_RX, GP, FLAT),
        (CALL32 | DPL3, NEW, CODE_RX & ~P, NP, NEW),
    ],
)
def test_a_call_gate_that_does_not_lead_anywhere(
    protected_mode: ProtectedModeMachine, access: int, target: int, code: int, vector: int, error: int
) -> None:
    protected_mode.boot(f"lcall ${GATE | 3}, $0", cpl=3)
    protected_mode.describe(NEW, 0, 0xFFFFF, code, BIG | GRANULAR)
    protected_mode.describe_gate(GATE, target, 0, access)
    assert outcome(protected_mode) == (vector, error, ORIGIN)


def test_a_jump_through_a_call_gate_does_not_raise_the_level(protected_mode: ProtectedModeMachine) -> None:
    protected_mode.boot(f"ljmp ${GATE | 3}, $0; target: done", cpl=3)
    protected_mode.describe_gate(GATE, CODE, protected_mode.label("target"), CALL32 | DPL3)
    assert outcome(protected_mode) == (GP, CODE, ORIGIN)
    protected_mode.describe(NEW, 0, 0xFFFFF, CODE_RX & ~P, BIG | GRANULAR)
    protected_mode.describe_gate(GATE, NEW, protected_mode.label("target"), CALL32 | DPL3)
    protected_mode.begin()
    assert outcome(protected_mode) == (NP, NEW, ORIGIN)


@pytest.mark.parametrize(
    ("ss", "access", "vector", "error"),
    [
        (0, DATA_RW, TS, 0),
        (NEW | 3, DATA_RW, TS, NEW),
        (NEW, DATA_RO, TS, NEW),
        (NEW, CODE_RX, TS, NEW),
        (NEW, DATA_RW | DPL3, TS, NEW),
        (NEW, DATA_RW & ~P, SS, NEW),
        (GDT_LIMIT + 1, DATA_RW, TS, GDT_LIMIT + 1),
    ],
)
@pytest.mark.parametrize("event_", [False, True])
def test_a_stack_of_the_tss_that_can_not_be_used(
    protected_mode: ProtectedModeMachine, ss: int, access: int, vector: int, error: int, *, event_: bool
) -> None:
    """The handlers are conforming: they run in ring 3."""
    protected_mode.boot("int $0x40" if event_ else f"lcall ${GATE | 3}, $0", cpl=3, rflags=0x3002)
    protected_mode.describe(NEW, 0, 0xFFFFF, access, BIG | GRANULAR)
    protected_mode.describe(OTHER, 0, 0xFFFFF, CODE_CONFORMING, BIG | GRANULAR)
    protected_mode.describe_gate(GATE, CODE, 0, CALL32 | DPL3)
    protected_mode.store(TSS + 8, ss, 4)
    protected_mode.place("popl %eax; popl %ebx; done", 32, 0x900)
    protected_mode.set_gate(vector, 0x900, selector=OTHER)
    state = protected_mode.finish()
    assert (state.rax, state.rbx, state.cs.selector) == (error, ORIGIN, OTHER | 3)


def test_a_tss_that_ends_before_the_stack_is_ts_of_itself(protected_mode: ProtectedModeMachine) -> None:
    protected_mode.boot(f"lcall ${GATE | 3}, $0", cpl=3, rflags=0x3002, tr=SegmentState(TSS, 8, TR, 0x8B))
    protected_mode.describe(OTHER, 0, 0xFFFFF, CODE_CONFORMING, BIG | GRANULAR)
    protected_mode.describe_gate(GATE, CODE, 0, CALL32 | DPL3)
    protected_mode.place("popl %eax; done", 32, 0x900)
    protected_mode.set_gate(TS, 0x900, selector=OTHER)
    assert protected_mode.finish().rax == TR


# --- Events ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("access", "cleared"), [(INT32, IF), (TRAP32, 0)])
def test_an_interrupt_gate_clears_if_and_a_trap_gate_does_not(
    protected_mode: ProtectedModeMachine, access: int, cleared: int
) -> None:
    protected_mode.boot("int $0x40; target: done", rflags=IF | 0x4002)
    protected_mode.set_gate(0x40, protected_mode.label("target"), access=access)
    assert protected_mode.finish().rflags == IF & ~cleared | 2
    assert protected_mode.load(STACK_TOP - 4, 4) == IF | 0x4002


@pytest.mark.parametrize("access", [INT16, TRAP16])
def test_a_16_bit_gate_pushes_words(protected_mode: ProtectedModeMachine, access: int) -> None:
    protected_mode.boot("int $0x40; after: nop")
    protected_mode.place("done", 32, 0x900)
    protected_mode.set_gate(0x40, 0x900, access=access)
    assert protected_mode.finish().rsp == STACK_TOP - 6
    words = [protected_mode.load(STACK_TOP - 6 + 2 * i, 2) for i in range(3)]
    assert words == [protected_mode.label("after") & 0xFFFF, CODE, 2]


@pytest.mark.parametrize(
    ("vector", "gate", "error"),
    [
        (0x40, {"access": INT32}, (GP, 0x202)),
        (0x40, {"access": INT32 & ~P | DPL3}, (NP, 0x202)),
        (0x40, {"access": CALL32 | DPL3}, (GP, 0x202)),
        (0x40, {"selector": 0}, (GP, 0)),
        (0x40, {"selector": FLAT}, (GP, FLAT)),
        (UD, {"access": INT32 & ~P}, (NP, UD * 8 + 3)),
        (UD, {"selector": FLAT}, (GP, FLAT | 1)),
        (UD, {"access": INT32}, None),
    ],
)
def test_an_idt_entry_that_can_not_be_used(
    protected_mode: ProtectedModeMachine, vector: int, gate: dict[str, int], error: tuple[int, int] | None
) -> None:
    protected_mode.boot(f"{'ud2' if vector == UD else f'int ${vector}'}; hlt", cpl=3)
    protected_mode.set_gate(vector, **gate)
    if error is None:
        assert protected_mode.event().vector == vector
    else:
        assert outcome(protected_mode) == (*error, ORIGIN)


def test_a_vector_beyond_the_idt_is_gp(protected_mode: ProtectedModeMachine) -> None:
    protected_mode.boot("lidt table; at: int $0x40; table: .word 0x1fe; .long 0x3000")
    assert outcome(protected_mode) == (GP, 0x202, protected_mode.label("at"))


# --- Returns ---------------------------------------------------------------------------------------------

TO_RING3 = (
    f"pushl ${USER_FLAT}; pushl ${RING3_STACK_TOP}; pushl $2; pushl ${USER_CODE}; pushl $user; at: iret"
)


def test_iret_to_ring_3_takes_inner_segments_away(protected_mode: ProtectedModeMachine) -> None:
    protected_mode.boot(f"movl ${USER_FLAT}, %eax; movl %eax, %fs; {TO_RING3}; user: int $0x40")
    event = protected_mode.event()
    assert (event.cs, event.ss, event.rsp) == (USER_CODE, USER_FLAT, RING3_STACK_TOP)
    state = protected_mode.pause()
    assert (state.es.selector, state.gs.selector, state.fs.selector) == (0, 0, USER_FLAT)


def test_lret_to_ring_3_releases_both_stacks(protected_mode: ProtectedModeMachine) -> None:
    protected_mode.boot(
        f"pushl ${USER_FLAT}; pushl ${RING3_STACK_TOP - 16}; pushl $1; pushl $2; pushl ${USER_CODE};"
        "pushl $user; lret $8; user: int $0x40"
    )
    event = protected_mode.event()
    assert (event.cs, event.rsp) == (USER_CODE, RING3_STACK_TOP - 8)


@pytest.mark.parametrize(
    ("cs", "ss", "error"),
    [
        (0, USER_FLAT, (GP, 0)),
        (CODE | 3, USER_FLAT, (GP, CODE)),
        (FLAT, USER_FLAT, (GP, FLAT)),
        (NEW | 3, USER_FLAT, (NP, NEW)),
        (USER_CODE, 0, (GP, 0)),
        (USER_CODE, FLAT | 3, (GP, FLAT)),
        (USER_CODE, USER_FLAT & ~3, (GP, USER_FLAT & ~3)),
        (USER_CODE, OTHER | 3, (SS, OTHER)),
    ],
)
@pytest.mark.parametrize("instruction", ["iret", "lret"])
def test_a_frame_that_can_not_be_returned_to(
    protected_mode: ProtectedModeMachine, instruction: str, cs: int, ss: int, error: tuple[int, int]
) -> None:
    flags = "pushl $2;" if instruction == "iret" else ""
    protected_mode.boot(f"pushl ${ss}; pushl $0x5000; {flags} pushl ${cs}; pushl $0x1234; at: {instruction}")
    protected_mode.describe(NEW, 0, 0xFFFFF, CODE_RX & ~P | DPL3, BIG | GRANULAR)
    protected_mode.describe(OTHER, 0, 0xFFFFF, DATA_RW & ~P | DPL3, BIG | GRANULAR)
    assert outcome(protected_mode) == (*error, protected_mode.label("at"))


def test_iret_in_ring_3_can_not_set_vm_if_or_iopl(protected_mode: ProtectedModeMachine) -> None:
    protected_mode.boot(
        f"pushl ${VM | IF | 0x3002 | 1}; pushl ${USER_CODE}; pushl $after; iret; after: int $0x40", cpl=3
    )
    assert protected_mode.event().rflags == 3


def test_iret_to_an_eip_outside_the_segment_is_gp_of_0(protected_mode: ProtectedModeMachine) -> None:
    protected_mode.boot(f"pushl $2; pushl ${NEW}; pushl $0x1000; at: iret")
    protected_mode.describe(NEW, 0, 0xFFF, CODE_RX, BIG)
    assert outcome(protected_mode) == (GP, 0, protected_mode.label("at"))


# --- Segment registers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("register", "selector", "access", "error"),
    [
        ("ss", 0, DATA_RW, (GP, 0)),
        ("ss", NEW | 1, DATA_RW, (GP, NEW)),
        ("ss", NEW, DATA_RO, (GP, NEW)),
        ("ss", NEW, CODE_RX, (GP, NEW)),
        ("ss", NEW, DATA_RW & ~P, (SS, NEW)),
        ("ds", NEW, CODE_X, (GP, NEW)),
        ("ds", NEW | 3, DATA_RW, (GP, NEW)),
        ("es", NEW, DATA_RW & ~P, (NP, NEW)),
        ("fs", NEW, INT32, (GP, NEW)),
        ("gs", GDT_LIMIT + 1, DATA_RW, (GP, GDT_LIMIT + 1)),
        ("ds", 0x0C, DATA_RW, (GP, 0x0C)),
        ("ds", NEW | 3, CODE_CONFORMING, None),
        ("ds", NEW, CODE_RX, None),
        ("es", 3, DATA_RW, None),
    ],
)
def test_a_load_of_a_segment_register(
    protected_mode: ProtectedModeMachine,
    register: str,
    selector: int,
    access: int,
    error: tuple[int, int] | None,
) -> None:
    protected_mode.boot(f"movl ${selector}, %eax; at: movl %eax, %{register}; nop; done")
    protected_mode.describe(NEW, 0, 0xFFFFF, access & ~1 if access & 0x10 else access, BIG | GRANULAR)
    if error is None:
        state = protected_mode.finish()
        assert getattr(state, register).selector == selector
        assert selector == 3 or protected_mode.descriptor_access(NEW) & 1
    else:
        assert outcome(protected_mode) == (*error, protected_mode.label("at"))


@pytest.mark.parametrize(
    ("access", "rights", "limit", "reads", "writes"),
    [
        (DATA_RW, True, True, True, True),
        (DATA_RO, True, True, True, False),
        (CODE_X, True, True, False, False),
        (CODE_CONFORMING, True, True, True, False),
        (CALL32, True, False, False, False),
        (CALL16, True, False, False, False),
        (P | 5, True, False, False, False),
        (P | 9, True, True, False, False),
        (P | 2, True, True, False, False),
        (INT32, False, False, False, False),
        (P | 8, False, False, False, False),
        (0, False, False, False, False),
        (DATA_RW & ~P, True, True, True, True),
    ],
)
def test_lar_lsl_verr_and_verw(
    protected_mode: ProtectedModeMachine, access: int, *, rights: bool, limit: bool, reads: bool, writes: bool
) -> None:
    zf = "pushf; popl %edx; andl $0x40, %edx; shrl $6, %edx; shll $1, %esi; orl %edx, %esi;"
    protected_mode.boot(
        f"xorl %esi, %esi; movl ${NEW}, %eax; larl %eax, %ebx; {zf} lsll %eax, %ecx; {zf} verr %ax; {zf}"
        f"verw %ax; {zf} done"
    )
    protected_mode.describe(NEW, 0, 0x12345, access, BIG)
    state = protected_mode.finish()
    assert state.rsi == rights << 3 | limit << 2 | reads << 1 | writes
    assert state.rbx == (0x400000 | access << 8 if rights else 0)
    assert state.rcx == (0x12345 if limit else 0)


# --- Virtual-8086 mode -----------------------------------------------------------------------------------


def to_vm86(code: str, flags: int = 0) -> str:
    pushes = "".join(f"pushl ${value};" for value in (5, 4, 3, 2, 0x6000, 0x800, VM | flags | 2, 0x5000, 8))
    return f"{pushes} iret; .balign 16; v86: .code16; {code}"


def boot_vm86(machine: ProtectedModeMachine, code: str, flags: int = 0) -> None:
    machine.boot(to_vm86(code, flags))
    machine.write(0x50008, machine.program.code[machine.label("v86") - ORIGIN :])


def test_vm86_is_entered_by_iret_and_left_by_an_event(protected_mode: ProtectedModeMachine) -> None:
    boot_vm86(protected_mode, "movw %fs, %ax; movw %gs, %bx; ud2")
    event = protected_mode.event()
    assert (event.vector, event.cs, event.rip, event.rflags & VM) == (UD, 0x5000, 12, VM)
    assert (event.rsp, event.ss) == (0x800, 0x6000)
    selectors = [protected_mode.load(event.handler_rsp + 20 + 4 * i, 4) for i in range(4)]
    assert selectors == [2, 3, 4, 5]
    state = protected_mode.pause()
    assert (state.es.selector, state.fs.selector, state.gs.selector) == (0, 0, 0)
    assert state.rbx == 5


@pytest.mark.parametrize("code", ["cli", "sti", "pushf", "popf", "int $0x40", "iret"])
def test_vm86_below_iopl_3_faults_on_what_touches_if(protected_mode: ProtectedModeMachine, code: str) -> None:
    boot_vm86(protected_mode, code)
    assert outcome(protected_mode) == (GP, 0, 8)


@pytest.mark.parametrize("code", ["inb $0x60, %al", "hlt", "lgdt 0", "mov %cr0, %eax", "clts"])
def test_vm86_has_no_privilege(protected_mode: ProtectedModeMachine, code: str) -> None:
    boot_vm86(protected_mode, code, flags=0x3000)
    assert outcome(protected_mode) == (GP, 0, 8)


@pytest.mark.parametrize("code", ["sldt %ax", "str %ax", "lar %ax, %bx", "verr %ax", "arpl %ax, %bx"])
def test_vm86_lacks_the_instructions_of_protected_mode(
    protected_mode: ProtectedModeMachine, code: str
) -> None:
    boot_vm86(protected_mode, code)
    assert outcome(protected_mode) == (UD, 0, 8)


def test_vm86_of_iopl_3_has_far_calls_and_iret(protected_mode: ProtectedModeMachine) -> None:
    boot_vm86(
        protected_mode,
        "lcallw $0x5000, $8 + f - v86; ud2; f: pushfw; pushw %cs; pushw $8 + g - v86; iretw; g: lretw",
        flags=0x3000,
    )
    event = protected_mode.event()
    assert (event.vector, event.cs, event.rip, event.rsp) == (UD, 0x5000, 8 + 5, 0x800)


def test_an_int_of_vm86_needs_a_handler_in_ring_0(protected_mode: ProtectedModeMachine) -> None:
    boot_vm86(protected_mode, "int $0x40", flags=0x3000)
    protected_mode.describe(NEW, 0, 0xFFFFF, CODE_CONFORMING, BIG | GRANULAR)
    protected_mode.set_gate(0x40, selector=NEW)
    assert outcome(protected_mode) == (GP, NEW, 8)


def test_tf_steps_in_vm86(protected_mode: ProtectedModeMachine) -> None:
    boot_vm86(protected_mode, "nop; nop", flags=TF)
    event = protected_mode.event()
    assert (event.vector, event.rip, event.rflags & VM) == (1, 9, VM)
