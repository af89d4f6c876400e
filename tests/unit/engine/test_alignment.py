"""16-byte operands of SSE that are not aligned (SDM vol. 2, 2.4), and #AC (vol. 3, 6.15)."""

import pytest

from tests.unit.engine.long_mode import (
    CR0_ET,
    CR0_MP,
    CR0_NE,
    CR0_PE,
    CR0_PG,
    CR0_WP,
    USER_DATA,
    LongModeMachine,
)

GP, PF, AC = 13, 14, 17
CR0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_PG
CR0_AM, RFLAGS_AC = 1 << 18, 1 << 18

ALIGNED = [
    "movaps 0x30008, %xmm0",
    "movaps %xmm0, 0x30008",
    "movapd 0x30008, %xmm8",
    "movdqa 0x30001, %xmm0",
    "movdqa %xmm0, 0x30001",
    "movntps %xmm0, 0x30008",
    "movntpd %xmm0, 0x30008",
    "movntdq %xmm0, 0x30004",
    "movntdqa 0x30004, %xmm0",
    "movsldup 0x30008, %xmm0",
    "addps 0x30004, %xmm0",
    "sqrtpd 0x30008, %xmm0",
    "cvtpd2ps 0x30008, %xmm0",
    "cvtdq2ps 0x30008, %xmm0",
    "cvttpd2dq 0x30008, %xmm0",
    "shufps $0, 0x30008, %xmm0",
    "cmpltps 0x30008, %xmm0",
    "paddb 0x30001, %xmm0",
    "punpcklbw 0x30008, %xmm0",
    "psllw 0x30008, %xmm0",
    "pshufd $0, 0x30008, %xmm0",
    "pshufb 0x30004, %xmm0",
    "ptest 0x30008, %xmm0",
    "palignr $1, 0x30008, %xmm0",
    "pblendw $1, 0x30008, %xmm0",
    "pclmulqdq $0, 0x30004, %xmm0",
    "aesenc 0x30008, %xmm0",
    "rex.w movaps 0x30008, %xmm0",
    "fxsave 0x30008",
    "fxrstor 0x30008",
    "cmpxchg16b 0x30008",
    "lock cmpxchg16b 0x30008",
]
UNALIGNED = [
    "movups 0x30001, %xmm0",
    "movups %xmm0, 0x30001",
    "movupd 0x30001, %xmm0",
    "movdqu 0x30001, %xmm0",
    "movdqu %xmm0, 0x30001",
    "lddqu 0x30001, %xmm0",
    "movss 0x30001, %xmm0",
    "movsd 0x30001, %xmm0",
    "addss 0x30001, %xmm0",
    "addsd 0x30001, %xmm0",
    "movlps 0x30001, %xmm0",
    "movhpd %xmm0, 0x30001",
    "movddup 0x30001, %xmm0",
    "movq 0x30001, %xmm0",
    "movq %xmm0, 0x30001",
    "cvtps2pd 0x30001, %xmm0",
    "cvtdq2pd 0x30001, %xmm0",
    "cvtpi2ps 0x30001, %xmm0",
    "paddb 0x30001, %mm0",
    "pmovzxbw 0x30001, %xmm0",
    "pinsrd $1, 0x30001, %xmm0",
    "pcmpistri $0, 0x30001, %xmm0",
    "pcmpestrm $0, 0x30001, %xmm0",
    "movaps 0x30010, %xmm0",
    "movdqa %xmm0, 0x30010",
]


@pytest.mark.parametrize("instruction", ALIGNED)
def test_a_16_byte_operand_that_is_not_aligned_is_gp(long_mode: LongModeMachine, instruction: str) -> None:
    long_mode.boot(f"nop; at: {instruction}; done")
    event = long_mode.event()
    assert (event.vector, event.error_code, event.rip) == (GP, 0, long_mode.label("at"))


@pytest.mark.parametrize("instruction", UNALIGNED)
def test_other_operands_need_no_alignment(long_mode: LongModeMachine, instruction: str) -> None:
    long_mode.boot(f"{instruction}; done")
    long_mode.finish()


def test_the_check_holds_where_the_page_is_in_the_tlb(long_mode: LongModeMachine) -> None:
    long_mode.boot("movaps 0x30000, %xmm0; movaps %xmm0, 0x30010; at: movaps %xmm0, 0x30018; done")
    event = long_mode.event()
    assert (event.vector, event.rip) == (GP, long_mode.label("at"))


def test_an_aligned_operand_of_a_missing_page_is_a_page_fault(long_mode: LongModeMachine) -> None:
    long_mode.boot("at: movaps 0x50000000, %xmm0; done")
    event = long_mode.event()
    assert (event.vector, event.cr2) == (PF, 0x50000000)


def user(source: str) -> str:
    return f"nop; at: {source}; hlt"


@pytest.mark.parametrize(
    ("instruction", "address"),
    [
        ("movw (%rbx), %ax", 1),
        ("movl (%rbx), %eax", 2),
        ("movl %eax, (%rbx)", 1),
        ("movq (%rbx), %rax", 4),
        ("addl $1, (%rbx)", 3),
        ("movsd (%rbx), %xmm0", 4),
        ("pushq %rax", 0),
    ],
)
def test_alignment_is_checked_in_ring_3_with_am_and_ac(
    long_mode: LongModeMachine, instruction: str, address: int
) -> None:
    rsp = USER_DATA + 0x804 if "push" in instruction else USER_DATA + 0x800
    long_mode.boot(
        user(instruction), cpl=3, cr0=CR0 | CR0_AM, rflags=RFLAGS_AC | 2, rbx=USER_DATA + address, rsp=rsp
    )
    event = long_mode.event()
    assert (event.vector, event.error_code, event.rip) == (AC, 0, long_mode.label("at"))


@pytest.mark.parametrize(
    ("instruction", "address"),
    [("movb (%rbx), %al", 1), ("movw (%rbx), %ax", 2), ("movq (%rbx), %rax", 8), ("movups (%rbx), %xmm0", 8)],
)
def test_an_aligned_access_passes_the_check(
    long_mode: LongModeMachine, instruction: str, address: int
) -> None:
    long_mode.boot(user(instruction), cpl=3, cr0=CR0 | CR0_AM, rflags=RFLAGS_AC | 2, rbx=USER_DATA + address)
    assert long_mode.event().vector == GP  # HLT


@pytest.mark.parametrize(
    ("cpl", "cr0", "rflags"), [(3, CR0, RFLAGS_AC), (3, CR0 | CR0_AM, 0), (0, CR0 | CR0_AM, RFLAGS_AC)]
)
def test_alignment_is_not_checked_otherwise(
    long_mode: LongModeMachine, cpl: int, cr0: int, rflags: int
) -> None:
    long_mode.boot("movl (%rbx), %eax; ud2", cpl=cpl, cr0=cr0, rflags=rflags | 2, rbx=USER_DATA + 1)
    assert long_mode.event().vector == 6


def test_a_change_of_am_counts_for_code_that_has_run(long_mode: LongModeMachine) -> None:
    long_mode.boot(
        """
        movl $2, %ecx
    again:
        pushq $0x33
        pushq $0x27000
        pushq $0x40002
        pushq $0x2b
        leaq in_ring_3(%rip), %rax
        pushq %rax
        iretq
    back:
        movq %cr0, %rax
        btsl $18, %eax
        movq %rax, %cr0
        loop again
        done
    in_ring_3:
        movl 0x26001, %eax
        int $0x80
        """
    )
    long_mode.set_gate(0x80, long_mode.label("back"))
    event = long_mode.event()
    assert (event.vector, event.rip) == (AC, long_mode.label("in_ring_3"))
