"""Exceptions and software interrupts: vectors, error codes, saved RIP, nesting (SDM vol. 3, chapter 6)."""

import pytest

from mpvm.abi.exits import ExitReason
from mpvm.cpu.state import DescriptorTableState
from tests.unit.engine.long_mode import (
    CR0_ET,
    CR0_NE,
    CR0_PE,
    CR0_PG,
    CR0_WP,
    CR4_OSFXSR,
    CR4_OSXMMEXCPT,
    CR4_OSXSAVE,
    CR4_PAE,
    GDT,
    IDT,
    IST1_TOP,
    KERNEL_CS,
    KERNEL_CS32,
    ORIGIN,
    RSP0_TOP,
    STACK_TOP,
    USER_CS,
    USER_SS,
    USER_STACK_TOP,
    LongModeMachine,
)
from tests.unit.engine.real_mode import ORIGIN as REAL_ORIGIN
from tests.unit.engine.real_mode import STACK_TOP as REAL_STACK_TOP
from tests.unit.engine.real_mode import RealModeMachine

DE, DB, BP, OF, BR, UD, NM, DF, TS, NP, SS, GP, PF, MF, AC = (
    0,
    1,
    3,
    4,
    5,
    6,
    7,
    8,
    10,
    11,
    12,
    13,
    14,
    16,
    17,
)
EXT, IDT_CODE, TI = 1, 2, 4
TF = 1 << 8
RF = 1 << 16


def test_int_n_pushes_the_next_rip_in_real_mode(real_mode: RealModeMachine) -> None:
    real_mode.boot("sti; int $0x21; after: done")
    event = real_mode.event()
    assert (event.vector, event.rip, event.cs) == (0x21, real_mode.label("after"), 0)
    assert event.rflags & 0x200
    assert event.rsp == REAL_STACK_TOP
    real_mode.finish()


def test_int_n_clears_if_and_iret_restores_it(real_mode: RealModeMachine) -> None:
    real_mode.boot("sti; int $0x21; done")
    real_mode.event()
    assert real_mode.finish().rflags & 0x200
    real_mode.boot("sti; int $0x21; done")
    real_mode.set_vector(0x21, REAL_ORIGIN + 0x100)
    real_mode.place("done", 16, REAL_ORIGIN + 0x100)
    assert not real_mode.finish().rflags & 0x200


@pytest.mark.parametrize(
    ("instruction", "vector"), [("int $0x80", 0x80), ("int3", BP), (".byte 0xcd, 3", BP)]
)
def test_int_n_pushes_the_next_rip_in_long_mode(
    long_mode: LongModeMachine, instruction: str, vector: int
) -> None:
    long_mode.boot(f"{instruction}; after: done")
    event = long_mode.event()
    assert (event.vector, event.error_code, event.rip) == (vector, 0, long_mode.label("after"))
    assert (event.cs, event.rsp) == (KERNEL_CS, STACK_TOP)


def test_int_n_from_cpl_3_switches_to_rsp0(long_mode: LongModeMachine) -> None:
    long_mode.boot("int $0x80; after: hlt", cpl=3)
    event = long_mode.event()
    assert (event.vector, event.rip) == (0x80, long_mode.label("after"))
    assert (event.cs, event.ss, event.rsp) == (USER_CS, USER_SS, USER_STACK_TOP)
    assert event.handler_rsp == RSP0_TOP


def test_a_gate_with_an_ist_switches_to_that_stack(long_mode: LongModeMachine) -> None:
    long_mode.boot("int $0x80; done")
    long_mode.set_gate(0x80, ist=1)
    event = long_mode.event()
    assert (event.rsp, event.handler_rsp) == (STACK_TOP, IST1_TOP)
    long_mode.finish()


@pytest.mark.parametrize("dpl", [0, 3])
def test_a_fault_while_int_n_is_delivered_saves_the_rip_of_the_int(
    long_mode: LongModeMachine, dpl: int
) -> None:
    long_mode.boot("nop; at: int $0x80; hlt", cpl=3)
    long_mode.set_gate(0x80, dpl=dpl, present=False)
    event = long_mode.event()
    assert (event.vector, event.rip) == (GP if dpl == 0 else NP, long_mode.label("at"))


def test_a_gate_above_cpl_is_gp_with_the_gates_number(long_mode: LongModeMachine) -> None:
    long_mode.boot("int $0x80; hlt", cpl=3)
    long_mode.set_gate(0x80, dpl=0)
    event = long_mode.event()
    assert (event.vector, event.error_code) == (GP, 0x80 << 3 | IDT_CODE)


def test_int3_through_a_gate_above_cpl_is_gp_with_the_gates_number(long_mode: LongModeMachine) -> None:
    long_mode.boot("int3; hlt", cpl=3)
    long_mode.set_gate(BP, dpl=0)
    event = long_mode.event()
    assert (event.vector, event.error_code, event.rip) == (GP, BP << 3 | IDT_CODE, ORIGIN)


def test_a_gate_that_is_not_present_is_np_with_the_gates_number(long_mode: LongModeMachine) -> None:
    long_mode.boot("int $0x80; done")
    long_mode.set_gate(0x80, present=False)
    event = long_mode.event()
    assert (event.vector, event.error_code) == (NP, 0x80 << 3 | IDT_CODE)


def test_a_vector_beyond_the_idt_is_gp_with_the_gates_number(long_mode: LongModeMachine) -> None:
    long_mode.boot("nop; at: int $0x80; done", idtr=DescriptorTableState(IDT, 0x7FF))
    event = long_mode.event()
    assert (event.vector, event.error_code, event.rip) == (GP, 0x80 << 3 | IDT_CODE, long_mode.label("at"))


def test_a_gate_to_a_bad_segment_gives_its_selector_as_the_error_code(long_mode: LongModeMachine) -> None:
    long_mode.boot("int $0x80; done")
    long_mode.store(IDT + 0x80 * 16 + 2, USER_SS & ~3, 2)
    event = long_mode.event()
    assert (event.vector, event.error_code) == (GP, USER_SS & ~3)


def test_a_page_fault_while_int_n_is_delivered_saves_the_rip_of_the_int(long_mode: LongModeMachine) -> None:
    long_mode.boot("movl $0x40000, %esp; at: int $0x80; done")
    long_mode.store(long_mode.entry(0x3F000), 0, 8)
    long_mode.set_gate(PF, ist=1)
    event = long_mode.event()
    assert (event.vector, event.rip, event.rsp) == (PF, long_mode.label("at"), 0x40000)
    assert 0x3F000 <= event.cr2 < 0x40000


def test_an_int_runs_again_after_its_fault_was_repaired(long_mode: LongModeMachine) -> None:
    long_mode.boot("nop; at: int $0x80; after: done")
    long_mode.set_gate(0x80, present=False)
    assert long_mode.event().vector == NP
    long_mode.set_gate(0x80)
    event = long_mode.event()
    assert (event.vector, event.rip) == (0x80, long_mode.label("after"))
    long_mode.finish()


@pytest.mark.parametrize(
    "instruction",
    ["ud2", ".byte 0xf0; nop", ".byte 0x06", ".byte 0x0f, 0x0a", "vmcall"],
)
def test_an_invalid_instruction_is_ud_at_its_own_rip(long_mode: LongModeMachine, instruction: str) -> None:
    long_mode.boot(f"nop; at: {instruction}; done")
    event = long_mode.event()
    assert (event.vector, event.error_code, event.rip) == (UD, 0, long_mode.label("at"))


def test_ud_in_real_mode_is_at_its_own_ip(real_mode: RealModeMachine) -> None:
    real_mode.boot("nop; at: ud2; after: done")
    event = real_mode.event()
    assert (event.vector, event.rip) == (UD, real_mode.label("at"))
    real_mode.resume_at(real_mode.label("after"))
    real_mode.finish()


def test_two_divide_errors_in_a_row_are_two_divide_errors(long_mode: LongModeMachine) -> None:
    long_mode.boot("xorl %ecx, %ecx; first: divl %ecx; after: idivl %ecx; done")
    event = long_mode.event()
    assert (event.vector, event.rip) == (DE, long_mode.label("first"))
    long_mode.resume_at(long_mode.label("after"))
    event = long_mode.event()
    assert (event.vector, event.rip) == (DE, long_mode.label("after"))


def test_two_divide_errors_in_a_row_are_two_divide_errors_in_real_mode(real_mode: RealModeMachine) -> None:
    real_mode.boot("xorw %cx, %cx; divb %cl; second: divw %cx; done")
    assert real_mode.event().vector == DE
    real_mode.resume_at(real_mode.label("second"))
    event = real_mode.event()
    assert (event.vector, event.rip) == (DE, real_mode.label("second"))


def test_a_quotient_that_does_not_fit_is_a_divide_error(long_mode: LongModeMachine) -> None:
    long_mode.boot("movl $2, %edx; xorl %eax, %eax; movl $2, %ecx; at: divl %ecx; done")
    event = long_mode.event()
    assert (event.vector, event.rip) == (DE, long_mode.label("at"))


def test_registers_of_a_faulting_instruction_are_as_before_it(long_mode: LongModeMachine) -> None:
    long_mode.boot("movl $0x50000000, %esi; movl $4, %ecx; movl $0x1234, %eax; at: lodsl; after: done")
    event = long_mode.event()
    assert (event.vector, event.rip, event.cr2) == (PF, long_mode.label("at"), 0x50000000)
    long_mode.resume_at(long_mode.label("after"))
    state = long_mode.finish()
    assert (state.rsi, state.rcx, state.rax) == (0x50000000, 4, 0x1234)


def test_hlt_at_cpl_3_is_gp_of_0(long_mode: LongModeMachine) -> None:
    long_mode.boot("hlt", cpl=3)
    event = long_mode.event()
    assert (event.vector, event.error_code, event.rip) == (GP, 0, ORIGIN)


@pytest.mark.parametrize(
    "instruction",
    [
        "cli",
        "movq %cr3, %rax",
        "movq %rax, %cr3",
        "wrmsr",
        "rdmsr",
        "lidt 0x26000",
        "invlpg (%rax)",
        "clts",
        "wbinvd",
    ],
)
def test_a_privileged_instruction_at_cpl_3_is_gp_of_0(long_mode: LongModeMachine, instruction: str) -> None:
    long_mode.boot(f"{instruction}; hlt", cpl=3)
    event = long_mode.event()
    assert (event.vector, event.error_code, event.rip) == (GP, 0, ORIGIN)


def test_a_load_of_a_bad_selector_gives_it_as_the_error_code(long_mode: LongModeMachine) -> None:
    long_mode.boot("movw $0x1230, %ax; at: movw %ax, %ds; done")
    event = long_mode.event()
    assert (event.vector, event.error_code, event.rip) == (GP, 0x1230, long_mode.label("at"))


def test_a_segment_that_is_not_present_is_np_and_for_ss_a_stack_fault(long_mode: LongModeMachine) -> None:
    long_mode.boot("movl $0x48, %eax; movl %eax, %ds; second: movl %eax, %ss; done")
    long_mode.store(GDT + KERNEL_CS32, 0x00CF13000000FFFF, 8)
    event = long_mode.event()
    assert (event.vector, event.error_code) == (NP, KERNEL_CS32)
    long_mode.resume_at(long_mode.label("second"))
    event = long_mode.event()
    assert (event.vector, event.error_code) == (SS, KERNEL_CS32)


def test_a_non_canonical_address_is_gp_of_0(long_mode: LongModeMachine) -> None:
    long_mode.boot("movabsq $0x0000800000000000, %rsi; at: movb (%rsi), %al; done")
    event = long_mode.event()
    assert (event.vector, event.error_code, event.rip) == (GP, 0, long_mode.label("at"))


def test_a_fault_while_a_benign_one_is_delivered_is_just_that_fault_and_external(
    long_mode: LongModeMachine,
) -> None:
    long_mode.boot("at: ud2; done")
    long_mode.set_gate(UD, present=False)
    event = long_mode.event()
    assert (event.vector, event.error_code) == (NP, UD << 3 | IDT_CODE | EXT)
    assert event.rip == long_mode.label("at")


def test_a_fault_of_a_handler_is_the_handlers_own(long_mode: LongModeMachine) -> None:
    long_mode.boot("ud2; handler: movl $0x1230, %eax; at: movl %eax, %ds; done")
    long_mode.set_gate(UD, long_mode.label("handler"))
    event = long_mode.event()
    assert (event.vector, event.error_code, event.rip) == (GP, 0x1230, long_mode.label("at"))


def test_a_selector_beyond_the_gdt_is_gp_with_the_selector(long_mode: LongModeMachine) -> None:
    long_mode.boot("movl $0x58, %eax; at: ltr %ax; done")
    event = long_mode.event()
    assert (event.vector, event.error_code, event.rip) == (GP, 0x58, long_mode.label("at"))


def test_a_fault_while_a_contributory_one_is_delivered_is_a_double_fault(long_mode: LongModeMachine) -> None:
    long_mode.boot("xorl %ecx, %ecx; at: divl %ecx; done")
    long_mode.set_gate(DE, present=False)
    event = long_mode.event()
    assert (event.vector, event.error_code) == (DF, 0)


def test_a_page_fault_on_the_stack_of_a_page_fault_is_a_double_fault_on_its_ist(
    long_mode: LongModeMachine,
) -> None:
    long_mode.boot("movl $0x50000000, %esp; pushq %rax; done")
    long_mode.set_gate(DF, ist=1)
    event = long_mode.event()
    assert (event.vector, event.error_code, event.handler_rsp) == (DF, 0, IST1_TOP)


def test_a_triple_fault_is_a_shutdown_exit(long_mode: LongModeMachine) -> None:
    long_mode.boot("movq $0x1234, %rbx; ud2", idtr=DescriptorTableState(IDT, 0))
    long_mode.run_until(ExitReason.SHUTDOWN)
    assert long_mode.area.control.guest.gpr[3] == 0x1234
    assert long_mode.area.control.guest.rip == long_mode.program.origin + 7
    assert long_mode.exits(ExitReason.SHUTDOWN) == 1


def test_a_machine_can_be_reset_after_a_triple_fault(long_mode: LongModeMachine) -> None:
    long_mode.boot("ud2", idtr=DescriptorTableState(IDT, 0))
    long_mode.run_until(ExitReason.SHUTDOWN)
    long_mode.boot("xorl %ecx, %ecx; divl %ecx; done")
    assert long_mode.event().vector == DE


def test_the_trap_flag_traps_after_the_next_instruction(long_mode: LongModeMachine) -> None:
    long_mode.boot("nop; after: nop; done", rflags=TF | 2)
    event = long_mode.event()
    assert (event.vector, event.rip) == (DB, long_mode.label("after"))
    assert event.rflags & TF


def test_the_trap_flag_sets_bs_in_dr6(long_mode: LongModeMachine) -> None:
    long_mode.boot("nop; movq %dr6, %rax; after: done", rflags=TF | 2)
    event = long_mode.event()
    assert event.vector == DB
    long_mode.store(0x6000 + 32, 2, 8)
    state = long_mode.finish()
    assert state.rax & 1 << 14


def test_an_instruction_breakpoint_is_a_fault_before_the_instruction(long_mode: LongModeMachine) -> None:
    long_mode.boot("""
        leaq at(%rip), %rax
        movq %rax, %dr0
        movl $0x402, %eax
        movq %rax, %dr7
        jmp at
    at: nop
        done
    """)
    event = long_mode.event()
    assert (event.vector, event.rip) == (DB, long_mode.label("at"))


def test_x87_without_a_unit_is_nm(long_mode: LongModeMachine) -> None:
    long_mode.boot("movq %cr0, %rax; orq $8, %rax; movq %rax, %cr0; at: fld1; clts; fld1; done")
    event = long_mode.event()
    assert (event.vector, event.rip) == (NM, long_mode.label("at"))
    long_mode.resume_at(event.rip + 2)
    long_mode.finish()


def test_an_unmasked_x87_error_is_mf_at_the_next_x87_instruction(long_mode: LongModeMachine) -> None:
    long_mode.boot("""
        fninit
        movw $0x37b, 0x30000
        fldcw 0x30000
        fld1
        fldz
        fdivrp
    at: fwait
        done
    """)
    event = long_mode.event()
    assert (event.vector, event.rip) == (MF, long_mode.label("at"))


@pytest.mark.parametrize("instruction", ["rsm", "xgetbv", "monitor", "mwait", "getsec", "vmcall", "rdpmc"])
def test_an_instruction_that_the_engine_hardly_knows_does_not_stop_it(
    long_mode: LongModeMachine, instruction: str
) -> None:
    long_mode.boot(f"{instruction}; done", rsi=0x30000, rax=0x30000)
    assert long_mode.run().reason is ExitReason.IO


@pytest.mark.parametrize(
    "instruction", ["wbinvd", "clflush 0x30000", "sfence", "lfence", "mfence", "prefetchnta 0x30000"]
)
def test_cache_control_changes_nothing_here(long_mode: LongModeMachine, instruction: str) -> None:
    long_mode.boot(f"{instruction}; done")
    assert long_mode.finish().rflags == 2


_BEFORE = b"\xff\xc3" * 7  # INC EBX


@pytest.mark.parametrize("end", [b"\x90\x90", b"\x90\xff", b"\x66\x90"])
@pytest.mark.parametrize("rights", [0, 1 << 63 | 3])
def test_code_that_runs_into_a_page_it_can_not_have_faults_there(
    long_mode: LongModeMachine, end: bytes, rights: int
) -> None:
    long_mode.boot("jmp *%rax", rax=0x13FF0)
    long_mode.write(0x13FF0, _BEFORE + end)
    frame = 0x14000 if rights else 0
    long_mode.store(long_mode.entry(0x14000), frame | rights, 8)
    event = long_mode.event()
    assert (event.vector, event.cr2) == (PF, 0x14000)
    assert event.rip == (0x13FFF if end[1] == 0xFF else 0x14000)
    assert long_mode.pause().rbx == 7


def test_code_of_which_a_later_page_is_brought_in_goes_on(long_mode: LongModeMachine) -> None:
    long_mode.boot("jmp *%rax", rax=0x13FF0)
    long_mode.write(0x13FF0, _BEFORE + b"\x90\xff")
    entry = long_mode.entry(0x14000)
    present = long_mode.load(entry, 8)
    long_mode.store(entry, 0, 8)
    assert long_mode.event().vector == PF
    long_mode.store(entry, present, 8)
    long_mode.write(0x14000, b"\xc3\xe6\xf4")  # the rest of an INC EBX, and DONE
    assert long_mode.finish().rbx == 8


_X87, _SIMD = (
    ("fld1", "fninit", "fnstsw %ax", "fxsave 0x30000"),
    ("paddb %mm0, %mm1", "addps %xmm0, %xmm1", "emms"),
)
_TS, _EM, _MP = 8, 4, 2
_NOTHING = -1


@pytest.mark.parametrize(
    ("cr0", "source", "vector"),
    [
        *(
            (_TS, source, NM)
            for source in (*_X87, *_SIMD, "ldmxcsr 0x30000", "xsave 0x30000", "xrstor 0x30000")
        ),
        *((_EM, source, NM) for source in _X87),
        *((_EM | _TS, source, NM) for source in _X87),
        *((_EM, source, UD) for source in (*_SIMD, "ldmxcsr 0x30000")),
        *((_EM | _TS, source, UD) for source in (*_SIMD, "ldmxcsr 0x30000")),
        (_MP | _TS, "fwait", NM),
        (_TS, "fwait", _NOTHING),
        (_EM, "fwait", _NOTHING),
        (_MP, "fwait", _NOTHING),
        *((_TS, source, _NOTHING) for source in ("movnti %eax, 0x30000", "sfence", "prefetchnta (%rax)")),
    ],
)
def test_the_unit_is_there_by_ts_em_and_mp(
    long_mode: LongModeMachine, cr0: int, source: str, vector: int
) -> None:
    long_mode.boot(
        f"nop; at: {source}; done",
        cr0=CR0_PE | CR0_ET | CR0_NE | CR0_WP | CR0_PG | cr0,
        cr4=CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE,
    )
    long_mode.store(0x30000, 0x1F80, 4)
    if vector == _NOTHING:
        long_mode.finish()
    else:
        event = long_mode.event()
        assert (event.vector, event.rip) == (vector, long_mode.label("at"))


@pytest.mark.parametrize("cr0", [0, _TS])
def test_sse_without_osfxsr_is_ud_whatever_ts_is(long_mode: LongModeMachine, cr0: int) -> None:
    base = CR0_PE | CR0_ET | CR0_NE | CR0_WP | CR0_PG
    long_mode.boot("addps %xmm0, %xmm1; done", cr0=base | cr0, cr4=CR4_PAE)
    assert long_mode.event().vector == UD


@pytest.mark.parametrize(("cr0", "cr4"), [(_TS, CR4_PAE), (_TS | _EM, CR4_PAE | CR4_OSFXSR)])
@pytest.mark.parametrize(
    "source",
    [
        "str %ax",
        "smsww %ax",
        "cmovew %ax, %bx",
        "movswl 0x30000, %ecx; movzbw %al, %bx",
        "rep; bsrl %eax, %ebx",
        "endbr64",
        "nopw (%rsp)",
        "data16; cpuid",
        "xaddw %ax, %bx",
    ],
)
def test_a_prefix_makes_no_sse_of_what_is_none_with_ts(
    long_mode: LongModeMachine, cr0: int, cr4: int, source: str
) -> None:
    base = CR0_PE | CR0_ET | CR0_NE | CR0_WP | CR0_PG
    long_mode.boot(f"{source}; done", cr0=base | cr0, cr4=cr4)
    long_mode.finish()


@pytest.mark.parametrize("source", ["paddb %xmm0, %xmm1", "movq2dq %mm0, %xmm0", "cvtsi2ss %eax, %xmm0"])
def test_a_prefix_makes_sse_of_mmx_with_ts(long_mode: LongModeMachine, source: str) -> None:
    base = CR0_PE | CR0_ET | CR0_NE | CR0_WP | CR0_PG
    long_mode.boot(f"{source}; done", cr0=base | _TS, cr4=CR4_PAE)
    assert long_mode.event().vector == UD
