"""The control block's guest state at a pause, and a start from one (SDM vol. 3, 24.4)."""

import math
import struct

import pytest

from mpvm.abi import layout
from mpvm.abi.control_bits import ActivityState, Interruptibility
from mpvm.abi.exits import ExitReason
from mpvm.cpu.state import GPR_NAMES, REGISTER_NAMES, XSTATE_BV, CpuState, DescriptorTableState, SegmentState
from tests.unit.engine.apic import msr_write
from tests.unit.engine.long_mode import DATA, GDT, IDT, KERNEL_CS, ORIGIN, LongModeMachine
from tests.unit.engine.real_mode import RealModeMachine

X87_REGISTERS, XMM_REGISTERS = slice(32, 160), slice(160, 416)
ONE, PI = bytes.fromhex("0000000000000080ff3f"), bytes.fromhex("35c26821a2da0fc90040")


def set_all(values: dict[str, int]) -> str:
    return "".join(f"movabsq ${value:#x}, %{name}; " for name, value in values.items())


GENERAL = {name: 0x0101010101010101 * (i + 1) for i, name in enumerate(GPR_NAMES) if name != "rsp"}


def test_a_pause_saves_the_general_registers(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{set_all(GENERAL)} done")
    state = long_mode.finish()
    assert {name: getattr(state, name) for name in GENERAL} == GENERAL


def test_a_pause_comes_between_two_instructions(long_mode: LongModeMachine) -> None:
    long_mode.boot("1: incl %ebx; incl %ecx; incl %edx; jmp 1b")
    long_mode.area.request = layout.Request.PAUSE
    state = long_mode.pause()
    assert state.rip == long_mode.program.origin
    assert state.rbx == state.rcx == state.rdx == 0, "before the first instruction"


def test_a_pause_interrupts_a_program_that_never_exits(long_mode: LongModeMachine) -> None:
    long_mode.boot("mark; 1: incl %ebx; incl %ecx; jmp 1b")
    long_mode.mark()
    state = long_mode.pause()
    assert state.rbx == state.rcx


def test_a_program_goes_on_after_a_pause_where_it_was(long_mode: LongModeMachine) -> None:
    long_mode.boot("stc; movl $3, %ebx; mark; jmp 1f; 1: adcl $0, %ebx; done")
    long_mode.mark()
    long_mode.pause()
    assert long_mode.finish().rbx == 4


def test_a_pause_while_halted_saves_the_rip_behind_hlt_and_hlt_goes_on(long_mode: LongModeMachine) -> None:
    long_mode.boot("inb $MARK; hlt; after: done")
    long_mode.run_until(ExitReason.IO)
    assert long_mode.pause().rip in (long_mode.label("after") - 1, long_mode.label("after"))
    assert long_mode.pause().rip == long_mode.label("after")
    assert long_mode.exits(ExitReason.IO) == 1


def test_a_pause_saves_flags(long_mode: LongModeMachine) -> None:
    long_mode.boot("movl $0x244cd7, %eax; pushq %rax; popfq; done")
    assert long_mode.finish().rflags == 0x244CD7


def test_a_pause_saves_control_and_debug_registers(long_mode: LongModeMachine) -> None:
    long_mode.boot("""
        movl $0x30000, %eax
        movq %rax, %cr2
        movq %cr0, %rax
        orl $0x40000, %eax
        movq %rax, %cr0
        movl $0x6a0, %eax
        movq %rax, %cr4
        movl $0x1111, %eax
        movq %rax, %dr0
        movl $0x2222, %eax
        movq %rax, %dr1
        movl $0x3333, %eax
        movq %rax, %dr2
        movl $0x4444, %eax
        movq %rax, %dr3
        movl $0x500, %eax
        movq %rax, %dr7
        movl $5, %eax
        movq %rax, %cr8
        done
    """)
    state = long_mode.finish()
    assert (state.cr2, state.cr4, state.cr8) == (0x30000, 0x6A0, 5)
    assert state.cr0 & 0x40000
    assert state.dr[:4] == [0x1111, 0x2222, 0x3333, 0x4444]
    assert state.dr[7] == 0x500


def test_a_pause_saves_the_msrs(long_mode: LongModeMachine) -> None:
    values = {
        0xC0000081: 0x001B000800000000,
        0xC0000082: 0x1111,
        0xC0000083: 0x2222,
        0xC0000084: 0x3333,
        0xC0000102: 0x4444,
        0x174: 0x10,
        0x175: 0x5555,
        0x176: 0x6666,
        0x277: 0x0007010600070406,
        0xC0000103: 0x77,
    }
    long_mode.boot("".join(msr_write(msr, value) for msr, value in values.items()) + "done")
    state = long_mode.finish()
    assert [
        state.star,
        state.lstar,
        state.cstar,
        state.sfmask,
        state.kernel_gs_base,
        state.sysenter_cs,
        state.sysenter_esp,
        state.sysenter_eip,
        state.pat,
        state.tsc_aux,
    ] == list(values.values())


def test_a_pause_saves_segments_and_tables(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"""
        lgdt gdtr(%rip)
        lidt idtr(%rip)
        xorl %eax, %eax
        movl %eax, %es
        movl $0x23, %eax
        movl %eax, %fs
        {msr_write(0xC0000100, 0x123456789000)}
        done
    .balign 8
    gdtr: .word 0x57; .quad {GDT}
    idtr: .word 0x7ff; .quad {IDT}
    """)
    state = long_mode.finish()
    assert (state.gdtr, state.idtr) == (DescriptorTableState(GDT, 0x57), DescriptorTableState(IDT, 0x7FF))
    assert state.cs == SegmentState(0, 0xFFFFFFFF, KERNEL_CS, 0xA09B)
    assert state.es.access_rights & 0x10000, "a null selector is unusable"
    assert (state.fs.selector, state.fs.base) == (0x23, 0x123456789000)


def test_a_pause_saves_tr_and_ldtr(long_mode: LongModeMachine) -> None:
    long_mode.boot("movl $0x38, %eax; ltr %ax; movl $0x48, %eax; lldt %ax; done")
    long_mode.store(GDT + 0x38 + 5, 0x89, 1)
    long_mode.store(GDT + 0x48, 0x0000820500000017, 8)
    state = long_mode.finish()
    assert (state.tr.selector, state.tr.base) == (0x38, 0x3000)
    assert state.ldtr == SegmentState(0x50000, 0x17, 0x48, 0x82)
    assert state.tr.access_rights == 0x8B, "a TSS that is loaded is busy"
    assert long_mode.load(GDT + 0x38 + 5, 1) == 0x8B, "LTR has marked the TSS busy"


FPU_PROGRAM = f"""
    fninit
    movw $0x27f, {DATA}
    fldcw {DATA}
    fldpi
    fld1
    movl $0x9fc0, {DATA}
    ldmxcsr {DATA}
    movabsq $0x1122334455667788, %rax
    movq %rax, %xmm0
    movq %rax, %xmm15
    punpcklqdq %xmm15, %xmm15
    fxsave64 {DATA + 0x100}
    done
"""


def test_a_pause_saves_x87_and_sse_as_fxsave_does(long_mode: LongModeMachine) -> None:
    long_mode.boot(FPU_PROGRAM)
    state = long_mode.finish()
    image = long_mode.read(DATA + 0x100, 512)
    assert state.fxsave[0:5] == image[0:5]
    assert state.fxsave[32:42] == image[32:42] == ONE
    assert state.fxsave[48:58] == image[48:58] == PI
    assert state.fxsave[X87_REGISTERS] == image[X87_REGISTERS]
    assert state.fxsave[XMM_REGISTERS] == image[XMM_REGISTERS]
    assert state.mxcsr == struct.unpack_from("<I", state.fxsave, 24)[0] == 0x9FC0
    assert struct.unpack_from("<H", state.fxsave, 0) == (0x27F,)
    assert state.fxsave[4] == 0xC0, "two registers are in use"


def test_a_start_loads_x87_and_sse(long_mode: LongModeMachine) -> None:
    long_mode.boot(FPU_PROGRAM)
    saved = long_mode.finish()
    long_mode.build_tables()
    source = f"fxsave64 {DATA + 0x400}; faddp; fstpl {DATA}; stmxcsr {DATA + 16}; done"
    program = long_mode.place(source, 64, ORIGIN)
    image = long_mode.read(DATA + 0x100, 512)
    long_mode.start(saved.replace(rip=program.origin))
    long_mode.finish()
    assert long_mode.read(DATA + 0x400, 5) == image[:5]
    assert long_mode.read(DATA + 0x400, 512)[X87_REGISTERS] == image[X87_REGISTERS]
    assert long_mode.read(DATA + 0x400, 512)[XMM_REGISTERS] == image[XMM_REGISTERS]
    assert long_mode.load(DATA + 16, 4) == 0x9FC0
    assert struct.unpack("<d", long_mode.read(DATA, 8)) == (1 + math.pi,)


def test_the_rounding_mode_of_a_loaded_state_is_in_force(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"""
        fninit
        movw $0xa7f, {DATA}
        fldcw {DATA}
        movl $0x5f80, {DATA}
        ldmxcsr {DATA}
        movl $1, {DATA}
        movl $3, {DATA + 4}
        mark
        jmp 1f
    1:  fildl {DATA}
        fidivl {DATA + 4}
        fstpl {DATA + 8}
        cvtsi2sdl {DATA}, %xmm0
        cvtsi2sdl {DATA + 4}, %xmm1
        divsd %xmm1, %xmm0
        movsd %xmm0, {DATA + 16}
        done
    """)
    long_mode.mark()
    long_mode.start(long_mode.pause())
    long_mode.finish()
    third_rounded_up = 0x3FD5555555555556
    assert (long_mode.load(DATA + 8, 8), long_mode.load(DATA + 16, 8)) == (third_rounded_up, third_rounded_up)


NMI_BLOCKED = 8


def nmi(machine: LongModeMachine) -> None:
    machine.area.inbox.nmi = machine.area.inbox.any = 1
    machine.kick()


def round_trip(machine: LongModeMachine, state: CpuState) -> CpuState:
    """Start from `state`, save at once."""
    machine.start(state)
    return machine.pause()


@pytest.mark.parametrize(
    "change",
    [
        {name: 0x1122334455667788 + i for i, name in enumerate(GPR_NAMES)},
        {"rip": 0x123456},
        {"rflags": 0x244CD7},
        {"cr0": 0x80050033, "cr2": 0xFFFF800000001234, "cr3": 0x101000, "cr4": 0x6A0, "cr8": 9},
        {"dr": [1, 2, 3, 4, 0, 0, 0xFFFF0FF1, 0x400]},
        {"dr": [1, 2, 3, 4, 0, 0, 0xFFFF0FF0, 0x755]},
        {"star": 0x1234567812345678, "lstar": 0xFFFF800000000001, "cstar": 2, "sfmask": 0x47700},
        {"sysenter_cs": 0x10, "sysenter_esp": 0xFFFF800000000001, "sysenter_eip": 0xFFFF800000000002},
        {
            "kernel_gs_base": 0xFFFF800000000003,
            "tsc_aux": 5,
            "pat": 0x0007010600070406,
            "xcr0": 3,
            "mxcsr": 0x9F80,
        },
        {"gdtr": DescriptorTableState(0xFFFF800000001000, 0x7F), "idtr": DescriptorTableState(0x5000, 0x123)},
        {"cs": SegmentState(0, 0xFFFFFFFF, 0x33, 0xA0FB), "ss": SegmentState(0, 0xFFFFFFFF, 0x2B, 0xC0F3)},
        {
            "fs": SegmentState(0xFFFF800000000000, 0xFFFF, 0x53, 0x40F3),
            "gs": SegmentState(7, 0xFFF, 0x5B, 0xF3),
        },
        {"ldtr": SegmentState(0x4000, 0x3F, 0x60, 0x82), "tr": SegmentState(0x5000, 0x67, 0x70, 0x8B)},
        {"interruptibility": 1, "rflags": 0x202},
        {"interruptibility": 8},
        {"apic_base": 0xFEE00100},
        {"apic_base": 0xFED00900},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_is_loaded_is_what_is_saved(long_mode: LongModeMachine, change: dict[str, object]) -> None:
    long_mode.build_tables()
    state = long_mode.initial_state().replace(**change)
    got = round_trip(long_mode, state)
    for name in REGISTER_NAMES:
        if name != "xsave":
            assert getattr(got, name) == getattr(state, name), name


def test_a_real_mode_state_survives_the_round_trip(real_mode: RealModeMachine) -> None:
    real_mode.boot("movw $0x1234, %ax; movw %ax, %es; movl $0xdeadbeef, %ebx; stc; done")
    first = real_mode.finish()
    real_mode.start(first)
    assert real_mode.pause() == first


def test_a_program_goes_on_from_a_saved_state_after_a_reset(long_mode: LongModeMachine) -> None:
    long_mode.boot("""
        movl $10, %ecx
        fninit
        fld1
        mark
    1:  addl %ecx, %ebx
        fld1
        faddp
        decl %ecx
        jnz 1b
        fistpl 0x30000
        done
    """)
    long_mode.mark()
    saved = long_mode.pause()
    long_mode.start(saved)
    assert long_mode.finish().rbx == 55
    assert long_mode.load(DATA, 4) == 11


def test_a_loaded_sti_shadow_holds_interrupts_off_for_one_instruction(long_mode: LongModeMachine) -> None:
    long_mode.boot("incl %ebx; at: incl %ebx; done", interruptibility=1, rflags=0x202)
    long_mode.area.lapic.regs[0xF0 // 4] = 0x1FF
    long_mode.interrupt(0x40)
    assert long_mode.event().rip == long_mode.label("at")


@pytest.mark.parametrize(
    ("program", "wanted"),
    [
        ("inb $MARK; sti; at: done", Interruptibility.BLOCKING_BY_STI),
        ("movw %ds, %cx; sti; nop; inb $MARK; movw %cx, %ss; at: done", Interruptibility.BLOCKING_BY_MOV_SS),
        ("movw %ds, %cx; inb $MARK; movw %cx, %ss; at: done", Interruptibility.BLOCKING_BY_MOV_SS),
    ],
)
def test_a_pause_says_what_holds_interrupts_off(
    long_mode: LongModeMachine, program: str, wanted: Interruptibility
) -> None:
    """The request comes in the middle of the block that the shadow's instruction ends."""
    long_mode.boot(program)
    long_mode.run_until(ExitReason.IO)
    state = long_mode.pause()
    assert (state.rip, state.interruptibility) == (long_mode.label("at"), wanted)


def test_a_halted_state_goes_on_halting_until_an_interrupt_comes(long_mode: LongModeMachine) -> None:
    long_mode.boot("incl %ebx; at: done", activity_state=ActivityState.HLT, rflags=0x202)
    assert long_mode.pause().activity_state == ActivityState.HLT
    long_mode.area.lapic.regs[0xF0 // 4] = 0x1FF
    long_mode.interrupt(0x40)
    event = long_mode.event()
    assert (event.vector, event.rip) == (0x40, long_mode.program.origin)


def test_a_loaded_pending_breakpoint_is_delivered_first(long_mode: LongModeMachine) -> None:
    long_mode.boot("done", pending_debug_exceptions=1 << 12 | 2)
    event = long_mode.event()
    assert (event.vector, event.rip) == (1, long_mode.program.origin)
    assert long_mode.finish().dr[6] & 0xF == 2


def test_a_component_that_xstate_bv_leaves_out_is_loaded_in_its_initial_state(
    long_mode: LongModeMachine,
) -> None:
    long_mode.boot(FPU_PROGRAM)
    saved = long_mode.finish()
    xsave = bytearray(saved.xsave)
    xsave[XSTATE_BV] = bytes(8)
    got = round_trip(long_mode, saved.replace(xsave=bytes(xsave)))
    assert got.fxsave[0:5] == bytes.fromhex("7f03000000"), "as FNINIT leaves it"
    assert got.fxsave[XMM_REGISTERS] == bytes(256)
    assert got.mxcsr == 0x9FC0, "MXCSR has a field of its own"


def test_a_load_keeps_the_half_of_the_tpr_that_cr8_has_not(long_mode: LongModeMachine) -> None:
    long_mode.boot("done")
    long_mode.area.lapic.regs[0x80 // 4] = 0x53
    long_mode.area.control.guest.cr8 = 5
    long_mode.engine.load_state()
    assert long_mode.area.lapic.regs[0x80 // 4] == 0x53


def test_loading_a_state_at_cpl_3_runs_at_cpl_3(long_mode: LongModeMachine) -> None:
    long_mode.boot("movl %cs, %eax; int $0x80", cpl=3)
    assert long_mode.event().cs & 3 == 3


def test_a_loaded_apic_base_is_where_the_apic_answers(long_mode: LongModeMachine) -> None:
    long_mode.boot("movl $0xd0000030, %esi; movl (%rsi), %ebx; done", apic_base=0xD0000900)
    assert long_mode.finish().rbx == long_mode.area.lapic.regs[0x30 // 4] != 0
    assert long_mode.exits(ExitReason.MMIO) == 0


def test_a_reset_without_a_state_puts_the_apic_back(long_mode: LongModeMachine) -> None:
    long_mode.boot("done", apic_base=0xD0000900)
    long_mode.finish()
    long_mode.engine.reset(load_state=False)
    assert long_mode.area.control.guest.apic_base == 0xFEE00900


CR4_PKE = 1 << 22


def test_a_program_goes_on_with_its_protection_keys(long_mode: LongModeMachine) -> None:
    long_mode.boot(
        "movl $0x10, %eax; wrpkru; mark; jmp 1f; 1: xorl %eax, %eax; rdpkru; done", cr4=0x620 | CR4_PKE
    )
    long_mode.mark()
    saved = long_mode.pause()
    assert long_mode.area.control.guest.pkru == 0x10
    long_mode.start(saved)
    assert long_mode.finish().rax == 0x10


def test_a_pause_in_the_handler_of_an_nmi_saves_that_nmis_are_blocked(long_mode: LongModeMachine) -> None:
    long_mode.boot("mark; 1: jmp 1b; handler: mark; jmp 1f; 1: mark; iretq")
    long_mode.set_gate(2, long_mode.label("handler"))
    long_mode.mark()
    assert long_mode.pause().interruptibility == 0
    nmi(long_mode)
    long_mode.mark()
    saved = long_mode.pause()
    assert saved.interruptibility == NMI_BLOCKED
    long_mode.start(saved)
    nmi(long_mode)
    long_mode.mark()
    assert long_mode.area.counters.nmis == 1, "the second one waits for the handler's end"
    long_mode.mark()
    assert long_mode.area.counters.nmis == 2


def test_a_load_without_blocking_lets_nmis_in(long_mode: LongModeMachine) -> None:
    long_mode.boot("mark; 1: jmp 1b")
    long_mode.mark()
    nmi(long_mode)
    assert long_mode.event().vector == 2
    long_mode.start(long_mode.initial_state())
    nmi(long_mode)
    assert long_mode.event().vector == 2


def test_a_breakpoint_of_a_loaded_dr7_is_armed(long_mode: LongModeMachine) -> None:
    long_mode.boot("nop; at: nop; done")
    dr = [long_mode.label("at"), 0, 0, 0, 0, 0, 0xFFFF0FF0, 0x402]
    long_mode.start(long_mode.initial_state().replace(dr=dr))
    event = long_mode.event()
    assert (event.vector, event.rip) == (1, long_mode.label("at"))


def test_a_breakpoint_is_gone_after_a_state_without_it(long_mode: LongModeMachine) -> None:
    long_mode.boot("nop; at: nop; done")
    dr = [long_mode.label("at"), 0, 0, 0, 0, 0, 0xFFFF0FF0, 0x402]
    long_mode.start(long_mode.initial_state().replace(dr=dr))
    long_mode.event()
    long_mode.start(long_mode.initial_state())
    long_mode.finish()
