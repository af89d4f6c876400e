"""A vCPU on /dev/kvm in the test's process, as the engine's tests have an engine.

Only what a KVM that emulates instructions does exactly, too (docs/kvm.md).
"""

from typing import cast

from mpvm.abi.control_bits import ActivityState, ProcessorBased
from mpvm.abi.exits import ExitReason, IoDirection
from mpvm.abi.layout import Startup, VcpuMode
from tests.unit.engine.long_mode import LongModeMachine
from tests.unit.engine.machine import A20_OPEN
from tests.unit.engine.real_mode import RealModeMachine
from workers.kvm.vcpu import Vcpu

_SVR, _ISR_40, _IRR_40 = 0xF0, 0x120, 0x220


def _control(machine: LongModeMachine, bits: int) -> None:
    machine.area.control.execution.processor_based = bits
    cast(Vcpu, machine.engine).apply_controls()


def test_a_program_computes_and_its_registers_are_those_at_the_pause(machine: LongModeMachine) -> None:
    machine.boot("movl $6, %eax; movl $7, %ecx; mull %ecx; movq %rax, %r15; done")
    assert machine.finish().r15 == 42


def test_a_saved_state_goes_on_in_another_vcpu(machine: LongModeMachine) -> None:
    machine.boot("movl $5, %ebx; mark; jmp 1f; 1: shll $3, %ebx; done")
    machine.mark()
    machine.pause()
    machine.move()
    assert machine.finish().rbx == 40


def test_a_string_instruction_is_an_exit_an_element(machine: LongModeMachine) -> None:
    machine.boot("movl $0x30000, %edi; movl $3, %ecx; movw $0x60, %dx; cld; rep insb; done")
    for reply in (0, *b"ab"):
        last = machine.run(reply)
        assert (last.reason, last.direction, last.size) == (ExitReason.IO, IoDirection.IN, 1)
    machine.finish(ord("c"))
    assert machine.read(0x30000, 3) == b"abc"


def test_a_halted_vcpu_wakes_by_an_interrupt(machine: LongModeMachine) -> None:
    machine.boot("incl %ebx; done", activity_state=ActivityState.HLT, rflags=0x202)
    assert machine.pause().activity_state == ActivityState.HLT
    machine.area.lapic.regs[_SVR // 4] = 0x1FF
    machine.interrupt(0x40)
    event = machine.event()
    assert (event.vector, event.rip) == (0x40, machine.program.origin)


def test_an_init_comes_before_a_pause(machine: LongModeMachine) -> None:
    machine.boot("movl $1, %ebx; mark; 1: jmp 1b")
    machine.mark()
    machine.area.inbox.startup = Startup.INIT
    machine.area.inbox.any = 1
    state = machine.pause()
    assert (state.cs.base, state.rip, state.rbx) == (0xFFFF0000, 0xFFF0, 0)
    assert machine.area.mp_state == VcpuMode.IN_GUEST


def test_an_interrupt_that_kvm_has_not_delivered_waits_in_the_local_apic_again(
    machine: LongModeMachine,
) -> None:
    machine.boot("mark; 1: jmp 1b", rflags=0x202)
    machine.mark()
    lapic, bit = machine.area.lapic.regs, 1
    lapic[_SVR // 4] = 0x1FF
    lapic[_ISR_40 // 4] = bit
    # As the worker does on its way into the guest, where a kick stops it.
    cast(Vcpu, machine.engine)._events.interrupt(0x40)
    machine.pause()
    assert (lapic[_ISR_40 // 4], lapic[_IRR_40 // 4]) == (0, bit)
    assert machine.area.control.entry.interruption_information == 0
    assert machine.event().vector == 0x40
    assert (lapic[_ISR_40 // 4], lapic[_IRR_40 // 4]) == (bit, 0)


def test_the_a20_gate_shows_the_even_mebibyte_in_the_place_of_the_odd_one(real_mode: RealModeMachine) -> None:
    """FFFF:0090 is 100080H."""
    real_mode.boot("movw $0xffff, %ax; movw %ax, %es; movb %es:0x90, %bl; mark; movb %es:0x90, %cl; done")
    real_mode.store(0x80, 0xAA, 1)
    real_mode.store(0x100080, 0xBB, 1)
    real_mode.mark()
    real_mode.vm.a20_mask = A20_OPEN & ~(1 << 20)
    state = real_mode.finish()
    assert (state.rbx, state.rcx) == (0xBB, 0xAA)


def test_hlt_exits_when_its_control_is_set(machine: LongModeMachine) -> None:
    machine.boot("hlt; after: movl $3, %ebx; done")
    _control(machine, ProcessorBased.HLT_EXITING)
    assert machine.run().reason is ExitReason.HLT
    assert machine.area.control.guest.rip == machine.label("after")
    machine.answer(done=True)
    assert machine.finish().rbx == 3


def test_posted_ports_exit_when_all_ports_do(machine: LongModeMachine) -> None:
    machine.vm.port_posted[0x80] = 1
    machine.boot("movb $9, %al; outb %al, $0x80; mark; outb %al, $0x80; done")
    machine.mark()
    assert machine.vm.posted_tail == 1
    _control(machine, ProcessorBased.UNCONDITIONAL_IO_EXITING)
    last = machine.run()
    assert (last.reason, last.direction, last.address, last.data) == (ExitReason.IO, IoDirection.OUT, 0x80, 9)


def test_the_io_bitmap_chooses_the_ports_that_exit(machine: LongModeMachine) -> None:
    machine.vm.port_posted[0x80] = machine.vm.port_posted[0x81] = 1
    machine.area.control.execution.io_bitmap[0x81 // 8] = 1 << (0x81 % 8)
    machine.boot("outb %al, $0x80; outb %al, $0x81; done")
    _control(machine, ProcessorBased.USE_IO_BITMAPS)
    assert machine.run().address == 0x81
    assert machine.vm.posted_tail == 1


def test_the_monitor_trap_flag_exits_after_each_instruction(machine: LongModeMachine) -> None:
    machine.boot("nop; one: nop; two: movl $3, %ebx; done")
    _control(machine, ProcessorBased.MONITOR_TRAP_FLAG)
    for label in ("one", "two"):
        assert machine.run().reason is ExitReason.MONITOR_TRAP_FLAG
        assert machine.area.control.guest.rip == machine.label(label)
    _control(machine, 0)
    assert machine.finish().rbx == 3


def test_a_control_that_kvm_cannot_enforce_fails_the_entry_and_says_why(machine: LongModeMachine) -> None:
    machine.boot("movl $3, %ebx; done")
    _control(machine, ProcessorBased.RDTSC_EXITING)
    assert machine.run().reason is ExitReason.FAIL_ENTRY
    assert machine.engine.error() == "accelerator kvm has no RDTSC_EXITING: KVM serves it in the kernel"
    _control(machine, 0)
    assert machine.finish().rbx == 3
