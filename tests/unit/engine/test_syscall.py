"""SYSCALL, SYSRET, SYSENTER and SYSEXIT in long mode (SDM vol. 2, their pages)."""

import pytest

from mpvm.cpu.state import CpuState
from tests.unit.engine.assembler import assemble
from tests.unit.engine.long_mode import (
    EFER_LMA,
    EFER_LME,
    KERNEL_CS,
    KERNEL_CS32,
    KERNEL_SS,
    ORIGIN,
    STACK_TOP,
    USER_CS,
    USER_CS32,
    USER_SS,
    USER_STACK_TOP,
    LongModeMachine,
)

UD, GP = 6, 13
# SYSRET loads CS from base + 16 and SS from base + 8: the user's 64-bit code is at 0x28.
STAR = 0x1B << 48 | KERNEL_CS << 32
CF, DF, IF, TF, IOPL, NT, AC = 1, 1 << 10, 1 << 9, 1 << 8, 3 << 12, 1 << 14, 1 << 18
AR_KERNEL_CODE, AR_KERNEL_DATA = 0xA09B, 0xC093


def into_kernel(machine: LongModeMachine, program: str, **registers: int) -> CpuState:
    """The state at `kernel` after a program at CPL 3 has entered it."""
    machine.boot(f"{program}; after: hlt; .balign 64; kernel: done", cpl=3, **registers)
    return machine.finish()


def boot_syscall(machine: LongModeMachine, program: str, **registers: int) -> CpuState:
    labels = _labels(machine, program)
    return into_kernel(machine, program, star=STAR, lstar=labels["kernel"], **registers)


def _labels(machine: LongModeMachine, program: str) -> dict[str, int]:
    return assemble(f"{program}; after: hlt; .balign 64; kernel: done", 64, ORIGIN).labels


def test_syscall_saves_rip_and_flags_and_goes_to_lstar(long_mode: LongModeMachine) -> None:
    state = boot_syscall(long_mode, "stc; syscall", sfmask=0)
    assert state.rcx == long_mode.label("after")
    assert state.r11 & (CF | 2) == CF | 2
    assert long_mode.label("kernel") <= state.rip < long_mode.label("kernel") + 8


def test_syscall_loads_flat_kernel_segments(long_mode: LongModeMachine) -> None:
    state = boot_syscall(long_mode, "syscall")
    assert (state.cs.selector, state.cs.access_rights) == (KERNEL_CS, AR_KERNEL_CODE)
    assert (state.ss.selector, state.ss.access_rights) == (KERNEL_SS, AR_KERNEL_DATA)
    assert (state.cs.base, state.cs.limit, state.ss.base, state.ss.limit) == (0, 0xFFFFFFFF, 0, 0xFFFFFFFF)


def test_syscall_leaves_the_stack_alone(long_mode: LongModeMachine) -> None:
    assert boot_syscall(long_mode, "syscall").rsp == USER_STACK_TOP


@pytest.mark.parametrize("mask", [0, IF, TF | IF | DF | IOPL | NT | AC, CF, 0xFFFFFFFF])
def test_syscall_clears_the_flags_of_its_mask_and_saves_them_all(
    long_mode: LongModeMachine, mask: int
) -> None:
    flags = CF | DF | IF | IOPL | AC | 2
    state = boot_syscall(long_mode, "syscall", sfmask=mask, rflags=flags)
    assert state.r11 == flags
    assert state.rflags == flags & ~mask | 2


def test_syscall_does_not_save_rf(long_mode: LongModeMachine) -> None:
    state = boot_syscall(long_mode, "syscall", rflags=1 << 16 | CF | 2)
    assert (state.r11, state.rflags) == (CF | 2, CF | 2)


def test_syscall_without_sce_is_ud(long_mode: LongModeMachine) -> None:
    long_mode.boot("syscall; hlt", cpl=3, efer=EFER_LME | EFER_LMA)
    event = long_mode.event()
    assert (event.vector, event.rip) == (UD, long_mode.program.origin)


def test_syscall_is_also_for_the_kernel(long_mode: LongModeMachine) -> None:
    long_mode.boot("leaq kernel(%rip), %rax; wrmsr; syscall; nop; kernel: done", rcx=0xC0000082, star=STAR)
    state = long_mode.finish()
    assert (state.cs.selector, state.rcx) == (KERNEL_CS, long_mode.label("kernel") - 1)


def sysret(machine: LongModeMachine, instruction: str, **registers: int) -> None:
    machine.boot(
        f"leaq user(%rip), %rcx; {instruction}; hlt; .balign 64; user: int $0x80", star=STAR, **registers
    )


def test_sysretq_goes_to_rcx_at_cpl_3_with_the_flags_of_r11(long_mode: LongModeMachine) -> None:
    sysret(long_mode, "sysretq", r11=CF | DF | AC | IF | 2, rsp=USER_STACK_TOP)
    event = long_mode.event()
    assert (event.vector, event.rip) == (0x80, long_mode.label("user") + 2)
    assert (event.cs, event.ss, event.rsp) == (USER_CS, USER_SS, USER_STACK_TOP)
    assert event.rflags == CF | DF | AC | IF | 2


def test_sysretl_goes_to_compatibility_mode(long_mode: LongModeMachine) -> None:
    sysret(long_mode, "sysretl", r11=2)
    event = long_mode.event()
    assert (event.vector, event.cs, event.ss) == (0x80, USER_CS32, USER_SS)


def test_sysret_at_cpl_3_is_gp(long_mode: LongModeMachine) -> None:
    long_mode.boot("sysretq; hlt", cpl=3, star=STAR)
    event = long_mode.event()
    assert (event.vector, event.error_code) == (GP, 0)


def test_sysret_without_sce_is_ud(long_mode: LongModeMachine) -> None:
    sysret(long_mode, "sysretq", efer=EFER_LME | EFER_LMA)
    assert long_mode.event().vector == UD


def test_a_program_calls_the_kernel_and_gets_back(long_mode: LongModeMachine) -> None:
    long_mode.boot(
        f"""
        leaq kernel(%rip), %rax
        movl $0xc0000082, %ecx
        xorl %edx, %edx
        wrmsr
        movq %rsp, %rbp
        leaq user(%rip), %rcx
        movl $0x202, %r11d
        movl ${USER_STACK_TOP}, %esp
        sysretq
    kernel:
        movq %rbp, %rsp
        pushq %rcx
        pushq %r11
        addl $1000, %ebx
        popq %r11
        popq %rcx
        movl ${USER_STACK_TOP}, %esp
        sysretq
    user:
        incl %ebx
        syscall
        incl %ebx
        syscall
        int $0x80
        hlt
    """,
        star=STAR,
    )
    assert long_mode.event().cs == USER_CS
    long_mode.resume_at(long_mode.label("user"))
    assert long_mode.event().vector == 0x80
    assert long_mode.pause().rbx == 4004


# --- SYSENTER -----------------------------------------------------------------------------------------

ENTER = {"sysenter_cs": KERNEL_CS, "sysenter_esp": STACK_TOP - 64}


def boot_sysenter(machine: LongModeMachine, **registers: int) -> CpuState:
    program = "sysenter"
    entry = _labels(machine, program)["kernel"]
    return into_kernel(machine, program, sysenter_eip=entry, **{**ENTER, **registers})


def test_sysenter_goes_to_its_msrs_in_64_bit_mode(long_mode: LongModeMachine) -> None:
    state = boot_sysenter(long_mode)
    assert long_mode.label("kernel") <= state.rip < long_mode.label("kernel") + 8
    assert state.rsp == STACK_TOP - 64
    assert (state.cs.selector, state.cs.access_rights) == (KERNEL_CS, AR_KERNEL_CODE)
    assert (state.ss.selector, state.ss.access_rights) == (KERNEL_SS, AR_KERNEL_DATA)


def test_sysenter_clears_if_and_keeps_the_other_flags(long_mode: LongModeMachine) -> None:
    assert boot_sysenter(long_mode, rflags=CF | DF | IF | 2).rflags == CF | DF | 2


def test_sysenter_drops_the_rpl_of_its_selector(long_mode: LongModeMachine) -> None:
    state = boot_sysenter(long_mode, sysenter_cs=KERNEL_CS | 3)
    assert (state.cs.selector, state.ss.selector) == (KERNEL_CS, KERNEL_SS)


@pytest.mark.parametrize("selector", [0, 1, 3])
def test_sysenter_with_a_null_selector_is_gp_of_0(long_mode: LongModeMachine, selector: int) -> None:
    long_mode.boot("sysenter; hlt", cpl=3, sysenter_cs=selector)
    event = long_mode.event()
    assert (event.vector, event.error_code, event.rip) == (GP, 0, long_mode.program.origin)


def test_sysexitq_goes_to_rdx_and_rcx_at_cpl_3(long_mode: LongModeMachine) -> None:
    long_mode.boot(
        f"leaq user(%rip), %rdx; movl ${USER_STACK_TOP}, %ecx; sysexitq; hlt; .balign 64; user: int $0x80",
        **ENTER,
    )
    event = long_mode.event()
    assert (event.vector, event.rip, event.rsp) == (0x80, long_mode.label("user") + 2, USER_STACK_TOP)
    assert (event.cs, event.ss) == (KERNEL_CS + 32 | 3, KERNEL_CS + 40 | 3)


def test_sysexit_at_cpl_3_is_gp(long_mode: LongModeMachine) -> None:
    long_mode.boot("sysexitq; hlt", cpl=3, **ENTER)
    assert long_mode.event().vector == GP


def test_compatibility_mode_runs_32_bit_code(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"""
        movq $-1, %rax
        ljmp *far(%rip)
    far: .long compat
        .word {KERNEL_CS32}
    .code32
    compat:
        movl $5, %eax
        decl %eax
        done
    """)
    state = long_mode.finish()
    assert state.rax == 4
    assert state.cs.selector == KERNEL_CS32


def test_iretq_to_cpl_3_changes_stack_and_privilege(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"""
        pushq ${USER_SS}
        pushq ${USER_STACK_TOP - 16}
        pushq $0x202
        pushq ${USER_CS}
        leaq user(%rip), %rax
        pushq %rax
        iretq
    user:
        pushq $0x55
        int $0x80
    """)
    event = long_mode.event()
    assert (event.cs, event.ss, event.rsp) == (USER_CS, USER_SS, USER_STACK_TOP - 24)
    assert long_mode.load(USER_STACK_TOP - 24, 8) == 0x55


def sysret_to(machine: LongModeMachine, **registers: int) -> None:
    machine.boot("at: sysretq; user: int $0x80", star=STAR, **registers)


def test_sysret_loads_neither_rf_nor_vm(long_mode: LongModeMachine) -> None:
    long_mode.boot("sysretq; user: int $0x80", star=STAR)
    sysret_to(long_mode, rcx=long_mode.label("user"), r11=0x3FFFFF & ~(TF | NT))
    event = long_mode.event()
    assert (event.cs, event.ss) == (USER_CS, USER_SS)
    assert event.rflags == 0x3FFFFF & ~(TF | NT | 1 << 16 | 1 << 17 | 0x8028)


def test_sysret_to_a_non_canonical_address_is_gp_in_ring_0(long_mode: LongModeMachine) -> None:
    sysret_to(long_mode, rcx=1 << 47, r11=2)
    event = long_mode.event()
    assert (event.vector, event.error_code, event.rip, event.cs) == (
        GP,
        0,
        long_mode.label("at"),
        KERNEL_CS,
    )
    assert event.rsp == STACK_TOP


def test_sysret_to_compatibility_mode_takes_32_bits_of_rip(long_mode: LongModeMachine) -> None:
    long_mode.boot("sysretl; user: int $0x80", star=STAR)
    rcx = 0xFFFFFFFF00000000 | long_mode.label("user")
    long_mode.boot("sysretl; user: int $0x80", star=STAR, rcx=rcx, r11=2)
    event = long_mode.event()
    assert (event.vector, event.cs, event.ss) == (0x80, USER_CS32, USER_SS)
    assert event.rip == long_mode.label("user") + 2


def test_a_step_over_syscall_traps_when_sysret_is_done(long_mode: LongModeMachine) -> None:
    program = """
        pushfq; orq $0x100, (%rsp); popfq
        syscall
    after:
        nop
        hlt
        .balign 64
    kernel:
        nop
        sysretq
    """
    kernel = assemble(program, 64, ORIGIN).labels["kernel"]
    long_mode.boot(program, cpl=3, star=STAR, lstar=kernel, sfmask=TF)
    event = long_mode.event()
    assert (event.vector, event.rip, event.cs) == (1, long_mode.label("after"), USER_CS)
    assert event.rflags & TF
    event = long_mode.event()
    assert (event.vector, event.rip) == (1, long_mode.label("after") + 1)
