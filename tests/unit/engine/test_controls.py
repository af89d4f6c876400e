"""Execution controls of instructions: exactly what is set exits (SDM vol. 3, 25.1 and 27.2)."""

from collections.abc import Callable
from typing import NamedTuple

import pytest

from mpvm.abi.control_bits import ProcessorBased, Secondary, Unconditional
from mpvm.abi.exits import ExitReason
from tests.unit.engine.long_mode import DATA, GDT, IDT, TABLES, LongModeMachine
from tests.unit.engine.real_mode import RealModeMachine

GP, UD = 13, 6
SECOND = ProcessorBased.ACTIVATE_SECONDARY_CONTROLS
#: Without these, RDTSCP and INVPCID are #UD once there are secondary controls.
ALLOWED = Secondary.RDTSCP | Secondary.INVPCID
RBX, RSI = 3, 6


class Case(NamedTuple):
    """An instruction, the controls that make it exit, and what the exit says."""

    name: str
    source: str
    reason: ExitReason
    primary: int = 0
    secondary: int = 0
    unconditional: int = 0
    length: int = 2
    qualification: int = 0
    cpl3: str = "gp"  # what becomes of it in ring 3: "gp", "ud" or "exit"


P, S, X, R = ProcessorBased, Secondary, Unconditional, ExitReason
CASES = [
    Case("hlt", "hlt", R.HLT, P.HLT_EXITING, length=1),
    Case("pause", "pause", R.PAUSE, P.PAUSE_EXITING, cpl3="exit"),
    Case("cpuid", "cpuid", R.CPUID, unconditional=X.CPUID_EXITING, cpl3="exit"),
    Case("rdtsc", "rdtsc", R.RDTSC, P.RDTSC_EXITING, cpl3="exit"),
    Case("rdtscp", "rdtscp", R.RDTSCP, P.RDTSC_EXITING, length=3, cpl3="exit"),
    Case("rdpmc", "rdpmc", R.RDPMC, P.RDPMC_EXITING),
    Case(
        "invlpg",
        f"invlpg {DATA + 8}(,%rcx,8)",
        R.INVLPG,
        P.INVLPG_EXITING,
        length=8,
        qualification=DATA + 0x88,
    ),
    Case("invlpg-rip", "invlpg 1f(%rip); 1:", R.INVLPG, P.INVLPG_EXITING, length=7, qualification=-1),
    Case("mov-to-cr3", "mov %r8, %cr3", R.CR_ACCESS, P.CR3_LOAD_EXITING, length=4, qualification=0x803),
    Case("mov-from-cr3", "mov %cr3, %rbx", R.CR_ACCESS, P.CR3_STORE_EXITING, length=3, qualification=0x313),
    Case("mov-to-cr8", "mov %rsi, %cr8", R.CR_ACCESS, P.CR8_LOAD_EXITING, length=4, qualification=0x608),
    Case("mov-from-cr8", "mov %cr8, %rsi", R.CR_ACCESS, P.CR8_STORE_EXITING, length=4, qualification=0x618),
    Case("mov-to-dr", "mov %rsi, %dr3", R.DR_ACCESS, P.MOV_DR_EXITING, length=3, qualification=0x603),
    Case("mov-from-dr", "mov %dr7, %rsi", R.DR_ACCESS, P.MOV_DR_EXITING, length=3, qualification=0x617),
    Case("monitor", "monitor", R.MONITOR, P.MONITOR_EXITING, length=3, cpl3="ud"),
    Case("mwait", "mwait", R.MWAIT, P.MWAIT_EXITING, length=3, cpl3="ud"),
    Case("wbinvd", "wbinvd", R.WBINVD, SECOND, S.WBINVD_EXITING | ALLOWED),
    Case("invd", "invd", R.INVD, unconditional=X.INVD_EXITING),
    Case("rdrand", "rdrand %rbx", R.RDRAND, SECOND, S.RDRAND_EXITING | ALLOWED, length=4, cpl3="exit"),
    Case(
        "sgdt",
        f"sgdt {DATA}",
        R.GDTR_IDTR,
        SECOND,
        S.DESCRIPTOR_TABLE_EXITING | ALLOWED,
        length=8,
        qualification=DATA,
        cpl3="exit",
    ),
    Case(
        "lidt",
        "lidt 2(%rbx)",
        R.GDTR_IDTR,
        SECOND,
        S.DESCRIPTOR_TABLE_EXITING | ALLOWED,
        length=4,
        qualification=2,
    ),
    Case("sldt", "sldt %esi", R.LDTR_TR, SECOND, S.DESCRIPTOR_TABLE_EXITING | ALLOWED, cpl3="exit", length=3),
    Case("ltr", "ltr %si", R.LDTR_TR, SECOND, S.DESCRIPTOR_TABLE_EXITING | ALLOWED, length=3),
    Case("rdmsr", "rdmsr", R.X86_RDMSR, P.USE_MSR_BITMAPS),
    Case("wrmsr", "wrmsr", R.X86_WRMSR, P.USE_MSR_BITMAPS),
]
CONTROLLED = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
# What each instruction finds: RCX a general number, RBX an address, R8 a page table, RSI a small number.
REGISTERS = {"rcx": 0x10, "rbx": DATA, "r8": TABLES, "rsi": 0x0}


def with_monitor(machine: LongModeMachine) -> LongModeMachine:
    """No CPU model has MONITOR and MWAIT, which the engine knows nevertheless."""
    machine.area.features[1] |= 1 << 3
    return machine


def set_controls(machine: LongModeMachine, case: Case) -> None:
    if case.primary & P.USE_MSR_BITMAPS:
        machine.area.control.execution.msr_bitmap[0x10 // 8] = 1
        machine.area.control.execution.msr_bitmap[2048 + 0x10 // 8] = 1
    machine.apply(processor_based=case.primary, secondary=case.secondary, unconditional=case.unconditional)


@CONTROLLED
def test_an_instruction_exits_when_its_control_is_set(long_mode: LongModeMachine, case: Case) -> None:
    machine = with_monitor(long_mode)
    machine.boot(f"nop; at: {case.source}; done", **REGISTERS)
    set_controls(machine, case)
    state = machine.run_to_control(case.reason)
    about = machine.area.control.exit
    assert state.rip == machine.label("at")
    assert about.instruction_length == case.length
    if case.qualification == -1:
        assert about.qualification == state.rip + case.length
    else:
        assert about.qualification == case.qualification
    assert (state.rcx, state.rbx, state.rsi) == (0x10, DATA, 0)


@CONTROLLED
def test_it_goes_on_after_the_owner_has_served_it(long_mode: LongModeMachine, case: Case) -> None:
    machine = with_monitor(long_mode)
    machine.boot(f"{case.source}; after: done", **REGISTERS)
    set_controls(machine, case)
    state = machine.run_to_control(case.reason)
    state.rip += machine.area.control.exit.instruction_length
    state.r12 = 0x1234
    machine.answer(state, done=True)
    assert state.rip == machine.label("after")
    assert machine.finish().r12 == 0x1234
    assert machine.exits(case.reason) == 1


# These would end the program, or have no way to be harmless.
NOT_RUN = ("hlt", "mwait", "monitor", "rdpmc", "lidt", "ltr", "mov-to-dr", "xsetbv")


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.name not in NOT_RUN], ids=lambda case: case.name
)
def test_no_other_control_makes_it_exit(long_mode: LongModeMachine, case: Case) -> None:
    controls = {"primary": 0, "secondary": 0, "unconditional": 0}
    for other in CASES:
        for word in controls:
            controls[word] |= getattr(other, word)
    own = case.secondary & ~ALLOWED
    long_mode.boot(f"{case.source}; done", **REGISTERS)
    long_mode.apply(
        processor_based=controls["primary"] & ~(0 if own else case.primary),
        secondary=controls["secondary"] & ~own,
        unconditional=controls["unconditional"] & ~case.unconditional,
    )
    long_mode.finish()


@CONTROLLED
def test_privilege_comes_before_the_exit(long_mode: LongModeMachine, case: Case) -> None:
    machine = with_monitor(long_mode)
    machine.boot(f"at: {case.source}; hlt", cpl=3, **REGISTERS)
    set_controls(machine, case)
    if case.cpl3 == "exit":
        assert machine.run_to_control(case.reason).rip == machine.label("at")
    else:
        event = machine.event()
        assert (event.vector, event.rip) == (GP if case.cpl3 == "gp" else UD, machine.label("at"))
        assert machine.exits(case.reason) == 0


SERVED = [
    ("cpuid", "movl $0, %eax; cpuid", "rbx", lambda value: value != DATA),
    ("mov-from-cr3", "mov %cr3, %rbx", "rbx", lambda value: value == TABLES),
    ("rdtsc", "movl $0, %eax; rdtsc", "rax", lambda value: value != 0),
    ("rdmsr", "rdmsr", "rdx", lambda value: True),
    ("pause", "pause; movl $7, %ebx", "rbx", lambda value: value == 7),
    ("mov-to-cr8", "movl $5, %esi; mov %rsi, %cr8; mov %cr8, %rbx", "rbx", lambda value: value == 5),
    ("sgdt", f"sgdt {DATA}; movq {DATA + 2}, %rbx", "rbx", lambda value: value == GDT),
    ("invlpg", "invlpg (%rbx); movl $7, %ebx", "rbx", lambda value: value == 7),
]


@pytest.mark.parametrize(("name", "source", "register", "right"), SERVED, ids=[row[0] for row in SERVED])
@pytest.mark.parametrize("state", [False, True], ids=["as it is", "with the registers loaded"])
def test_an_answer_without_done_runs_the_instruction(
    long_mode: LongModeMachine,
    name: str,
    source: str,
    register: str,
    right: Callable[[int], bool],
    state: bool,
) -> None:
    case = next(case for case in CASES if case.name == name)
    long_mode.boot(f"stc; {source}; setc %r12b; done", **REGISTERS)
    set_controls(long_mode, case)
    registers = long_mode.run_to_control(case.reason)
    assert registers.rflags & 1
    if state:
        registers.r13 = 0x77
        long_mode.answer(registers)
    after = long_mode.finish()
    assert right(getattr(after, register))
    assert after.r12 == 1
    assert after.r13 == (0x77 if state else 0)
    # The accelerator counts the MSRs that it serves, too.
    assert long_mode.exits(case.reason) == 1 + (case.reason == R.X86_RDMSR)


def test_every_round_of_a_loop_exits(long_mode: LongModeMachine) -> None:
    long_mode.boot("movl $5, %r12d; 1: cpuid; decl %r12d; jnz 1b; done")
    long_mode.apply(unconditional=X.CPUID_EXITING)
    for left in range(5, 0, -1):
        assert long_mode.run_to_control(R.CPUID).r12 == left
    long_mode.finish()


def test_a_control_that_is_set_later_holds_for_code_that_has_run(long_mode: LongModeMachine) -> None:
    long_mode.boot("1: cpuid; mark; jmp 1b")
    long_mode.mark()
    long_mode.mark()
    long_mode.apply(unconditional=X.CPUID_EXITING)
    long_mode.run_to_control(R.CPUID)
    long_mode.mark()
    long_mode.apply(unconditional=0)
    long_mode.mark()
    assert long_mode.exits(R.CPUID) == 1


def test_a_control_that_is_set_in_an_exit_holds_from_the_next_instruction_on(
    long_mode: LongModeMachine,
) -> None:
    long_mode.boot("cpuid; mov %cr3, %rax; rdtsc; done")
    long_mode.apply(unconditional=X.CPUID_EXITING)
    long_mode.run_to_control(R.CPUID)
    long_mode.apply(processor_based=P.CR3_STORE_EXITING)
    long_mode.run_to_control(R.CR_ACCESS)
    long_mode.finish()
    assert long_mode.exits(R.CPUID) == 1


def test_registers_that_the_owner_writes_are_the_instructions_operands(long_mode: LongModeMachine) -> None:
    long_mode.boot("xorl %eax, %eax; cpuid; done")
    long_mode.apply(unconditional=X.CPUID_EXITING)
    state = long_mode.run_to_control(R.CPUID)
    state.rax = 0x80000000
    long_mode.answer(state)
    assert long_mode.finish().rax >= 0x80000008


# --- CR3 targets, masks and shadows -------------------------------------------------------------------


def test_a_cr3_target_does_not_exit(long_mode: LongModeMachine) -> None:
    long_mode.boot("mov %rbx, %cr3; mov %rcx, %cr3; mov %rbx, %cr3; done", rbx=TABLES, rcx=TABLES | 0x18)
    long_mode.area.control.execution.cr3_target[1] = TABLES
    long_mode.apply(processor_based=P.CR3_LOAD_EXITING, cr3_target_count=2)
    state = long_mode.run_to_control(R.CR_ACCESS)
    assert (long_mode.area.control.exit.qualification, state.cr3) == (0x103, TABLES)
    assert long_mode.finish().cr3 == TABLES


CR0_TS, CR0_MP, CR0_PE, CR4_TSD, CR4_DE = 1 << 3, 1 << 1, 1, 1 << 2, 1 << 3


def test_masked_bits_of_cr0_are_read_from_the_shadow(long_mode: LongModeMachine) -> None:
    long_mode.boot("mov %cr0, %rbx; smsw %ecx; smsw 0x30000; movzwl 0x30000, %edx; done")
    long_mode.apply(cr0_guest_host_mask=CR0_TS | CR0_MP, cr0_read_shadow=CR0_TS)
    state = long_mode.finish()
    shown = state.cr0 & ~CR0_MP | CR0_TS
    assert (state.rbx, state.rcx, state.rdx) == (shown, shown, shown & 0xFFFF)
    assert state.cr0 & (CR0_TS | CR0_MP) == CR0_MP


def test_a_write_that_keeps_the_shadows_bits_does_not_exit_and_leaves_the_owners(
    long_mode: LongModeMachine,
) -> None:
    long_mode.boot("mov %cr4, %rbx; xorl $8, %ebx; mov %rbx, %cr4; mov %cr4, %rcx; done")
    long_mode.apply(cr4_guest_host_mask=CR4_TSD, cr4_read_shadow=CR4_TSD)
    state = long_mode.finish()
    assert state.cr4 & (CR4_TSD | CR4_DE) == CR4_DE
    assert state.rcx & (CR4_TSD | CR4_DE) == CR4_TSD | CR4_DE


@pytest.mark.parametrize(("reg", "bit"), [(0, CR0_TS), (4, CR4_TSD)])
def test_a_write_of_another_bit_than_the_shadows_exits(
    long_mode: LongModeMachine, reg: int, bit: int
) -> None:
    long_mode.boot(f"mov %cr{reg}, %rbx; xorl ${bit}, %ebx; mov %rbx, %cr{reg}; mov %cr{reg}, %rcx; done")
    before = getattr(long_mode.initial_state(), f"cr{reg}")
    long_mode.apply(**{f"cr{reg}_guest_host_mask": bit, f"cr{reg}_read_shadow": before & bit})
    state = long_mode.run_to_control(R.CR_ACCESS)
    assert long_mode.area.control.exit.qualification == reg | RBX << 8
    assert getattr(state, f"cr{reg}") == before
    # Served, it is a write like any other, for the guest's eyes, too.
    state = long_mode.finish()
    assert (getattr(state, f"cr{reg}"), state.rcx) == (before ^ bit, before ^ bit)
    assert getattr(long_mode.area.control.execution, f"cr{reg}_read_shadow") == bit


def test_clts_exits_when_the_owner_says_that_ts_is_set(long_mode: LongModeMachine) -> None:
    long_mode.boot("clts; clts; done")
    long_mode.apply(cr0_guest_host_mask=CR0_TS, cr0_read_shadow=CR0_TS)
    long_mode.run_to_control(R.CR_ACCESS)
    assert long_mode.area.control.exit.qualification == 2 << 4
    long_mode.finish()
    assert long_mode.exits(R.CR_ACCESS) == 1, "the guest reads TS as clear after the first"


def test_clts_leaves_the_owners_ts_that_the_guest_reads_as_clear(long_mode: LongModeMachine) -> None:
    long_mode.boot("clts; done", cr0=long_mode.initial_state().cr0 | CR0_TS)
    long_mode.apply(cr0_guest_host_mask=CR0_TS)
    assert long_mode.finish().cr0 & CR0_TS


@pytest.mark.parametrize(("source", "exits"), [(9, True), (1, False), (0, False)])
def test_lmsw_exits_for_what_it_would_change(long_mode: LongModeMachine, source: int, exits: bool) -> None:
    long_mode.boot("lmsw %bx; done", rbx=source)
    long_mode.apply(cr0_guest_host_mask=CR0_TS | CR0_PE, cr0_read_shadow=CR0_PE)
    if exits:
        long_mode.run_to_control(R.CR_ACCESS)
        assert long_mode.area.control.exit.qualification == 3 << 4 | source << 16
    state = long_mode.finish()
    assert bool(state.cr0 & CR0_TS) == exits


# --- Secondary controls -------------------------------------------------------------------------------


def test_rdtscp_is_ud_when_secondary_controls_do_not_enable_it(long_mode: LongModeMachine) -> None:
    long_mode.boot("rdtscp; hlt")
    long_mode.apply(processor_based=SECOND)
    assert long_mode.event().vector == UD


def test_secondary_controls_need_to_be_active(long_mode: LongModeMachine) -> None:
    long_mode.boot("wbinvd; rdtscp; done")
    long_mode.apply(secondary=S.WBINVD_EXITING)
    long_mode.finish()


def test_the_instruction_information_names_the_operand(long_mode: LongModeMachine) -> None:
    long_mode.boot("sidt 4(%rbx,%rsi,2); done", **REGISTERS)
    long_mode.apply(processor_based=SECOND, secondary=S.DESCRIPTOR_TABLE_EXITING | ALLOWED)
    long_mode.run_to_control(R.GDTR_IDTR)
    information = long_mode.area.control.exit.instruction_information
    ds = 3
    assert information == 1 | 2 << 7 | 1 << 11 | ds << 15 | RSI << 18 | RBX << 23 | 1 << 28
    assert long_mode.area.control.exit.guest_linear_address == DATA + 4
    long_mode.finish()
    assert long_mode.load(DATA + 6, 8) == IDT


def test_xsetbv_exits(long_mode: LongModeMachine) -> None:
    cr4 = long_mode.initial_state().cr4 | 1 << 18
    long_mode.boot("xorl %ecx, %ecx; xorl %edx, %edx; movl $3, %eax; xsetbv; done", cr4=cr4)
    long_mode.apply(unconditional=X.XSETBV_EXITING)
    long_mode.run_to_control(R.XSETBV)
    assert long_mode.finish().xcr0 == 3


# --- MSRs -----------------------------------------------------------------------------------------------

STAR = 0xC0000081


@pytest.mark.parametrize(
    ("msr", "write", "byte", "bit"),
    [
        (0x174, False, 0x174 // 8, 4),
        (STAR, False, 1024 + 0x81 // 8, 1),
        (0x174, True, 2048 + 0x174 // 8, 4),
        (STAR, True, 3072 + 0x81 // 8, 1),
    ],
)
def test_the_msr_bitmap_has_a_bit_for_each_msr_and_way(
    long_mode: LongModeMachine, msr: int, write: bool, byte: int, bit: int
) -> None:
    long_mode.boot(f"""
        movl ${msr}, %ecx
        rdmsr
        wrmsr
        incl %ecx
        rdmsr
        wrmsr
        done
    """)
    long_mode.area.control.execution.msr_bitmap[byte] = 1 << bit
    long_mode.apply(processor_based=P.USE_MSR_BITMAPS)
    state = long_mode.run_to_control(R.X86_WRMSR if write else R.X86_RDMSR)
    about = long_mode.area.control.exit
    assert about.msr_index == state.rcx == msr
    assert about.data == (state.rdx << 32 | state.rax if write else 0)
    long_mode.finish()


def test_an_msr_beyond_the_bitmap_exits(long_mode: LongModeMachine) -> None:
    long_mode.boot("movl $0x40000000, %ecx; rdmsr; done")
    long_mode.apply(processor_based=P.USE_MSR_BITMAPS)
    state = long_mode.run_to_control(R.X86_RDMSR)
    state.rax, state.rdx, state.rip = 5, 0, state.rip + 2
    long_mode.answer(state, done=True)
    assert long_mode.finish().rax == 5


# --- Other modes ----------------------------------------------------------------------------------------


def test_instructions_of_real_mode_exit(real_mode: RealModeMachine) -> None:
    real_mode.boot("movw $1, %ax; lmsw %ax; hlt")
    real_mode.apply(cr0_guest_host_mask=CR0_PE, processor_based=P.HLT_EXITING)
    state = real_mode.run_to_control(R.CR_ACCESS)
    assert real_mode.area.control.exit.qualification == 3 << 4 | 1 << 16
    state.rip += real_mode.area.control.exit.instruction_length
    real_mode.answer(state, done=True)
    assert real_mode.run_to_control(R.HLT).cr0 & CR0_PE == 0
