"""Hardware task switches in 32-bit protected mode (SDM vol. 3, chapter 7)."""

import struct

import pytest

from mpvm.cpu.state import SegmentState
from tests.unit.engine.assembler import assemble
from tests.unit.engine.protected_mode import (
    CODE,
    CODE_CONFORMING,
    CODE_RX,
    CR0_TS,
    DATA_RW,
    DPL3,
    ESP0,
    FLAT,
    GDT,
    LDT,
    LDT_TYPE,
    NT,
    ORIGIN,
    SPARE,
    TASK_GATE,
    TASKS,
    TF,
    TR,
    TSS,
    TSS16,
    TSS32,
    TSS32_BUSY,
    USER_FLAT,
    VM,
    P,
    ProtectedModeMachine,
)

DB, UD, TS, NP, SS, GP, PF = 1, 6, 10, 11, 12, 13, 14
NEW, OTHER, EXTRA, GATE = SPARE, SPARE + 8, SPARE + 16, SPARE + 24
CODE16 = SPARE + 32
NEW_TSS, OTHER_TSS = TASKS, TASKS + 0x100
NEW_STACK = 0x50000
BUSY = 2
SELECTORS = ("es", "cs", "ss", "ds", "fs", "gs")
REGISTERS = ("eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi")


def tss32(machine: ProtectedModeMachine, at: int, **state: int) -> None:
    """A 32-bit TSS: flat segments, and what `state` says."""
    values = {"eflags": 2, "esp": NEW_STACK, "cs": CODE, **dict.fromkeys(set(SELECTORS) - {"cs"}, FLAT)}
    values.update(state)
    place = {
        "link": 0,
        "esp0": 4,
        "ss0": 8,
        "cr3": 0x1C,
        "eip": 0x20,
        "eflags": 0x24,
        "ldt": 0x60,
        "trap": 0x64,
    }
    place |= {name: 0x28 + 4 * i for i, name in enumerate(REGISTERS)}
    place |= {name: 0x48 + 4 * i for i, name in enumerate(SELECTORS)}
    machine.write(at, bytes(0x68))
    for name, value in values.items():
        machine.store(at + place[name], value, 4)


def tss16(machine: ProtectedModeMachine, at: int, **state: int) -> None:
    """The same of 16 bits."""
    values = {"eflags": 2, "esp": 0x7000, "cs": CODE, "es": FLAT, "ss": FLAT, "ds": FLAT, **state}
    place = {"link": 0, "eip": 0x0E, "eflags": 0x10, "ldt": 0x2A}
    place |= {name: 0x12 + 2 * i for i, name in enumerate(REGISTERS)}
    place |= {name: 0x22 + 2 * i for i, name in enumerate(SELECTORS[:4])}
    machine.write(at, bytes(0x2C))
    for name, value in values.items():
        machine.store(at + place[name], value, 2)


def boot(machine: ProtectedModeMachine, program: str, **state: int) -> None:
    """A program with a task NEW whose code is at the label `task`, and a task gate to it."""
    labels = assemble(program, 32, ORIGIN).labels
    machine.boot(program)
    machine.describe(NEW, NEW_TSS, 0x67, TSS32)
    machine.describe_gate(GATE, NEW, 0, TASK_GATE)
    tss32(machine, NEW_TSS, **{"eip": labels["task"], **state})


def busy(machine: ProtectedModeMachine, selector: int) -> bool:
    return bool(machine.descriptor_access(selector) & BUSY)


# --- What a switch saves, loads and links ----------------------------------------------------------------


@pytest.mark.parametrize("target", [NEW, GATE])
def test_a_jump_loads_the_state_of_the_new_task(protected_mode: ProtectedModeMachine, target: int) -> None:
    values = {name: 0x11111111 * (i + 1) for i, name in enumerate(REGISTERS) if name != "esp"}
    boot(protected_mode, f"ljmp ${target}, $0xf4f4f4f4; task: done", **values, eflags=0x200CD7)
    state = protected_mode.finish()
    assert [getattr(state, f"r{name[1:]}") for name in values] == list(values.values())
    assert state.rsp == NEW_STACK
    assert state.rflags == 0x200CD7
    assert (state.tr.selector, state.tr.base, state.tr.limit) == (NEW, NEW_TSS, 0x67)
    assert (state.cs.selector, state.ss.selector, state.fs.selector) == (CODE, FLAT, FLAT)
    assert state.cr0 & CR0_TS


def test_a_jump_saves_the_state_of_the_old_task(protected_mode: ProtectedModeMachine) -> None:
    names = [name for name in REGISTERS if name != "esp"]
    loads = "; ".join(f"movl ${0x11111111 * (i + 1):#x}, %{name}" for i, name in enumerate(names))
    program = f"{loads}; stc; ljmp ${NEW}, $0; after: nop; task: done"
    boot(protected_mode, program)
    protected_mode.finish()
    saved = {name: protected_mode.load(TSS + 0x28 + 4 * i, 4) for i, name in enumerate(REGISTERS)}
    assert [saved[name] for name in names] == [0x11111111 * (i + 1) for i in range(len(names))]
    assert protected_mode.load(TSS + 0x20, 4) == protected_mode.label("after")
    assert protected_mode.load(TSS + 0x24, 4) & 0xFFF == 0x003
    assert [protected_mode.load(TSS + 0x48 + 4 * i, 2) for i in range(6)] == [FLAT, CODE, *[FLAT] * 4]


def test_the_flags_are_saved_as_the_last_instruction_has_left_them(
    protected_mode: ProtectedModeMachine,
) -> None:
    program = f"""
        movl $-1, %eax
        addl $0x101, %eax
        lcall ${NEW}, $0
        done
    task:
        movl $0x100, %eax
        addl $0x100, %eax
        iret
    """
    boot(protected_mode, program)
    protected_mode.finish()
    assert protected_mode.load(TSS + 0x24, 4) & 0x8D5 == 0x15
    assert protected_mode.load(NEW_TSS + 0x24, 4) & 0x9D5 == 0x04


@pytest.mark.parametrize("instruction", ["ljmp", "lcall"])
def test_the_flags_of_the_new_task_are_its_own(
    protected_mode: ProtectedModeMachine, instruction: str
) -> None:
    program = f"movl $-1, %eax; addl $0x101, %eax; {instruction} ${NEW}, $0; task: done"
    boot(protected_mode, program, eflags=0x8C2)
    assert protected_mode.finish().rflags & 0xFFF == 0x8C2


def test_a_jump_moves_the_busy_bit_and_does_not_nest(protected_mode: ProtectedModeMachine) -> None:
    boot(protected_mode, f"ljmp ${NEW}, $0; task: done")
    assert not protected_mode.finish().rflags & NT
    assert (busy(protected_mode, TR), busy(protected_mode, NEW)) == (False, True)
    assert protected_mode.load(NEW_TSS, 2) == 0


@pytest.mark.parametrize("target", [NEW, GATE])
def test_a_call_nests_and_links_back(protected_mode: ProtectedModeMachine, target: int) -> None:
    boot(protected_mode, f"lcall ${target}, $0; task: done")
    assert protected_mode.finish().rflags & NT
    assert (busy(protected_mode, TR), busy(protected_mode, NEW)) == (True, True)
    assert protected_mode.load(NEW_TSS, 2) == TR
    assert protected_mode.load(TSS + 0x24, 4) & NT == 0


def test_iret_of_a_nested_task_goes_back_and_the_task_goes_on_there(
    protected_mode: ProtectedModeMachine,
) -> None:
    boot(
        protected_mode,
        f"lcall ${NEW}, $0; outb %al, $MARK; lcall ${NEW}, $0; done; task: iret; incl {TASKS + 0x800}; iret",
    )
    protected_mode.mark()
    assert (busy(protected_mode, TR), busy(protected_mode, NEW)) == (True, False)
    assert protected_mode.load(NEW_TSS + 0x24, 4) & NT == 0
    state = protected_mode.finish()
    assert protected_mode.load(TASKS + 0x800, 4) == 1
    assert state.tr.selector == TR


def test_a_switch_loads_ldt_and_cr3(protected_mode: ProtectedModeMachine) -> None:
    boot(protected_mode, f"ljmp ${NEW}, $0; task: done", ldt=EXTRA, ds=0x0C, cr3=0x90000)
    protected_mode.describe(EXTRA, LDT, 0x3F, LDT_TYPE)
    protected_mode.describe(0x0C, 0x1234, 0xFFF, DATA_RW)
    state = protected_mode.finish()
    assert (state.ldtr.selector, state.ldtr.base, state.ldtr.limit) == (EXTRA, LDT, 0x3F)
    assert (state.ds.selector, state.ds.base, state.ds.limit) == (0x0C, 0x1234, 0xFFF)
    # Paging is off: CR3 is not the task's to change.
    assert state.cr3 == 0


def test_a_switch_to_a_task_in_vm86(protected_mode: ProtectedModeMachine) -> None:
    boot(
        protected_mode,
        f"ljmp ${NEW}, $0; task: ",
        eflags=VM | 2,
        cs=0x5000,
        eip=8,
        ds=0x1234,
        ss=0x6000,
        esp0=ESP0,
        ss0=FLAT,
    )
    protected_mode.write(0x50008, b"\x0f\x0b")
    event = protected_mode.event()
    assert (event.vector, event.cs, event.rip, event.rflags & VM) == (UD, 0x5000, 8, VM)
    assert protected_mode.load(event.handler_rsp + 4 * 6, 2) == 0x1234


def test_the_local_breakpoints_end_with_the_task(protected_mode: ProtectedModeMachine) -> None:
    boot(protected_mode, f"movl $0x703, %eax; movl %eax, %dr7; ljmp ${NEW}, $0; task: movl %dr7, %ebx; done")
    assert protected_mode.finish().rbx == 0x602


# --- 16-bit tasks ----------------------------------------------------------------------------------------


def test_a_jump_to_a_16_bit_task_loads_16_bits(protected_mode: ProtectedModeMachine) -> None:
    program = f"movl $0xaaaa5555, %ebx; ljmp ${OTHER}, $0; task: done"
    boot(protected_mode, program)
    protected_mode.describe(OTHER, OTHER_TSS, 0x2B, TSS16)
    protected_mode.describe(CODE16, ORIGIN, 0xFFFF, CODE_RX, 4)
    offset = protected_mode.label("task") - ORIGIN
    values = {name: 0x1111 * (i + 1) for i, name in enumerate(REGISTERS)}
    tss16(protected_mode, OTHER_TSS, **values, cs=CODE16, eip=offset, eflags=0x0C03, ds=FLAT)
    state = protected_mode.finish()
    assert [getattr(state, f"r{name[1:]}") & 0xFFFF for name in REGISTERS] == list(values.values())
    assert (state.rflags & 0xFFFF, state.cs.selector, state.ds.selector) == (0x0C03, CODE16, FLAT)
    assert (state.fs.selector, state.gs.selector, state.tr.selector) == (0, 0, OTHER)
    assert busy(protected_mode, OTHER)


def test_a_16_bit_task_is_saved_in_its_own_form_and_goes_back(protected_mode: ProtectedModeMachine) -> None:
    program = f"lcall ${OTHER}, $0; done; task: movl $0x12345678, %esi; iret; after: nop"
    boot(protected_mode, program)
    protected_mode.describe(OTHER, OTHER_TSS, 0x2B, TSS16)
    protected_mode.describe(CODE16, ORIGIN, 0xFFFF, CODE_RX, 4)
    tss16(protected_mode, OTHER_TSS, cs=CODE16, eip=protected_mode.label("task") - ORIGIN)
    protected_mode.store(OTHER_TSS + 0x2C, 0xEEEEEEEE, 4)
    assert protected_mode.finish().tr.selector == TR
    assert protected_mode.load(OTHER_TSS + 0x12 + 2 * 6, 2) == 0x5678
    assert protected_mode.load(OTHER_TSS + 0x0E, 2) == protected_mode.label("after") - ORIGIN
    assert [protected_mode.load(OTHER_TSS + 0x22 + 2 * i, 2) for i in range(4)] == [FLAT, CODE16, FLAT, FLAT]
    assert protected_mode.load(OTHER_TSS + 0x2C, 4) == 0xEEEEEEEE


# --- Task gates in the IDT -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("instruction", "vector", "after"),
    [("int $0x40", 0x40, True), ("ud2", UD, False), ("int3", 3, True), ("int $0x2", 2, True)],
)
def test_an_event_through_a_task_gate_is_a_nested_task(
    protected_mode: ProtectedModeMachine, instruction: str, vector: int, *, after: bool
) -> None:
    boot(protected_mode, f"at: {instruction}; after: nop; task: done")
    protected_mode.set_gate(vector, selector=NEW, access=TASK_GATE)
    state = protected_mode.finish()
    assert state.rflags & NT
    assert state.rsp == NEW_STACK
    assert protected_mode.load(TSS + 0x20, 4) == protected_mode.label("after" if after else "at")


def test_the_error_code_is_pushed_on_the_new_tasks_stack(protected_mode: ProtectedModeMachine) -> None:
    boot(protected_mode, f"movl ${EXTRA}, %eax; movl %eax, %ds; nop; task: done")
    protected_mode.set_gate(GP, selector=NEW, access=TASK_GATE)
    assert protected_mode.finish().rsp == NEW_STACK - 4
    assert protected_mode.load(NEW_STACK - 4, 4) == EXTRA


def test_an_interrupt_goes_through_a_task_gate(protected_mode: ProtectedModeMachine) -> None:
    boot(protected_mode, "sti; loop: outb %al, $MARK; jmp loop; task: done")
    protected_mode.set_gate(0x50, selector=NEW, access=TASK_GATE)
    protected_mode.mark()
    protected_mode.store(0, 0, 4)
    protected_mode.nmi()
    protected_mode.set_gate(2, selector=NEW, access=TASK_GATE)
    assert protected_mode.finish().tr.selector == NEW


@pytest.mark.parametrize(("dpl", "vector", "error"), [(0, GP, 0x40 * 8 + 2), (DPL3, None, 0)])
def test_an_int_from_ring_3_needs_a_task_gate_of_dpl_3(
    protected_mode: ProtectedModeMachine, dpl: int, vector: int | None, error: int
) -> None:
    boot(protected_mode, "int $0x40; nop; task: done")
    protected_mode.set_gate(0x40, selector=NEW, access=TASK_GATE | dpl)
    protected_mode.begin(cpl=3)
    if vector is None:
        assert protected_mode.finish().tr.selector == NEW
    else:
        event = protected_mode.event()
        assert (event.vector, event.error_code) == (vector, error)


# --- The T flag ------------------------------------------------------------------------------------------


def test_the_trap_flag_of_a_tss_is_a_debug_trap_before_its_first_instruction(
    protected_mode: ProtectedModeMachine,
) -> None:
    boot(protected_mode, f"ljmp ${NEW}, $0; task: done", trap=1)
    event = protected_mode.event()
    assert (event.vector, event.rip) == (DB, protected_mode.label("task"))
    state = protected_mode.pause()
    assert (state.dr[6] & 1 << 15, state.tr.selector) == (1 << 15, NEW)


def test_tf_in_the_new_flags_steps_the_new_task(protected_mode: ProtectedModeMachine) -> None:
    boot(protected_mode, f"ljmp ${NEW}, $0; task: nop; second: done", eflags=TF | 2)
    event = protected_mode.event()
    assert (event.vector, event.rip) == (DB, protected_mode.label("second"))


# --- Faults before the switch ----------------------------------------------------------------------------


@pytest.mark.parametrize("instruction", ["ljmp", "lcall"])
@pytest.mark.parametrize(
    ("access", "limit", "vector"),
    [
        (TSS32 & ~P, 0x67, NP),
        (TSS32, 0x66, TS),
        (TSS32_BUSY, 0x67, GP),
        (TSS16, 0x2A, TS),
        (LDT_TYPE, 0x67, GP),
    ],
)
def test_a_tss_that_can_not_be_entered(
    protected_mode: ProtectedModeMachine, instruction: str, access: int, limit: int, vector: int
) -> None:
    boot(protected_mode, f"{instruction} ${NEW}, $0; task: done")
    protected_mode.describe(NEW, NEW_TSS, limit, access)
    event = protected_mode.event()
    assert (event.vector, event.error_code, event.rip) == (vector, NEW, ORIGIN)
    assert protected_mode.pause().tr.selector == TR
    assert busy(protected_mode, TR)


def test_a_task_gate_that_is_not_present_and_one_to_nowhere(protected_mode: ProtectedModeMachine) -> None:
    for access, target, vector, error in (
        (TASK_GATE & ~P, NEW, NP, GATE),
        (TASK_GATE, 0x0C, GP, 0x0C),
        (TASK_GATE, 0x7F8, GP, 0x7F8),
        (TASK_GATE, CODE, GP, CODE),
    ):
        boot(protected_mode, f"ljmp ${GATE}, $0; task: done")
        protected_mode.describe_gate(GATE, target, 0, access)
        event = protected_mode.event()
        assert (event.vector, event.error_code) == (vector, error)


def test_ring_3_needs_a_tss_of_dpl_3(protected_mode: ProtectedModeMachine) -> None:
    boot(protected_mode, f"ljmp ${NEW}, $0; task: done")
    protected_mode.begin(cpl=3)
    event = protected_mode.event()
    assert (event.vector, event.error_code) == (GP, NEW)


@pytest.mark.parametrize("link", [NEW, 0x0C, 0x7F8, CODE, 0])
def test_iret_to_what_is_no_busy_task_is_ts(protected_mode: ProtectedModeMachine, link: int) -> None:
    boot(protected_mode, f"pushl ${NT | 2}; popf; at: iret; task: done")
    protected_mode.store(TSS, link, 2)
    event = protected_mode.event()
    assert (event.vector, event.error_code, event.rip) == (TS, link & ~3, protected_mode.label("at"))


def test_a_fault_of_a_gate_in_the_idt_has_ext(protected_mode: ProtectedModeMachine) -> None:
    boot(protected_mode, "at: ud2; task: done")
    protected_mode.set_gate(UD, selector=NEW, access=TASK_GATE)
    protected_mode.describe(NEW, NEW_TSS, 0x66, TSS32)
    event = protected_mode.event()
    assert (event.vector, event.error_code, event.rip) == (TS, NEW | 1, protected_mode.label("at"))


# --- Faults in the new task ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "vector", "error"),
    [
        ({"cs": 0}, TS, 0),
        ({"cs": FLAT}, TS, FLAT),
        ({"cs": CODE | 3}, TS, CODE),
        ({"cs": EXTRA}, NP, EXTRA),
        ({"ss": 0}, TS, 0),
        ({"ss": CODE}, TS, CODE),
        ({"ss": USER_FLAT}, TS, USER_FLAT & ~3),
        ({"ss": EXTRA}, SS, EXTRA),
        ({"ds": EXTRA}, NP, EXTRA),
        ({"gs": NEW}, TS, NEW),
        ({"es": 0x7F8}, TS, 0x7F8),
        ({"ldt": CODE}, TS, CODE),
        ({"ldt": 0x14}, TS, 0x14),
    ],
)
def test_a_segment_that_can_not_be_loaded_is_a_fault_of_the_new_task(
    protected_mode: ProtectedModeMachine, state: dict[str, int], vector: int, error: int
) -> None:
    # The handler is a task of its own: the new task's segments may not carry one.
    program = f"ljmp ${NEW}, $0; handler: popl %ebx; done; task: done"
    boot(protected_mode, program, **state)
    absent = (CODE_RX if state.get("cs") == EXTRA else DATA_RW) & ~P
    protected_mode.describe(EXTRA, 0, 0xFFFFF, absent, 0xC)
    protected_mode.describe(OTHER, OTHER_TSS, 0x67, TSS32)
    tss32(protected_mode, OTHER_TSS, eip=protected_mode.label("handler"))
    protected_mode.set_gate(vector, selector=OTHER, access=TASK_GATE)
    assert protected_mode.finish().rbx == error
    assert protected_mode.load(OTHER_TSS, 2) == NEW
    assert protected_mode.load(NEW_TSS + 0x20, 4) == protected_mode.label("task")


def test_conforming_code_may_have_a_dpl_below_its_rpl(protected_mode: ProtectedModeMachine) -> None:
    user = dict.fromkeys(("es", "ss", "ds", "fs", "gs"), USER_FLAT)
    boot(protected_mode, f"lcall ${NEW}, $0; task: done", cs=EXTRA | 3, eflags=0x3002, **user)
    protected_mode.describe(EXTRA, 0, 0xFFFFF, CODE_CONFORMING, 0xC)
    state = protected_mode.finish()
    assert (state.cs.selector, state.ss.selector) == (EXTRA | 3, USER_FLAT)


def test_an_eip_outside_the_segment_is_gp_of_0_in_the_new_task(protected_mode: ProtectedModeMachine) -> None:
    boot(protected_mode, f"ljmp ${NEW}, $0; task: done", cs=EXTRA, eip=0x1000)
    protected_mode.describe(EXTRA, 0, 0xFFF, CODE_RX, 4)
    event = protected_mode.event()
    assert (event.vector, event.error_code, event.rip, event.cs) == (GP, 0, 0x1000, EXTRA)


def test_the_old_tss_must_be_large_enough(protected_mode: ProtectedModeMachine) -> None:
    boot(protected_mode, f"ljmp ${NEW}, $0; task: done")
    protected_mode.begin(tr=SegmentState(TSS, 0x60, TR, 0x8B))
    event = protected_mode.event()
    assert (event.vector, event.error_code) == (TS, TR)


def test_a_switch_is_not_begun_when_the_old_tss_can_not_be_written(
    protected_mode: ProtectedModeMachine,
) -> None:
    """4 MiB pages would not do: the directory maps the first 4 MiB by a table with the old TSS read-only."""
    boot(protected_mode, f"lcall ${NEW}, $0; task: done")
    directory, table = 0x60000, 0x61000
    protected_mode.store(directory, table | 3, 4)
    entries = [page << 12 | (1 if page << 12 == TSS else 3) for page in range(1024)]
    protected_mode.write(table, struct.pack("<1024I", *entries))
    protected_mode.begin(cr0=0x80010011, cr3=directory)
    event = protected_mode.event()
    assert (event.vector, event.rip) == (PF, ORIGIN)
    state = protected_mode.pause()
    assert (state.tr.selector, state.cr2) == (TR, TSS)
    assert protected_mode.load(GDT + NEW + 5, 1) == TSS32
