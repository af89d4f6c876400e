"""Non-canonical addresses: #SS where the access is to the stack, #GP elsewhere (SDM vol. 1, 3.3.7.1)."""

import pytest

from tests.unit.engine.long_mode import DATA, IST1_TOP, STACK_TOP, LongModeMachine

EXT = 1
UD, DF, SS, GP = 6, 8, 12, 13
HOLE = 0x0000800000000000

STACK = [
    ("rsp", "movb 8(%rsp), %cl"),
    ("rsp", "movb %cl, (%rsp)"),
    ("rbp", "movb (%rbp), %cl"),
    ("rbp", "movb %cl, (%rbp,%rsi)"),
    ("rbp", "movb %ds:(%rbp), %cl"),
    ("rbp", "movaps (%rbp), %xmm0"),
    ("rbp", "pshufb (%rbp), %xmm0"),
    ("rbp", "lock addl $1, (%rbp)"),
    ("rbp", "pushq (%rbp)"),
    ("push", "pushq %rax"),
    ("push", "pushq $1"),
    ("push", "pushq 0x30000"),
    ("push", "pushq %fs"),
    ("push", "pushfq"),
    ("push", "call at"),
    ("push", "call *%rax"),
    ("push", "enter $8, $0"),
    ("rsp", "popq %rax"),
    ("rsp", "popq 0x30000"),
    ("rsp", "popq %gs"),
    ("rsp", "popfq"),
    ("rsp", "ret"),
    ("rsp", "ret $8"),
    ("rsp", "lretq"),
    ("rsp", "iretq"),
    ("rbp", "leave"),
]
OTHER = [
    ("rax", "movb (%rax), %cl"),
    ("r12", "movb (%r12), %cl"),
    ("r13", "movb (%r13), %cl"),
    ("rbp", "movb %fs:(%rbp), %cl"),
    ("rbp", "movb (%rax,%rbp), %cl"),
    ("rax", "pushq (%rax)"),
    ("rax", "popq (%rax)"),
    ("rax", "call *(%rax)"),
    ("rsi", "lodsb"),
    ("rdi", "stosq"),
    ("rax", "lgdt (%rax)"),
]


def boot(machine: LongModeMachine, register: str, instruction: str) -> None:
    name, value = ("rsp", HOLE + 8) if register == "push" else (register, HOLE)
    machine.boot(f"nop; at: {instruction}; done", **{name: value})
    for vector in (SS, GP):
        machine.set_gate(vector, ist=1)


@pytest.mark.parametrize(("register", "instruction"), STACK)
def test_on_the_stack_it_is_ss_of_0(long_mode: LongModeMachine, register: str, instruction: str) -> None:
    boot(long_mode, register, instruction)
    event = long_mode.event()
    assert (event.vector, event.error_code, event.rip) == (SS, 0, long_mode.label("at"))


@pytest.mark.parametrize(("register", "instruction"), OTHER)
def test_elsewhere_it_is_gp_of_0(long_mode: LongModeMachine, register: str, instruction: str) -> None:
    boot(long_mode, register, instruction)
    event = long_mode.event()
    assert (event.vector, event.error_code, event.rip) == (GP, 0, long_mode.label("at"))


def test_an_event_that_can_not_be_pushed_is_ss_and_external(long_mode: LongModeMachine) -> None:
    long_mode.boot("at: ud2; done", rsp=HOLE + 0x1000)
    long_mode.set_gate(SS, ist=1)
    event = long_mode.event()
    assert (event.vector, event.error_code, event.rip) == (SS, EXT, long_mode.label("at"))
    assert event.handler_rsp == IST1_TOP


def test_an_int_that_can_not_be_pushed_is_ss_and_the_programs_own(long_mode: LongModeMachine) -> None:
    long_mode.boot("at: int $0x80; done", rsp=HOLE + 0x1000)
    long_mode.set_gate(SS, ist=1)
    event = long_mode.event()
    assert (event.vector, event.error_code, event.rip) == (SS, 0, long_mode.label("at"))


def test_a_fault_that_can_not_be_pushed_is_a_double_fault(long_mode: LongModeMachine) -> None:
    long_mode.boot("xorl %ecx, %ecx; divl %ecx; done", rsp=HOLE + 0x1000)
    long_mode.set_gate(DF, ist=1)
    assert long_mode.event().vector == DF


@pytest.mark.parametrize(
    ("instruction", "rsp"),
    [
        ("jmp *%rax", 0),
        ("jmp *0x30000", 0),
        ("call *%rax", 0),
        ("call *0x30000", 0),
        ("rex.w call *%rax", 0),
        ("ret", -8),
        ("ret $0x18", -8),
        ("pushq %rax; at: ret", 0),
    ],
)
def test_a_branch_to_a_non_canonical_address_faults_itself(
    long_mode: LongModeMachine, instruction: str, rsp: int
) -> None:
    source = instruction if "at:" in instruction else f"at: {instruction}"
    long_mode.boot(f"nop; {source}; done", rax=HOLE, rsp=STACK_TOP + rsp)
    long_mode.store(DATA, HOLE, 8)
    long_mode.store(STACK_TOP - 8, HOLE, 8)
    long_mode.set_gate(GP, ist=1)
    event = long_mode.event()
    expected = STACK_TOP - 8 if "pushq" in instruction else STACK_TOP + rsp
    assert (event.vector, event.error_code, event.rip) == (GP, 0, long_mode.label("at"))
    assert event.rsp == expected


@pytest.mark.parametrize(
    "instruction", ["lgdt 0x30000", "lidt 0x30000", "lidt 0x10(%rbx)", "lgdt 1f(%rip); 1:"]
)
def test_a_table_can_not_be_at_a_non_canonical_address(long_mode: LongModeMachine, instruction: str) -> None:
    long_mode.boot(f"nop; at: {instruction}; .short 0; .quad {HOLE}; done", rbx=DATA - 0x10)
    long_mode.store(DATA + 2, HOLE, 8)
    event = long_mode.event()
    assert (event.vector, event.error_code, event.rip) == (GP, 0, long_mode.label("at"))


def test_a_table_at_a_canonical_address_is_loaded(long_mode: LongModeMachine) -> None:
    long_mode.boot("lgdt 0x30000; sgdt 0x30010; done")
    long_mode.store(DATA, 0xFFFF800000001000 << 16 | 0x7F, 10)
    long_mode.finish()
    assert long_mode.load(DATA + 0x10, 10) == 0xFFFF800000001000 << 16 | 0x7F
