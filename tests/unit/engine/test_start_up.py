"""INIT, SIPI and the state after a reset (SDM vol. 3, 8.4, 9.1 and 10.4.7)."""

import pytest

from mpvm.abi.exits import ExitReason, IoDirection
from mpvm.abi.layout import Startup, VcpuMode
from mpvm.cpu.state import SegmentState, reset_state
from tests.unit.engine.apic import ID, LVT_LINT0, LVT_LINT1, LVT_TIMER, MASKED, SVR
from tests.unit.engine.long_mode import DATA, LongModeMachine
from tests.unit.engine.machine import DONE_PORT, MMIO_BASE
from tests.unit.engine.real_mode import RealModeMachine

TRAMPOLINE = 0x12000
SIPI = Startup.SIPI | TRAMPOLINE >> 12
RESET_VECTOR = 0xFFFFFFF0
# More resets than the engine can nest runs.
MANY = 100


def send(machine: RealModeMachine, *, init: bool = False, sipi: int = 0) -> None:
    """INIT or SIPI as another vCPU sends them."""
    inbox = machine.area.inbox
    if init:
        inbox.startup = Startup.INIT
    if sipi:
        inbox.startup |= sipi
    inbox.any = 1
    machine.kick()


def application_processor(machine: RealModeMachine) -> None:
    machine.area.is_bsp = 0
    machine.place("movw %cs, %ax; movl $0x1234, %ebx; done", 16, TRAMPOLINE)
    machine.engine.reset(load_state=False)


def test_a_sipi_starts_an_application_processor_at_its_page(real_mode: RealModeMachine) -> None:
    application_processor(real_mode)
    send(real_mode, sipi=SIPI)
    state = real_mode.finish()
    assert (state.cs.selector, state.cs.base, state.rbx) == (TRAMPOLINE >> 4, TRAMPOLINE, 0x1234)
    assert state.rip < 0x100
    assert state.rax == TRAMPOLINE >> 4


def test_an_application_processor_waits_for_its_sipi(real_mode: RealModeMachine) -> None:
    application_processor(real_mode)
    state = real_mode.pause()
    assert (state.rip, state.cs.base) == (0xFFF0, 0xFFFF0000)
    assert real_mode.area.mp_state == VcpuMode.WAIT_FOR_SIPI
    send(real_mode, sipi=SIPI)
    assert real_mode.finish().rbx == 0x1234


def test_init_then_sipi_starts_an_application_processor(real_mode: RealModeMachine) -> None:
    application_processor(real_mode)
    send(real_mode, init=True)
    send(real_mode, sipi=SIPI)
    assert real_mode.finish().rbx == 0x1234


def test_a_second_sipi_is_ignored_by_a_processor_that_runs(real_mode: RealModeMachine) -> None:
    application_processor(real_mode)
    real_mode.place("incw 0x600; mark; jmp 1f; 1: done", 16, TRAMPOLINE)
    send(real_mode, sipi=SIPI)
    real_mode.mark()
    send(real_mode, sipi=SIPI)
    real_mode.finish()
    assert real_mode.load(0x600, 2) == 1


def test_a_sipi_without_init_is_ignored_by_a_processor_that_runs(real_mode: RealModeMachine) -> None:
    real_mode.boot("mark; jmp 1f; 1: done")
    real_mode.place("incw 0x600; done", 16, TRAMPOLINE)
    real_mode.mark()
    send(real_mode, sipi=SIPI)
    real_mode.finish()
    assert real_mode.load(0x600, 2) == 0


def test_init_stops_a_running_application_processor_until_its_sipi(real_mode: RealModeMachine) -> None:
    application_processor(real_mode)
    real_mode.place("incw 0x600; mark; 1: jmp 1b", 16, TRAMPOLINE)
    send(real_mode, sipi=SIPI)
    real_mode.mark()
    send(real_mode, init=True)
    send(real_mode, sipi=SIPI)
    real_mode.mark()
    assert real_mode.load(0x600, 2) == 2


def test_init_wakes_a_halted_application_processor(real_mode: RealModeMachine) -> None:
    application_processor(real_mode)
    real_mode.place("incw 0x600; mark; cli; hlt", 16, TRAMPOLINE)
    send(real_mode, sipi=SIPI)
    real_mode.mark()
    send(real_mode, init=True)
    send(real_mode, sipi=SIPI)
    real_mode.mark()
    assert real_mode.load(0x600, 2) == 2


def test_init_resets_the_registers_of_an_application_processor(real_mode: RealModeMachine) -> None:
    application_processor(real_mode)
    real_mode.place(
        "incw 0x600; cmpw $2, 0x600; je 2f; movl $1, %ebx; movl %ebx, %cr2; mark; 1: jmp 1b; 2: done",
        16,
        TRAMPOLINE,
    )
    send(real_mode, sipi=SIPI)
    real_mode.mark()
    send(real_mode, init=True)
    send(real_mode, sipi=SIPI)
    state = real_mode.finish()
    assert (state.rbx, state.cr2, state.cr0) == (0, 0, 0x60000010)


def test_init_keeps_x87_sse_and_msrs(real_mode: RealModeMachine) -> None:
    application_processor(real_mode)
    real_mode.place(
        """
        incw 0x600
        cmpw $2, 0x600
        je 2f
        movl %cr4, %eax
        orl $0x600, %eax
        movl %eax, %cr4
        fninit
        fld1
        movl $0x1234, %eax
        movd %eax, %xmm3
        movl $0xc0000082, %ecx
        movl $0x5678, %eax
        xorl %edx, %edx
        wrmsr
        mark
    1:  jmp 1b
    2:  done
    """,
        16,
        TRAMPOLINE,
    )
    send(real_mode, sipi=SIPI)
    real_mode.mark()
    send(real_mode, init=True)
    send(real_mode, sipi=SIPI)
    state = real_mode.finish()
    assert state.lstar == 0x5678
    assert state.fxsave[160 + 48 : 160 + 50] == b"\x34\x12"
    assert state.fxsave[32:42] == bytes.fromhex("0000000000000080ff3f")


def test_init_keeps_the_apics_id_and_base_and_resets_the_rest(real_mode: RealModeMachine) -> None:
    application_processor(real_mode)
    real_mode.place("mark; 1: jmp 1b", 16, TRAMPOLINE)
    send(real_mode, sipi=SIPI)
    real_mode.mark()
    regs = real_mode.area.lapic.regs
    regs[SVR // 4], regs[LVT_TIMER // 4], regs[ID // 4] = 0x1FF, 0x40, 5 << 24
    send(real_mode, init=True)
    send(real_mode, sipi=SIPI)
    real_mode.mark()
    assert (regs[SVR // 4], regs[LVT_TIMER // 4], regs[ID // 4]) == (0xFF, MASKED, 5 << 24)
    assert real_mode.area.control.guest.apic_base == 0xFEE00800


def test_a_reset_leaves_the_registers_as_the_sdm_says(real_mode: RealModeMachine) -> None:
    real_mode.boot("movl $1, %ebx; done")
    real_mode.finish()
    real_mode.area.is_bsp = 0
    real_mode.engine.reset(load_state=False)
    state = real_mode.pause()
    signature = next(e.eax for e in real_mode.area.cpuid if e.function == 1)
    want = reset_state(signature, bsp=False)
    for name in ("cs", "ds", "es", "ss", "fs", "gs", "gdtr", "idtr", "ldtr", "tr"):
        assert getattr(state, name) == getattr(want, name), name
    for name in (
        "rbx",
        "rdx",
        "rsp",
        "rip",
        "rflags",
        "cr0",
        "cr2",
        "cr3",
        "cr4",
        "cr8",
        "efer",
        "xcr0",
        "pat",
    ):
        assert getattr(state, name) == getattr(want, name), name
    assert (state.mxcsr, state.apic_base, state.dr) == (want.mxcsr, want.apic_base, want.dr)


@pytest.mark.parametrize(("bsp", "lint0", "base"), [(1, 0x700, 0xFEE00900), (0, MASKED, 0xFEE00800)])
def test_a_reset_leaves_the_8259_on_the_boot_processors_lint0(
    real_mode: RealModeMachine, bsp: int, lint0: int, base: int
) -> None:
    real_mode.area.is_bsp = bsp
    real_mode.engine.reset(load_state=False)
    assert real_mode.area.lapic.regs[LVT_LINT0 // 4] == lint0
    assert real_mode.area.control.guest.apic_base == base


@pytest.mark.parametrize(
    ("bsp", "svr", "lint0", "lint1"), [(1, 0x1FF, 0x8700, 0x8400), (0, 0xFF, MASKED, MASKED)]
)
def test_firmware_has_enabled_the_boot_processors_apic(
    real_mode: RealModeMachine, bsp: int, svr: int, lint0: int, lint1: int
) -> None:
    real_mode.area.is_bsp = bsp
    real_mode.engine.reset(load_state=False)
    real_mode.engine.leave_firmware()
    regs = real_mode.area.lapic.regs
    assert (regs[SVR // 4], regs[LVT_LINT0 // 4], regs[LVT_LINT1 // 4]) == (svr, lint0, lint1)


def test_a_secondary_processor_has_the_mtrrs_that_firmware_has_set_on_all(real_mode: RealModeMachine) -> None:
    guest = real_mode.area.control.guest
    real_mode.area.is_bsp = 0
    real_mode.engine.reset(load_state=False)
    guest.mtrr_fixed[10], guest.mtrr_variable[1] = 0x0505050505050505, 0xFF80000800
    real_mode.engine.leave_firmware()
    guest.mtrr_fixed[10] = guest.mtrr_variable[1] = 0
    real_mode.engine.save_state()
    assert (guest.mtrr_fixed[10], guest.mtrr_variable[1]) == (0x0505050505050505, 0xFF80000800)


def test_a_reset_that_comes_late_keeps_what_others_have_sent(real_mode: RealModeMachine) -> None:
    real_mode.area.inbox.startup, real_mode.area.inbox.any = SIPI, 1
    application_processor(real_mode)
    assert real_mode.finish().rbx == 0x1234


def test_a_reset_forgets_what_the_apic_had_accepted(real_mode: RealModeMachine) -> None:
    real_mode.boot("mark; jmp 1f; 1: done")
    real_mode.area.lapic.regs[SVR // 4] = 0x1FF
    real_mode.mark()
    real_mode.interrupt(0x40)
    real_mode.finish()
    assert real_mode.area.lapic.regs[0x220 // 4] == 1
    real_mode.boot("sti; nop; jmp 1f; 1: done")
    real_mode.area.lapic.regs[SVR // 4] = 0x1FF
    real_mode.finish()
    assert real_mode.area.lapic.regs[0x220 // 4] == 0


def test_a_segment_state_given_at_the_start_is_used(real_mode: RealModeMachine) -> None:
    real_mode.boot("movb %fs:4, %al; done", fs=SegmentState(base=0x20000, selector=0x2000))
    real_mode.store(0x20004, 0x77, 1)
    state = real_mode.finish()
    assert state.rax == 0x77
    assert state.fs._replace(access_rights=0x93) == SegmentState(base=0x20000, selector=0x2000)


def test_init_puts_the_boot_processor_at_the_reset_vector(real_mode: RealModeMachine) -> None:
    real_mode.boot("movl $1, %ebx; mark; 1: jmp 1b")
    real_mode.mark()
    send(real_mode, init=True)
    state = real_mode.pause()
    assert (state.cs.base, state.rip, state.rbx) == (0xFFFF0000, 0xFFF0, 0)
    assert real_mode.area.mp_state == VcpuMode.IN_GUEST


def test_init_makes_the_boot_processor_fetch_from_the_reset_vector(real_mode: RealModeMachine) -> None:
    real_mode.boot("mark; 1: jmp 1b")
    real_mode.mark()
    send(real_mode, init=True)
    last = real_mode.run_until(ExitReason.MMIO)
    assert (last.direction, last.address) == (IoDirection.IN, RESET_VECTOR)


def test_the_boot_processor_runs_what_answers_at_the_reset_vector(real_mode: RealModeMachine) -> None:
    code = real_mode.place("movb $0x42, %al; done", 16, TRAMPOLINE).code.ljust(16, b"\x90")
    real_mode.engine.reset(load_state=False)
    last = real_mode.run()
    while last.reason is ExitReason.MMIO:
        offset = last.address - RESET_VECTOR
        last = real_mode.run(int.from_bytes(code[offset : offset + last.size], "little"))
    assert (last.reason, last.address, last.data) == (ExitReason.IO, DONE_PORT, 0x42)


@pytest.mark.parametrize(
    ("program", "reason"),
    [("outb %al, $0x64; done", ExitReason.IO), ("movl (%rsi), %eax; done", ExitReason.MMIO)],
    ids=["port", "register"],
)
def test_a_reset_is_possible_in_the_middle_of_an_exit_as_often_as_one_likes(
    long_mode: LongModeMachine, program: str, reason: ExitReason
) -> None:
    for _ in range(MANY):
        long_mode.boot(program, rsi=MMIO_BASE)
        long_mode.run_until(reason)
    long_mode.boot("done")
    long_mode.finish()


def test_a_reset_is_possible_while_halted_as_often_as_one_likes(long_mode: LongModeMachine) -> None:
    for _ in range(MANY):
        long_mode.boot("mark; hlt")
        long_mode.mark()
        long_mode.pause()
    long_mode.boot("done")
    long_mode.finish()


def test_a_reset_inside_an_instruction_that_runs_alone_lets_the_others_go(long_mode: LongModeMachine) -> None:
    long_mode.boot("lock incl (%rsi); done", rsi=MMIO_BASE)
    long_mode.run_until(ExitReason.MMIO)
    assert (long_mode.vm.exclusive, long_mode.vm.coherence_lock) != (0, 0)
    long_mode.engine.reset(load_state=False)
    assert (long_mode.vm.exclusive, long_mode.vm.coherence_lock) == (0, 0)
    long_mode.boot("lock incl (%rsi); done", rsi=DATA + 62)
    long_mode.finish()
    assert (long_mode.vm.exclusive, long_mode.vm.coherence_lock) == (0, 0)
    assert long_mode.load(DATA + 62, 4) == 1


def test_after_a_reset_the_code_runs_that_was_loaded_meanwhile(long_mode: LongModeMachine) -> None:
    for value in (1, 2):
        # Called often enough that all caches of jumps know it.
        source = "movl $3, %ebp; 1: call *%rsi; addl %eax, %ebx; decl %ebp; jnz 1b; done"
        long_mode.boot(source, rsi=DATA)
        long_mode.write(DATA, b"\xb8" + value.to_bytes(4, "little") + b"\xc3")
        assert long_mode.finish().rbx == 3 * value


def test_a_reset_forgets_a_data_breakpoint_that_was_met(long_mode: LongModeMachine) -> None:
    # The load meets it, and the reset comes while the same instruction stores to a register.
    long_mode.boot(
        f"movl ${DATA}, %esi; movq %rsi, %dr0; movl $0x30003, %eax; movq %rax, %dr7; movsb",
        rdi=MMIO_BASE,
    )
    long_mode.run_until(ExitReason.MMIO)
    long_mode.boot("movl $7, %ebx; done")
    assert long_mode.finish().rbx == 7
