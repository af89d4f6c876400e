"""Exceptions of 32-bit code: BOUND, INTO, INT3, INT1, POP SS, RF (SDM vol. 2; vol. 3, chapter 6)."""

import pytest

from tests.unit.engine.protected_mode import DATA, DPL3, FLAT, INT32, TF, P, ProtectedModeMachine

DE, DB, BP, OF, BR, UD, NP, GP, AC = 0, 1, 3, 4, 5, 6, 11, 13, 17
IDT_CODE, EXT = 2, 1
RF, FLAG_OF, FLAG_AC = 1 << 16, 1 << 11, 1 << 18
CR0_PE, CR0_AM = 1, 1 << 18


@pytest.mark.parametrize(
    ("index", "faults"), [(-1, True), (0, False), (9, False), (10, True), (1 << 31, True)]
)
@pytest.mark.parametrize("wide", [False, True])
def test_bound_is_br_outside_its_limits(
    protected_mode: ProtectedModeMachine, index: int, faults: bool, wide: bool
) -> None:
    instruction, size = ("boundl %eax, 0x30000", 4) if wide else ("boundw %ax, 0x30000", 2)
    protected_mode.boot(f"nop; at: {instruction}; done", rax=index & 0xFFFFFFFF if wide else index & 0xFFFF)
    protected_mode.store(DATA, 0, size)
    protected_mode.store(DATA + size, 9, size)
    if faults and (wide or index != 1 << 31):
        event = protected_mode.event()
        assert (event.vector, event.rip) == (BR, protected_mode.label("at"))
        assert event.rflags & RF
    else:
        protected_mode.finish()


def test_bound_with_a_register_is_ud(protected_mode: ProtectedModeMachine) -> None:
    protected_mode.boot("at: .byte 0x62, 0xc0; done")
    event = protected_mode.event()
    assert (event.vector, event.rip) == (UD, protected_mode.label("at"))


@pytest.mark.parametrize("prefix", ["", ".byte 0x67;"])
def test_into_is_of_if_the_flag_is_set(protected_mode: ProtectedModeMachine, prefix: str) -> None:
    protected_mode.boot(f"{prefix} into; after: done", rflags=FLAG_OF | 2)
    event = protected_mode.event()
    assert (event.vector, event.rip, event.rflags & RF) == (OF, protected_mode.label("after"), 0)
    protected_mode.boot("into; done")
    protected_mode.finish()


@pytest.mark.parametrize(("instruction", "vector"), [("into", OF), ("int3", BP), ("int $0x80", 0x80)])
def test_a_software_interrupt_asks_the_gates_dpl(
    protected_mode: ProtectedModeMachine, instruction: str, vector: int
) -> None:
    protected_mode.boot(f"nop; at: {instruction}; hlt", cpl=3, rflags=FLAG_OF | 2)
    protected_mode.set_gate(vector, access=INT32)
    event = protected_mode.event()
    assert (event.vector, event.error_code, event.rip) == (
        GP,
        vector << 3 | IDT_CODE,
        protected_mode.label("at"),
    )


def test_int1_does_not(protected_mode: ProtectedModeMachine) -> None:
    protected_mode.boot("nop; .byte 0xf1; after: hlt", cpl=3)
    protected_mode.set_gate(DB, access=INT32)
    event = protected_mode.event()
    assert (event.vector, event.rip) == (DB, protected_mode.label("after"))


def test_a_fault_while_int1_is_delivered_is_external_and_at_the_int1(
    protected_mode: ProtectedModeMachine,
) -> None:
    protected_mode.boot("nop; at: .byte 0xf1; done")
    protected_mode.set_gate(DB, access=INT32 & ~P)
    event = protected_mode.event()
    assert (event.vector, event.error_code, event.rip) == (
        NP,
        DB << 3 | IDT_CODE | EXT,
        protected_mode.label("at"),
    )


@pytest.mark.parametrize("load", ["popl %ss", "movl %ecx, %ss", "lss 0x30000, %esp"])
def test_a_load_of_ss_holds_a_step_off(protected_mode: ProtectedModeMachine, load: str) -> None:
    protected_mode.boot(
        f"pushl %ecx; pushl %edx; popfl; {load}; nop; one: nop; done",
        rcx=FLAT,
        rdx=TF | 2,
    )
    protected_mode.store(DATA, 0x1F000, 4)
    protected_mode.store(DATA + 4, FLAT, 2)
    event = protected_mode.event()
    # LSS has no shadow: the step over it comes right behind it (SDM vol. 2, LSS).
    expected = protected_mode.label("one") - (1 if "lss" in load else 0)
    assert (event.vector, event.rip) == (DB, expected)


@pytest.mark.parametrize("instruction", ["aam $0", "divb %cl", "idivw %cx"])
def test_a_division_by_0_is_de(protected_mode: ProtectedModeMachine, instruction: str) -> None:
    protected_mode.boot(f"nop; at: {instruction}; done")
    event = protected_mode.event()
    assert (event.vector, event.rip, event.rflags & RF) == (DE, protected_mode.label("at"), RF)


def test_alignment_is_checked_in_32_bit_code(protected_mode: ProtectedModeMachine) -> None:
    protected_mode.boot("nop; at: movl 0x30002, %eax; hlt", cpl=3, cr0=CR0_PE | CR0_AM, rflags=FLAG_AC | 2)
    event = protected_mode.event()
    assert (event.vector, event.error_code, event.rip) == (AC, 0, protected_mode.label("at"))


@pytest.mark.parametrize("source", ["movl %eax, (%ebx)", "arpl %ax, (%ebx)", "incl (%ebx); nop"])
def test_lock_in_32_bit_code(protected_mode: ProtectedModeMachine, source: str) -> None:
    protected_mode.boot(f"nop; at: .byte 0xf0; {source}; done", rbx=DATA)
    if source.startswith("incl"):
        protected_mode.finish()
        return
    event = protected_mode.event()
    assert (event.vector, event.rip) == (UD, protected_mode.label("at"))


def test_a_user_gate_takes_int3_from_ring_3(protected_mode: ProtectedModeMachine) -> None:
    protected_mode.boot("int3; after: hlt", cpl=3)
    protected_mode.set_gate(BP, access=INT32 | DPL3)
    event = protected_mode.event()
    assert (event.vector, event.rip) == (BP, protected_mode.label("after"))
