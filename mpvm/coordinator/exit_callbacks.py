"""Python functions that are called at exits: `VirtualMachine.on_exit`, for introspection.

An attached function makes its event exit on every vCPU (docs/control-block.md) and is called in the
coordinator, before anything else is done about the exit. What it leaves alone goes on as without it.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from mpvm.abi import entry_checks
from mpvm.abi.control_bits import Answer, ExitCause, PinBased, ProcessorBased, Secondary, Unconditional
from mpvm.abi.control_block import ControlBlock, ExecutionControls, GuestState
from mpvm.abi.errors import CallbackError
from mpvm.abi.exits import ExitReason, IoDirection
from mpvm.coordinator.dispatch import HANDLERS, Exit
from mpvm.cpu.state import GPR_NAMES

_GPR: Final = {name: index for index, name in enumerate(GPR_NAMES)}
_MSR_RANGE_BYTES: Final = 1024
_EXCEPTIONS: Final = 32


class _Controls(NamedTuple):
    """The bits that make an event exit."""

    pin_based: int = 0
    processor_based: int = 0
    secondary: int = 0
    unconditional: int = 0


_P, _S, _X = ProcessorBased, Secondary, Unconditional
#: Exits that come without a control have none.
_CONTROLS: Final[dict[ExitReason, _Controls]] = {
    ExitReason.EXCEPTION: _Controls(),
    ExitReason.IO: _Controls(processor_based=_P.USE_IO_BITMAPS),
    ExitReason.HLT: _Controls(processor_based=_P.HLT_EXITING),
    ExitReason.MMIO: _Controls(),
    ExitReason.IRQ_WINDOW_OPEN: _Controls(processor_based=_P.INTERRUPT_WINDOW_EXITING),
    ExitReason.SHUTDOWN: _Controls(),
    ExitReason.NMI: _Controls(pin_based=PinBased.NMI_EXITING),
    ExitReason.X86_RDMSR: _Controls(processor_based=_P.USE_MSR_BITMAPS),
    ExitReason.X86_WRMSR: _Controls(processor_based=_P.USE_MSR_BITMAPS),
    ExitReason.EXTERNAL_INTERRUPT: _Controls(pin_based=PinBased.EXTERNAL_INTERRUPT_EXITING),
    ExitReason.NMI_WINDOW: _Controls(processor_based=_P.NMI_WINDOW_EXITING),
    ExitReason.CPUID: _Controls(unconditional=_X.CPUID_EXITING),
    ExitReason.INVD: _Controls(unconditional=_X.INVD_EXITING),
    ExitReason.INVLPG: _Controls(processor_based=_P.INVLPG_EXITING),
    ExitReason.RDPMC: _Controls(processor_based=_P.RDPMC_EXITING),
    ExitReason.RDTSC: _Controls(processor_based=_P.RDTSC_EXITING),
    ExitReason.RDTSCP: _Controls(processor_based=_P.RDTSC_EXITING),
    ExitReason.CR_ACCESS: _Controls(
        processor_based=_P.CR3_LOAD_EXITING
        | _P.CR3_STORE_EXITING
        | _P.CR8_LOAD_EXITING
        | _P.CR8_STORE_EXITING
    ),
    ExitReason.DR_ACCESS: _Controls(processor_based=_P.MOV_DR_EXITING),
    ExitReason.MWAIT: _Controls(processor_based=_P.MWAIT_EXITING),
    ExitReason.MONITOR_TRAP_FLAG: _Controls(processor_based=_P.MONITOR_TRAP_FLAG),
    ExitReason.MONITOR: _Controls(processor_based=_P.MONITOR_EXITING),
    ExitReason.PAUSE: _Controls(processor_based=_P.PAUSE_EXITING),
    ExitReason.GDTR_IDTR: _Controls(secondary=_S.DESCRIPTOR_TABLE_EXITING),
    ExitReason.LDTR_TR: _Controls(secondary=_S.DESCRIPTOR_TABLE_EXITING),
    ExitReason.WBINVD: _Controls(secondary=_S.WBINVD_EXITING),
    ExitReason.XSETBV: _Controls(unconditional=_X.XSETBV_EXITING),
    ExitReason.RDRAND: _Controls(secondary=_S.RDRAND_EXITING),
}
#: What `only` chooses among, for the reasons that have it.
_SELECTED: Final = {
    ExitReason.IO: ("port", 0x10000),
    ExitReason.X86_RDMSR: ("MSR", 1 << 32),
    ExitReason.X86_WRMSR: ("MSR", 1 << 32),
    ExitReason.EXCEPTION: ("vector", _EXCEPTIONS),
}


class Registers:
    """The guest's registers at an exit, to be read and written by the names of `mpvm.cpu.state.CpuState`."""

    __slots__ = ("_guest", "written")
    _guest: GuestState
    written: bool

    def __init__(self, guest: GuestState) -> None:
        object.__setattr__(self, "_guest", guest)
        object.__setattr__(self, "written", False)

    def __getattr__(self, name: str) -> Any:
        index = _GPR.get(name)
        return getattr(self._guest, name) if index is None else self._guest.gpr[index]

    def __setattr__(self, name: str, value: Any) -> None:
        index = _GPR.get(name)
        if index is not None:
            self._guest.gpr[index] = value
        elif any(field[0] == name for field in GuestState._fields_):
            setattr(self._guest, name, value)
        else:
            raise AttributeError(f"{name} is no register")
        object.__setattr__(self, "written", True)


class VcpuExit:
    """What a callback is told of an exit, and how it says what becomes of it.

    `about` is the control block's exit information. `direction`, `size` and `address` are those of a port
    or memory access, or the number of an MSR.
    """

    def __init__(
        self, vcpu: int, reason: ExitReason, control: ControlBlock, remove: Callable[[], None]
    ) -> None:
        self.vcpu = vcpu
        self.reason = reason
        self.about = control.exit
        self.registers = Registers(control.guest)
        self.skipped = False
        self.answered: int | None = None
        self.remove = remove

    @property
    def direction(self) -> IoDirection:
        """Whether it reads or writes."""
        if self.reason in (ExitReason.X86_RDMSR, ExitReason.X86_WRMSR):
            return IoDirection.IN if self.reason == ExitReason.X86_RDMSR else IoDirection.OUT
        return IoDirection(self.about.direction)

    @property
    def address(self) -> int:
        """The port, the guest-physical address, or the MSR."""
        is_msr = self.reason in (ExitReason.X86_RDMSR, ExitReason.X86_WRMSR)
        return int(self.about.msr_index if is_msr else self.about.guest_physical_address)

    @property
    def size(self) -> int:
        """Bytes of an access."""
        return int(self.about.size)

    @property
    def data(self) -> int:
        """What is written; or what a read is to give, once this was set: then nobody else is asked."""
        return int(self.about.data if self.answered is None else self.answered)

    @data.setter
    def data(self, value: int) -> None:
        if self.reason not in (ExitReason.IO, ExitReason.MMIO, ExitReason.X86_RDMSR):
            raise CallbackError(f"an exit {self.reason.name} has no data to give")
        self.answered = value

    def skip(self) -> None:
        """Step over the instruction: it does nothing but what the callback does to the registers."""
        if not self.about.instruction_length:
            raise CallbackError(f"an exit {self.reason.name} is not about an instruction that can be skipped")
        self.registers.rip += self.about.instruction_length
        self.skipped = True

    def finish(self) -> Answer:
        """What the accelerator is told."""
        if self.reason == ExitReason.X86_RDMSR and self.answered is not None and not self.skipped:
            self.registers.rax, self.registers.rdx = (
                self.answered & 0xFFFFFFFF,
                self.answered >> 32 & 0xFFFFFFFF,
            )
            self.skip()
        done = Answer.DONE if self.skipped else Answer(0)
        return done | Answer.STATE if self.registers.written else done


Callback: TypeAlias = "Callable[[VcpuExit], object]"


class Attachment(NamedTuple):
    """A callback and what it waits for; `only`: the ports, MSRs or vectors, None: all."""

    reason: ExitReason
    callback: Callback
    only: Collection[int] | None

    def wants(self, control: ControlBlock) -> bool:
        """Whether this exit is one of its own."""
        if self.only is None:
            return True
        about = control.exit
        match self.reason:
            case ExitReason.IO:
                return any(about.port + i in self.only for i in range(about.size))
            case ExitReason.EXCEPTION:
                return about.interruption_information & 0xFF in self.only
        return about.msr_index in self.only


class ExitCallbacks:
    """A VM's callbacks. `changed` has `write` called while no vCPU runs, and the controls taken over."""

    def __init__(
        self,
        changed: Callable[[], None],
        controls: Callable[[], Sequence[ControlBlock]],
        precise: Callable[[bool], None],
    ) -> None:
        self._changed = changed
        self._controls = controls
        self._precise = precise
        self._attached: list[Attachment] = []

    def attach(
        self, reason: ExitReason, callback: Callback, only: Collection[int] | None = None
    ) -> Attachment:
        """Have `callback` called at exits for `reason`; `CallbackError` when nothing can make it exit."""
        if reason not in _CONTROLS:
            known = ", ".join(sorted(reason.name for reason in _CONTROLS))
            raise CallbackError(f"no control makes a vCPU exit for {reason.name}; these can: {known}")
        if only is not None:
            if reason not in _SELECTED:
                raise CallbackError(f"exits for {reason.name} can't be chosen among: leave out `only`")
            what, limit = _SELECTED[reason]
            for number in only:
                if not 0 <= number < limit:
                    raise CallbackError(f"{number:#x} is no {what}")
        attachment = Attachment(reason, callback, only)
        self._attached.append(attachment)
        self._changed()
        return attachment

    def detach(self, attachment: Attachment) -> None:
        """Call it no more; a second time nothing happens."""
        if attachment in self._attached:
            self._attached.remove(attachment)
            self._changed()

    def serve(self, exit_: Exit, control: ControlBlock, otherwise: Callable[[], int]) -> int:
        """Call who waits for this exit; the data of its reply. `otherwise` serves it as the machine does."""
        by_control = control.exit.cause == ExitCause.CONTROL
        answered = self.call(exit_.vcpu, exit_.reason, control)
        if answered is not None:
            return answered
        if exit_.reason not in HANDLERS or (by_control and exit_.reason != ExitReason.IO):
            return 0  # the accelerator goes on as if the control were not set
        return otherwise()

    def call(self, vcpu: int, reason: int, control: ControlBlock) -> int | None:
        """Call who waits for this exit; the reply's data once one of them has dealt with it."""
        control.exit.answer = 0
        for attachment in [one for one in self._attached if one.reason == reason]:
            if attachment.wants(control):
                answered = self._call(attachment, vcpu, control)
                if answered is not None:
                    return answered
        return None

    def _call(self, attachment: Attachment, vcpu: int, control: ControlBlock) -> int | None:
        """The reply's data if the callback has dealt with the exit."""
        event = VcpuExit(vcpu, attachment.reason, control, lambda: self.detach(attachment))
        where = f"vCPU {vcpu}: the callback {_name(attachment.callback)} for {attachment.reason.name}"
        try:
            attachment.callback(event)
            answer = event.finish()
        except Exception as error:
            raise CallbackError(f"{where} failed: {type(error).__name__}: {error}") from error
        if answer & Answer.STATE:
            failed = entry_checks.failed_check(control)
            if failed:
                raise CallbackError(f"{where} leaves a bad state: {entry_checks.describe(failed)}")
        control.exit.answer |= answer
        if event.skipped:
            return 0
        return event.answered

    def write_controls(self, execution: ExecutionControls) -> None:
        """The controls that all attachments together need."""
        _write_controls(execution, self._attached)

    def write(self) -> None:
        """The controls that all attachments together need, into every control block."""
        for control in self._controls():
            self.write_controls(control.execution)
        self._precise(any(one.reason == ExitReason.MMIO for one in self._attached))


def _name(callback: Callback) -> str:
    return getattr(callback, "__qualname__", repr(callback))


def _write_controls(execution: ExecutionControls, attached: Sequence[Attachment]) -> None:
    needed = [_CONTROLS[one.reason] for one in attached]
    execution.pin_based = _or(one.pin_based for one in needed)
    execution.processor_based = _or(one.processor_based for one in needed)
    execution.unconditional = _or(one.unconditional for one in needed)
    execution.secondary = _or(one.secondary for one in needed)
    if execution.secondary:
        # With secondary controls these two are #UD unless they are enabled.
        execution.secondary |= Secondary.RDTSCP | Secondary.INVPCID
        execution.processor_based |= ProcessorBased.ACTIVATE_SECONDARY_CONTROLS
    execution.exception_bitmap = 0
    for bitmap in (execution.io_bitmap, execution.msr_bitmap):
        bitmap[:] = bytes(len(bitmap))
    for one in attached:
        _write_selection(execution, one)


def _or(words: Any) -> int:
    bits = 0
    for word in words:
        bits |= int(word)
    return bits


def _write_selection(execution: ExecutionControls, attachment: Attachment) -> None:
    only = attachment.only
    match attachment.reason:
        case ExitReason.IO:
            if only is None:
                execution.io_bitmap[:] = b"\xff" * len(execution.io_bitmap)
            for port in only or ():
                execution.io_bitmap[port // 8] |= 1 << port % 8
        case ExitReason.EXCEPTION:
            vectors = range(_EXCEPTIONS) if only is None else only
            execution.exception_bitmap |= _or(1 << vector for vector in vectors)
        case ExitReason.X86_RDMSR | ExitReason.X86_WRMSR:
            start = 0 if attachment.reason == ExitReason.X86_RDMSR else 2 * _MSR_RANGE_BYTES
            if only is None:
                execution.msr_bitmap[start : start + 2 * _MSR_RANGE_BYTES] = b"\xff" * (2 * _MSR_RANGE_BYTES)
            for msr in only or ():
                at, index = start + (_MSR_RANGE_BYTES if msr >= 0xC0000000 else 0), msr & 0x3FFFFFFF
                if index < _MSR_RANGE_BYTES * 8:
                    execution.msr_bitmap[at + index // 8] |= 1 << index % 8
