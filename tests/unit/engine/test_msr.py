"""Model-specific registers (SDM vol. 4; vol. 3, 4.1, 11.12 and 17.17)."""

from collections.abc import Callable

import pytest

from tests.unit.engine.apic import msr_read, msr_write
from tests.unit.engine.long_mode import EFER_LMA, EFER_LME, EFER_NXE, EFER_SCE, LongModeMachine
from tests.unit.engine.machine import Event

GP = 13
TSC, TSC_ADJUST, PAT, EFER, TSC_AUX = 0x10, 0x3B, 0x277, 0xC0000080, 0xC0000103
STAR, LSTAR, CSTAR, SFMASK = 0xC0000081, 0xC0000082, 0xC0000083, 0xC0000084
FS_BASE, GS_BASE, KERNEL_GS_BASE = 0xC0000100, 0xC0000101, 0xC0000102
SYSENTER_CS, SYSENTER_ESP, SYSENTER_EIP = 0x174, 0x175, 0x176
MTRR_CAP, MTRR_BASE0, MTRR_MASK0, MTRR_DEF_TYPE = 0xFE, 0x200, 0x201, 0x2FF
LONG_MODE = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE
HIGH = 0xFFFF800012345678


def fault(machine: LongModeMachine, program: str) -> Event:
    machine.boot(f"{program} done")
    return machine.event()


@pytest.mark.parametrize("number", [0x3, 0x11E, 0x1234, 0xC0000999, 0xFFFFFFFF])
def test_an_msr_that_nobody_has_is_gp_of_0(long_mode: LongModeMachine, number: int) -> None:
    event = fault(long_mode, msr_read(number, "rbx"))
    assert (event.vector, event.error_code) == (GP, 0)
    assert long_mode.read(event.rip, 2) == b"\x0f\x32"
    event = fault(long_mode, msr_write(number, 0))
    assert (event.vector, event.error_code) == (GP, 0)
    assert long_mode.read(event.rip, 2) == b"\x0f\x30"


@pytest.mark.parametrize("number", [0x4B564D00, 0x4B564D02, 0x4B564D08])
def test_what_a_guest_tries_of_kvms_changes_nothing(long_mode: LongModeMachine, number: int) -> None:
    long_mode.boot(f"{msr_write(number, 0x1001)} {msr_read(number, 'rbx')} done")
    assert long_mode.finish().rbx == 0


@pytest.mark.parametrize("number", [0x4B564CFF, 0x4B564D09])
def test_what_is_beside_kvms_is_gp(long_mode: LongModeMachine, number: int) -> None:
    assert fault(long_mode, msr_read(number, "rbx")).vector == GP


@pytest.mark.parametrize(
    ("number", "value"),
    [
        (STAR, 0x001B000812345678),
        (LSTAR, HIGH),
        (CSTAR, HIGH),
        (SFMASK, 0x47700),
        (FS_BASE, HIGH),
        (GS_BASE, HIGH),
        (KERNEL_GS_BASE, HIGH),
        (SYSENTER_CS, 0x10),
        (SYSENTER_ESP, HIGH),
        (SYSENTER_EIP, HIGH),
        (TSC_AUX, 0xFFFFFFFF),
        (PAT, 0x0007010600070405),
        (MTRR_BASE0, 0x80000006),
        (MTRR_MASK0, 0xFF80000800),
        (TSC_ADJUST, 0x123456789A),
    ],
)
def test_an_msr_keeps_what_is_written(long_mode: LongModeMachine, number: int, value: int) -> None:
    long_mode.boot(f"{msr_write(number, value)} {msr_read(number, 'rbx')} done")
    assert long_mode.finish().rbx == value


@pytest.mark.parametrize(
    "number", [LSTAR, CSTAR, FS_BASE, GS_BASE, KERNEL_GS_BASE, SYSENTER_ESP, SYSENTER_EIP]
)
def test_an_address_that_is_not_canonical_is_gp(long_mode: LongModeMachine, number: int) -> None:
    assert fault(long_mode, msr_write(number, 0x0100000000000000)).vector == GP


def test_addresses_have_48_bits_where_the_cpu_has_no_5_level_paging(
    make_long_mode: Callable[..., LongModeMachine],
) -> None:
    machine = make_long_mode(model="max,-la57")
    assert fault(machine, msr_write(LSTAR, 0x0000800000000000)).vector == GP


def test_the_upper_halves_of_rcx_rax_and_rdx_do_not_matter(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"""
        movabsq ${0x1111111100000000 | TSC_AUX:#x}, %rcx
        movabsq $0x2222222200000007, %rax
        movabsq $0x3333333300000000, %rdx
        wrmsr
        movq $-1, %rax
        movq $-1, %rdx
        rdmsr
        done
    """)
    state = long_mode.finish()
    assert (state.rax, state.rdx) == (7, 0)


@pytest.mark.parametrize(
    "value", [LONG_MODE | 1 << 2, LONG_MODE | 1 << 32, LONG_MODE | 1 << 63, LONG_MODE | 2]
)
def test_a_reserved_bit_of_efer_is_gp(long_mode: LongModeMachine, value: int) -> None:
    assert fault(long_mode, msr_write(EFER, value)).vector == GP


def test_efer_lme_can_not_change_while_paging_is_on(long_mode: LongModeMachine) -> None:
    assert fault(long_mode, msr_write(EFER, LONG_MODE & ~EFER_LME)).vector == GP


def test_efer_lma_is_not_for_software(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{msr_write(EFER, LONG_MODE & ~EFER_LMA)} {msr_read(EFER, 'rbx')} done")
    assert long_mode.finish().rbx == LONG_MODE


def test_efer_nxe_needs_a_model_that_has_it(make_long_mode: Callable[..., LongModeMachine]) -> None:
    machine = make_long_mode(model="max,-nx")
    machine.boot(f"{msr_write(EFER, LONG_MODE)} done", efer=LONG_MODE & ~EFER_NXE)
    assert machine.event().vector == GP


@pytest.mark.parametrize("entry", [0x02, 0x03, 0x08, 0x80, 0xFF])
@pytest.mark.parametrize("place", [0, 7])
def test_a_memory_type_that_is_reserved_is_gp_in_the_pat(
    long_mode: LongModeMachine, entry: int, place: int
) -> None:
    assert fault(long_mode, msr_write(PAT, entry << 8 * place)).vector == GP


def test_tsc_aux_has_no_upper_half(long_mode: LongModeMachine) -> None:
    assert fault(long_mode, msr_write(TSC_AUX, 1 << 32)).vector == GP


def test_a_read_only_msr_is_gp_to_write(long_mode: LongModeMachine) -> None:
    assert fault(long_mode, msr_write(MTRR_CAP, 0x508)).vector == GP


def test_fs_base_is_the_base_of_the_segment(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{msr_write(FS_BASE, 0x30000)} movl %fs:8, %ebx; done")
    long_mode.store(0x30008, 0x600D, 4)
    state = long_mode.finish()
    assert state.rbx == 0x600D
    assert state.fs.base == 0x30000


def test_swapgs_exchanges_the_bases(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{msr_write(GS_BASE, 0x1000)} {msr_write(KERNEL_GS_BASE, 0x2000)} swapgs; done")
    state = long_mode.finish()
    assert (state.gs.base, state.kernel_gs_base) == (0x2000, 0x1000)


# --- The time-stamp counter ---------------------------------------------------------------------------

READ_TSC = "rdtsc; shlq $32, %rdx; orq %rdx, %rax; "


def test_the_tsc_goes_on_from_what_is_written(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{msr_write(TSC, 1 << 60)} {READ_TSC} movq %rax, %rbx; {msr_read(TSC, 'rsi')} done")
    state = long_mode.finish()
    assert 1 << 60 <= state.rbx <= state.rsi < (1 << 60) + (1 << 50)


def test_a_write_of_the_tsc_shows_in_tsc_adjust(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"""
        {READ_TSC}
        movq %rax, %rbx
        {msr_write(TSC, 1 << 60)}
        {msr_read(TSC_ADJUST, "rsi")}
        done
    """)
    state = long_mode.finish()
    # What was written less what the counter was then, which is more than before.
    assert (1 << 60) - (1 << 50) - state.rbx < state.rsi <= (1 << 60) - state.rbx


def test_a_second_write_of_the_tsc_counts_as_the_first(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{msr_write(TSC, 1 << 60)} {msr_write(TSC, 1 << 58)} {msr_read(TSC, 'rsi')} done")
    assert 1 << 58 <= long_mode.finish().rsi < 1 << 59


def test_a_write_of_tsc_adjust_moves_the_tsc_by_the_difference(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"""
        {READ_TSC}
        movq %rax, %rbx
        {msr_write(TSC_ADJUST, 1 << 60)}
        {READ_TSC}
        movq %rax, %rsi
        {msr_write(TSC_ADJUST, 0)}
        {READ_TSC}
        movq %rax, %rdi
        done
    """)
    state = long_mode.finish()
    assert 1 << 60 < state.rsi - state.rbx < (1 << 60) + (1 << 50)
    assert state.rbx < state.rdi < state.rbx + (1 << 50)


def test_a_reset_clears_tsc_adjust(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{msr_write(TSC_ADJUST, 1 << 60)} done")
    long_mode.finish()
    long_mode.boot(f"{msr_read(TSC_ADJUST, 'rbx')} done")
    assert long_mode.finish().rbx == 0


def test_the_tsc_has_the_offset_of_the_vm(long_mode: LongModeMachine) -> None:
    long_mode.vm.tsc_offset = 1 << 60
    long_mode.boot(f"{READ_TSC} done")
    assert long_mode.finish().rax >= 1 << 60


def test_the_tsc_never_goes_back(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"""
        movl $200, %ebp
        xorl %esi, %esi
    1:  {READ_TSC}
        cmpq %rsi, %rax
        jb 2f
        movq %rax, %rsi
        decl %ebp
        jnz 1b
    2:  done
    """)
    assert long_mode.finish().rbp == 0


def test_rdtscp_gives_tsc_aux(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{msr_write(TSC_AUX, 0x1003)} rdtscp; done")
    assert long_mode.finish().rcx == 0x1003


@pytest.mark.parametrize("instruction", ["rdtsc", "rdtscp"])
def test_cr4_tsd_keeps_the_tsc_from_programs(long_mode: LongModeMachine, instruction: str) -> None:
    long_mode.boot(f"{instruction}; hlt", cpl=3, cr4=0x624)
    event = long_mode.event()
    assert (event.vector, event.error_code, event.rip) == (GP, 0, long_mode.program.origin)
    long_mode.boot(f"{instruction}; done", cr4=0x624)
    long_mode.finish()


PLATFORM_ID = 0x17
SYSCFG, HWCR, NB_CFG, INT_PENDING = 0xC0010010, 0xC0010015, 0xC001001F, 0xC0010055


@pytest.mark.parametrize(("number", "value"), [(SYSCFG, 0), (HWCR, 1 << 24), (NB_CFG, 0), (INT_PENDING, 0)])
def test_amd_cpus_have_the_msrs_that_kernels_take_for_there(
    make_long_mode: Callable[..., LongModeMachine], number: int, value: int
) -> None:
    machine = make_long_mode(model="EPYC")
    machine.boot(msr_write(number, 1 << 46) + msr_read(number, "rbx") + "done")
    assert machine.finish().rbx == value


def test_intel_cpus_say_which_platform_they_are_made_for(
    make_long_mode: Callable[..., LongModeMachine],
) -> None:
    machine = make_long_mode(model="Haswell")
    machine.boot("movq $-1, %rbx\n" + msr_read(PLATFORM_ID, "rbx") + "done")
    assert machine.finish().rbx == 0


@pytest.mark.parametrize("number", [SYSCFG, HWCR, NB_CFG, INT_PENDING])
def test_other_cpus_do_not_have_amds_msrs(long_mode: LongModeMachine, number: int) -> None:
    assert fault(long_mode, msr_read(number, "rbx")).vector == GP
    assert fault(long_mode, msr_write(number, 0)).vector == GP


# --- What a model has, and what may be written -----------------------------------------------------------

MCG_STATUS, MCG_CTL, MC0_CTL, MC0_STATUS, MC0_ADDR, DEBUGCTL = 0x17A, 0x17B, 0x400, 0x401, 0x402, 0x1D9
ALL_ONES, NOT_CANONICAL = (1 << 64) - 1, 0xAAAAAAAAAAAAAAAA


@pytest.mark.parametrize(
    ("feature", "numbers"),
    [
        ("tsc-adjust", [TSC_ADJUST]),
        ("sep", [SYSENTER_CS, SYSENTER_ESP, SYSENTER_EIP]),
        ("mtrr", [MTRR_CAP, MTRR_BASE0, 0x26F, MTRR_DEF_TYPE]),
        ("pat", [PAT]),
        ("mca", [MCG_STATUS, MC0_CTL]),
        ("rdtscp", [TSC_AUX]),
    ],
)
def test_a_model_without_a_feature_has_not_its_msrs(
    make_long_mode: Callable[..., LongModeMachine], feature: str, numbers: list[int]
) -> None:
    machine = make_long_mode(model=f"max,-{feature}")
    for number in numbers:
        assert fault(machine, msr_read(number, "rbx")).vector == GP
        assert fault(machine, msr_write(number, 0)).vector == GP


@pytest.mark.parametrize(
    ("number", "value"),
    [
        (MTRR_BASE0, 2),
        (MTRR_BASE0, 0x100),
        (MTRR_BASE0, 1 << 40),
        (MTRR_MASK0, 0x400),
        (MTRR_MASK0, 1 << 40),
        (MTRR_DEF_TYPE, 3),
        (MTRR_DEF_TYPE, 0x100),
        (MTRR_DEF_TYPE, 0x1000),
        (0x250, 0x0600000000000000 | 2),
        (0x26F, 7 << 56),
        (MCG_STATUS, 8),
        (MCG_CTL, 1),
        (MC0_CTL, NOT_CANONICAL),
        (MC0_STATUS, 1),
        (MTRR_CAP, 0),
        (DEBUGCTL, 1),
        (0x34, 0),
        (0x35, 0),
    ],
)
def test_a_value_that_an_msr_does_not_take_is_gp(long_mode: LongModeMachine, number: int, value: int) -> None:
    event = fault(long_mode, msr_write(number, value))
    assert (event.vector, event.error_code) == (GP, 0)


@pytest.mark.parametrize(
    ("number", "value"),
    [
        (0x250, 0x0606060606060606),
        (MTRR_DEF_TYPE, 0xC06),
        (MCG_STATUS, 7),
        (MC0_CTL, 0),
        (MC0_CTL, ALL_ONES),
        (MC0_STATUS, 0),
        (MC0_ADDR, NOT_CANONICAL),
        (MC0_ADDR + 1, ALL_ONES),
        (0x1A0, 0x400C50809),
        (DEBUGCTL, 0),
    ],
)
def test_an_msr_takes_what_is_allowed(long_mode: LongModeMachine, number: int, value: int) -> None:
    long_mode.boot(f"{msr_write(number, value)} {msr_read(number, 'rbx')} done")
    assert long_mode.finish().rbx == value


def test_banks_beyond_the_count_of_mcg_cap_are_not_there(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{msr_read(0x179, 'rbx')} done")
    banks = long_mode.finish().rbx & 0xFF
    assert fault(long_mode, msr_read(MC0_CTL + 4 * banks, "rbx")).vector == GP
    long_mode.boot(f"{msr_read(MC0_CTL + 4 * banks - 1, 'rbx')} done")
    long_mode.finish()


@pytest.mark.parametrize("number", range(0xC0010000, 0xC0010008))
def test_amds_performance_counters_count_nothing(
    make_long_mode: Callable[..., LongModeMachine], number: int
) -> None:
    machine = make_long_mode(model="EPYC")
    machine.boot(f"{msr_write(number, 0x1234)} {msr_read(number, 'rbx')} done")
    assert machine.finish().rbx == 0


def test_core_thread_count_is_that_of_cpuid(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{msr_read(0x35, 'rbx')} done")
    assert long_mode.finish().rbx == 2 << 16 | 2


# --- FSGSBASE (SDM vol. 2, RDFSBASE and WRFSBASE) --------------------------------------------------------

CR4_FSGSBASE = 0x10620
BASES = ["wrfsbase %rbx", "wrgsbase %r13", "wrgsbase %rax"]


@pytest.mark.parametrize("instruction", BASES)
def test_a_base_that_is_not_canonical_is_gp(long_mode: LongModeMachine, instruction: str) -> None:
    register = instruction.split("%")[1]
    long_mode.boot(f"nop; at: {instruction}; done", cr4=CR4_FSGSBASE, **{register: NOT_CANONICAL})
    event = long_mode.event()
    assert (event.vector, event.error_code, event.rip) == (GP, 0, long_mode.label("at"))


@pytest.mark.parametrize("cpl", [0, 3])
def test_the_bases_are_written_and_read_in_every_ring(long_mode: LongModeMachine, cpl: int) -> None:
    long_mode.boot(
        "wrfsbase %rbx; wrgsbase %r13; rdfsbase %rsi; rdgsbase %r8; wrfsbase %r9d; rdfsbase %r10; done",
        cpl=cpl,
        cr4=CR4_FSGSBASE,
        rflags=0x3002,
        rbx=HIGH,
        r13=0x1234,
        r9=NOT_CANONICAL,
    )
    state = long_mode.finish()
    assert (state.rsi, state.r8, state.r10) == (HIGH, 0x1234, NOT_CANONICAL & 0xFFFFFFFF)


@pytest.mark.parametrize("instruction", [*BASES, "rdfsbase %rax", "rdgsbase %eax"])
def test_without_cr4_fsgsbase_they_are_ud(long_mode: LongModeMachine, instruction: str) -> None:
    assert fault(long_mode, f"{instruction};").vector == 6
