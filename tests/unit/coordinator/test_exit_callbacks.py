"""Callbacks at exits: which controls they set, what they may do, and how they fail."""

from collections.abc import Callable

import pytest

from mpvm.abi.control_bits import Answer, ExitCause, ProcessorBased, Secondary
from mpvm.abi.control_block import ControlBlock
from mpvm.abi.errors import CallbackError
from mpvm.abi.exits import ExitReason
from mpvm.coordinator.dispatch import Exit
from mpvm.coordinator.exit_callbacks import ExitCallbacks, VcpuExit
from mpvm.cpu.state import CpuState, reset_state

MACHINES = 0x5A


class Vm:
    """Two control blocks, and a machine that answers every access with MACHINES."""

    def __init__(self) -> None:
        self.blocks = [ControlBlock(), ControlBlock()]
        self.precise = False
        self.asked = 0
        self.callbacks = ExitCallbacks(lambda: self.callbacks.write(), lambda: self.blocks, self._precise)

    def _precise(self, on: bool) -> None:
        self.precise = on

    def machine(self) -> int:
        self.asked += 1
        return MACHINES

    def exit(self, reason: ExitReason, *, control: bool = True, **about: int) -> int:
        """vCPU 1 exits; the data of the reply."""
        block = self.blocks[1]
        reset_state().store(block.guest)
        block.exit.cause = ExitCause.CONTROL if control else ExitCause.MACHINE
        for name, value in about.items():
            setattr(block.exit, name, value)
        return self.callbacks.serve(Exit(1, reason, 0, 0, 1, 0), block, self.machine)

    @property
    def after(self) -> CpuState:
        return CpuState.fetch(self.blocks[1].guest)

    @property
    def answer(self) -> int:
        return int(self.blocks[1].exit.answer)


@pytest.fixture
def vm() -> Vm:
    return Vm()


def test_attaching_sets_the_control_on_every_vcpu_and_detaching_clears_it(vm: Vm) -> None:
    attached = vm.callbacks.attach(ExitReason.RDTSC, print)
    assert [block.execution.processor_based for block in vm.blocks] == [ProcessorBased.RDTSC_EXITING] * 2
    vm.callbacks.detach(attached)
    assert [block.execution.processor_based for block in vm.blocks] == [0, 0]


def test_a_vcpu_that_comes_later_gets_the_controls(vm: Vm) -> None:
    vm.callbacks.attach(ExitReason.RDTSC, print)
    later = ControlBlock().execution
    vm.callbacks.write_controls(later)
    assert later.processor_based == ProcessorBased.RDTSC_EXITING


def test_a_control_stays_while_anyone_needs_it(vm: Vm) -> None:
    first = vm.callbacks.attach(ExitReason.RDTSC, print)
    vm.callbacks.attach(ExitReason.RDTSCP, print)
    vm.callbacks.detach(first)
    vm.callbacks.detach(first)
    assert vm.blocks[0].execution.processor_based == ProcessorBased.RDTSC_EXITING


def test_a_secondary_control_leaves_rdtscp_alone(vm: Vm) -> None:
    vm.callbacks.attach(ExitReason.WBINVD, print)
    assert vm.blocks[0].execution.secondary & Secondary.RDTSCP


def test_ports_msrs_and_vectors_can_be_chosen(vm: Vm) -> None:
    vm.callbacks.attach(ExitReason.IO, print, only={0x3F8})
    vm.callbacks.attach(ExitReason.X86_WRMSR, print, only={0xC0000081})
    vm.callbacks.attach(ExitReason.EXCEPTION, print, only={14})
    execution = vm.blocks[0].execution
    assert [i for i, byte in enumerate(execution.io_bitmap) if byte] == [0x7F]
    assert [i for i, byte in enumerate(execution.msr_bitmap) if byte] == [3072 + 0x10]
    assert execution.exception_bitmap == 1 << 14


def test_without_a_choice_all_ports_exit(vm: Vm) -> None:
    vm.callbacks.attach(ExitReason.IO, print)
    assert set(vm.blocks[0].execution.io_bitmap) == {0xFF}


def test_memory_exits_leave_the_vcpu_between_instructions(vm: Vm) -> None:
    attached = vm.callbacks.attach(ExitReason.MMIO, print)
    assert vm.precise
    vm.callbacks.detach(attached)
    assert not vm.precise


def test_a_callback_that_only_looks_changes_nothing(vm: Vm) -> None:
    seen: list[tuple[int, int]] = []
    vm.callbacks.attach(ExitReason.CPUID, lambda exit_: seen.append((exit_.vcpu, exit_.registers.rip)))
    assert vm.exit(ExitReason.CPUID, instruction_length=2) == 0
    assert (seen, vm.answer, vm.asked) == ([(1, 0xFFF0)], 0, 0)


def test_an_exit_that_the_machine_serves_goes_to_it(vm: Vm) -> None:
    vm.callbacks.attach(ExitReason.IO, lambda exit_: None)
    assert vm.exit(ExitReason.IO, port=0x60, size=1) == MACHINES
    assert vm.exit(ExitReason.IRQ_WINDOW_OPEN, control=False) == MACHINES


def test_registers_can_be_written(vm: Vm) -> None:
    def change(exit_: VcpuExit) -> None:
        exit_.registers.rbx = 7

    vm.callbacks.attach(ExitReason.CPUID, change)
    vm.exit(ExitReason.CPUID, instruction_length=2)
    assert (vm.after.rbx, vm.answer) == (7, Answer.STATE)


def test_an_instruction_can_be_stepped_over(vm: Vm) -> None:
    vm.callbacks.attach(ExitReason.CPUID, VcpuExit.skip)
    vm.exit(ExitReason.CPUID, instruction_length=2)
    assert (vm.after.rip, vm.answer) == (0xFFF2, Answer.STATE | Answer.DONE)


def test_data_goes_to_the_guest_and_the_device_is_not_asked(vm: Vm) -> None:
    vm.callbacks.attach(ExitReason.IO, lambda exit_: setattr(exit_, "data", 0x99), only={0x60})
    assert vm.exit(ExitReason.IO, port=0x60, size=1) == 0x99
    assert vm.asked == 0
    assert vm.exit(ExitReason.IO, port=0x61, size=1) == MACHINES


def test_an_msr_can_be_answered(vm: Vm) -> None:
    vm.callbacks.attach(ExitReason.X86_RDMSR, lambda exit_: setattr(exit_, "data", 0x1_0000_0002))
    vm.exit(ExitReason.X86_RDMSR, msr_index=0x10, instruction_length=2)
    assert (vm.after.rax, vm.after.rdx, vm.after.rip) == (2, 1, 0xFFF2)


def test_a_callback_can_remove_itself(vm: Vm) -> None:
    calls: list[int] = []

    def once(exit_: VcpuExit) -> None:
        calls.append(exit_.vcpu)
        exit_.remove()

    vm.callbacks.attach(ExitReason.CPUID, once)
    vm.exit(ExitReason.CPUID)
    vm.exit(ExitReason.CPUID)
    assert calls == [1]
    assert vm.blocks[0].execution.unconditional == 0


def test_an_error_names_the_vcpu_the_callback_and_the_exit(vm: Vm) -> None:
    def broken(_exit: VcpuExit) -> None:
        raise KeyError("x")

    vm.callbacks.attach(ExitReason.CPUID, broken)
    with pytest.raises(CallbackError, match=r"vCPU 1: the callback .*broken for CPUID failed: KeyError: 'x'"):
        vm.exit(ExitReason.CPUID)


def bad_state(exit_: VcpuExit) -> None:
    exit_.registers.rflags = 0


def data_for_cpuid(exit_: VcpuExit) -> None:
    exit_.data = 1


def no_register(exit_: VcpuExit) -> None:
    exit_.registers.rax2 = 1


@pytest.mark.parametrize(
    ("callback", "words"),
    [
        (bad_state, "RFLAGS_RESERVED"),
        (data_for_cpuid, "has no data to give"),
        (no_register, "is no register"),
    ],
)
def test_what_a_callback_must_not_do_is_an_error(
    vm: Vm, callback: Callable[[VcpuExit], None], words: str
) -> None:
    vm.callbacks.attach(ExitReason.CPUID, callback)
    with pytest.raises(CallbackError, match=words):
        vm.exit(ExitReason.CPUID)


@pytest.mark.parametrize(
    ("reason", "only", "words"),
    [
        (ExitReason.HYPERCALL, None, "no control makes a vCPU exit for HYPERCALL"),
        (ExitReason.CPUID, {1}, "leave out `only`"),
        (ExitReason.IO, {0x10000}, "0x10000 is no port"),
        (ExitReason.EXCEPTION, {32}, "0x20 is no vector"),
    ],
)
def test_what_can_not_exit_is_refused(vm: Vm, reason: ExitReason, only: set[int] | None, words: str) -> None:
    with pytest.raises(CallbackError, match=words):
        vm.callbacks.attach(reason, print, only)
    assert vm.blocks[0].execution.processor_based == 0
