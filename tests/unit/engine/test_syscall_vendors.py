"""What Intel's and AMD's SYSCALL and SYSENTER do not share (SDM vol. 2 and APM vol. 3, their pages)."""

from collections.abc import Callable

import pytest

from tests.unit.engine.assembler import assemble
from tests.unit.engine.long_mode import (
    CR4_PAE,
    KERNEL_CS,
    KERNEL_CS32,
    ORIGIN,
    STACK_TOP,
    TABLES,
    USER_CS32,
    USER_SS,
    USER_STACK_TOP,
    LongModeMachine,
)
from tests.unit.engine.protected_mode import CODE, ProtectedModeMachine

Make = Callable[..., LongModeMachine]
UD, GP, PF = 6, 13, 14
CR4_LA57 = 1 << 12
FIFTH_LEVEL = 0x98000
HIGH_STACK = 0x00FF000000020000
STAR = 0x1B << 48 | KERNEL_CS << 32
INTEL, AMD = "max", "max,vendor=AuthenticAMD"
NOT_CANONICAL = 0x0000800000000000
ENTER = {"sysenter_cs": KERNEL_CS, "sysenter_esp": STACK_TOP - 64}
# To ring 3 in compatibility mode: SS, ESP, flags, CS, EIP.
TO_COMPATIBILITY = f"""
    pushq ${USER_SS}; pushq ${USER_STACK_TOP}; pushq $2; pushq ${USER_CS32}
    leaq compat(%rip), %rax; pushq %rax; iretq
    .code32
compat:
"""


def test_intels_syscall_is_ud_in_compatibility_mode(make_long_mode: Make) -> None:
    machine = make_long_mode(model=INTEL)
    machine.boot(f"{TO_COMPATIBILITY} syscall; hlt", star=STAR, cstar=ORIGIN)
    event = machine.event()
    assert (event.vector, event.cs, event.rip) == (UD, USER_CS32, machine.label("compat"))


def test_amds_syscall_goes_to_cstar_from_compatibility_mode(make_long_mode: Make) -> None:
    machine = make_long_mode(model=AMD)
    program = f"{TO_COMPATIBILITY} syscall; after: hlt; .code64; .balign 64; kernel: done"
    machine.boot(program, star=STAR, cstar=assemble(program, 64, ORIGIN).labels["kernel"])
    state = machine.finish()
    assert (state.cs.selector, state.rcx) == (KERNEL_CS, machine.label("after"))


@pytest.mark.parametrize(("model", "vector", "cpl"), [(INTEL, GP, 0), (AMD, GP, 3)])
def test_sysret_to_no_canonical_address_faults_before_it_on_intel_and_behind_it_on_amd(
    make_long_mode: Make, model: str, vector: int, cpl: int
) -> None:
    machine = make_long_mode(model=model)
    machine.boot(f"movabsq ${NOT_CANONICAL}, %rcx; at: sysretq; hlt", star=STAR, r11=2)
    event = machine.event()
    assert (event.vector, event.error_code, event.cs & 3) == (vector, 0, cpl)
    assert event.rip == (machine.label("at") if cpl == 0 else NOT_CANONICAL)


def test_sysret_takes_neither_rf_nor_vm_from_r11(make_long_mode: Make) -> None:
    machine = make_long_mode(model=INTEL)
    machine.boot(
        "leaq user(%rip), %rcx; sysretq; .balign 64; user: int $0x80", star=STAR, r11=0xFFFFFFFFFFFFFEFF
    )
    assert machine.event().rflags & 0x30000 == 0


@pytest.mark.parametrize("instruction", ["sysenter", "sysexit"])
@pytest.mark.parametrize("compatibility", [False, True])
def test_amds_sysenter_is_ud_in_long_mode(
    make_long_mode: Make, instruction: str, *, compatibility: bool
) -> None:
    machine = make_long_mode(model=AMD)
    machine.boot(f"{TO_COMPATIBILITY if compatibility else ''} at: {instruction}; hlt", **ENTER)
    event = machine.event()
    assert (event.vector, event.rip) == (UD, machine.label("at"))


def test_sysenter_needs_a_model_that_has_it(make_long_mode: Make) -> None:
    machine = make_long_mode(model="max,-sep")
    machine.boot("sysenter; hlt", **ENTER)
    assert machine.event().vector == UD


@pytest.mark.parametrize("register", ["rcx", "rdx"])
def test_sysexit_to_no_canonical_address_is_gp_of_0(make_long_mode: Make, register: str) -> None:
    machine = make_long_mode(model=INTEL)
    machine.boot("at: sysexitq; hlt", **ENTER, **{register: NOT_CANONICAL})
    event = machine.event()
    assert (event.vector, event.error_code, event.rip) == (GP, 0, machine.label("at"))


def test_intels_sysenter_from_compatibility_mode_enters_64_bit_code(make_long_mode: Make) -> None:
    machine = make_long_mode(model=INTEL)
    program = f"{TO_COMPATIBILITY} sysenter; hlt; .code64; .balign 64; kernel: movq %rsp, %rbx; done"
    machine.boot(program, sysenter_eip=assemble(program, 64, ORIGIN).labels["kernel"], **ENTER)
    state = machine.finish()
    assert (state.cs.selector, state.cs.access_rights, state.rbx) == (KERNEL_CS, 0xA09B, STACK_TOP - 64)


def test_sysexitl_goes_to_32_bit_code(make_long_mode: Make) -> None:
    machine = make_long_mode(model=INTEL)
    machine.boot(
        "leaq user(%rip), %rdx; movq $-1, %rcx; sysexitl; hlt; .balign 64; .code32; user: int $0x80",
        sysenter_cs=KERNEL_CS32 - 0x40 + 3,
    )
    event = machine.event()
    assert (event.vector, event.cs, event.ss, event.rsp) == (0x80, USER_CS32, USER_SS, 0xFFFFFFFF)


def test_sysenter_and_sysexit_in_protected_mode(protected_mode: ProtectedModeMachine) -> None:
    """Their four segments are next to each other in the GDT."""
    program = "sysenter; after: int $0x80; .balign 64; kernel: movl %esp, %ecx; movl $after, %edx; sysexit"
    labels = assemble(program, 32, ORIGIN).labels
    protected_mode.boot(
        program, cpl=3, sysenter_cs=CODE, sysenter_esp=0xFFFFFFFF12345678, sysenter_eip=labels["kernel"]
    )
    event = protected_mode.event()
    assert (event.vector, event.cs, event.ss, event.rsp) == (0x80, 0x1B, 0x23, 0x12345678)


def test_sysret_to_a_57_bit_address_is_one_with_la57(make_long_mode: Make) -> None:
    machine = make_long_mode(model=INTEL)
    machine.boot(f"movabsq ${NOT_CANONICAL}, %rcx; sysretq; hlt", star=STAR, r11=2)
    machine.write(FIFTH_LEVEL, (TABLES | 7).to_bytes(8, "little"))
    state = machine.initial_state()
    machine.start(state.replace(star=STAR, r11=2, cr3=FIFTH_LEVEL, cr4=CR4_PAE | CR4_LA57))
    event = machine.event()
    assert (event.vector, event.cs & 3, event.rip, event.cr2) == (PF, 3, NOT_CANONICAL, NOT_CANONICAL)


def test_a_stack_of_57_bits_is_one_with_la57(make_long_mode: Make) -> None:
    machine = make_long_mode(model=INTEL)
    machine.boot(
        f"movabsq ${HIGH_STACK}, %rsp; movl %ss, %eax; pushq %rax; pushq $0x800; pushfq; pushq ${KERNEL_CS};"
        "leaq after(%rip), %rax; pushq %rax; iretq; after: done"
    )
    machine.write(FIFTH_LEVEL, bytes(4096))
    for index in (0, HIGH_STACK >> 48 & 511):
        machine.store(FIFTH_LEVEL + 8 * index, TABLES | 7, 8)
    state = machine.initial_state()
    machine.start(state.replace(cr3=FIFTH_LEVEL, cr4=CR4_PAE | CR4_LA57))
    assert machine.finish().rsp == 0x800
