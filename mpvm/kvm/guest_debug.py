"""KVM_SET_GUEST_DEBUG by the control block: the monitor trap flag steps, the exception bitmap breaks.

While #DB is the debugger's, so are the debug registers: the guest's are kept in the control block, what it
moves to and from them is served here (SDM vol. 3, 17.2; table 27-4 for the qualification).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from mpvm.abi.control_bits import Answer, EventType, InterruptionInformation, ProcessorBased
from mpvm.abi.control_block import ControlBlock
from mpvm.abi.exits import ExitReason
from mpvm.abi.kvm.constants import GuestDebug

DB, BP, UD, GP = 1, 3, 6, 13
#: Bits of DR6 that are always set, and of which BS and BD tell of a step and of a moved debug register.
DR6_FIXED: Final = 0xFFFF0FF0
_DR6_BS: Final = 1 << 14
_DR6_HITS: Final = 0xF
_DR6_BD: Final = 1 << 13
_DR6_WRITABLE: Final = 0xE00F
_DR7_FIXED: Final = 1 << 10
_DR7_WRITABLE: Final = 0xFFFF2FFF
_DR7_GD: Final = 1 << 13
_BREAKPOINTS: Final = 4
_CR4_DE: Final = 1 << 3
_EFER_LMA: Final = 1 << 10
_CODE_64: Final = 1 << 13
_INJECT: Final = GuestDebug.INJECT_DB | GuestDebug.INJECT_BP
_OWNS_DB: Final = GuestDebug.SINGLESTEP | GuestDebug.USE_HW_BP
_STATE_DONE: Final = int(Answer.STATE | Answer.DONE)


def inject(control: ControlBlock, vector: int, error_code: int | None = None) -> None:
    """Have the next entry deliver an exception."""
    kind = EventType.SOFTWARE_EXCEPTION if vector == BP else EventType.HARDWARE_EXCEPTION
    information = InterruptionInformation.VALID | kind << 8 | vector
    if error_code is not None:
        information |= InterruptionInformation.DELIVER_ERROR_CODE
        control.entry.exception_error_code = error_code
    control.entry.instruction_length = 1 if vector == BP else 0
    control.entry.interruption_information = information


class Debugger:
    """What KVM_SET_GUEST_DEBUG has asked for, of one vCPU."""

    def __init__(self) -> None:
        self._flags = GuestDebug(0)
        self._dr = [0] * 8

    def set(self, flags: int, debugreg: Sequence[int], control: ControlBlock) -> None:
        """Take over flags, and DR0 to DR7 for USE_HW_BP; an event to inject goes to `control`."""
        wanted = GuestDebug(flags)
        if wanted & _INJECT:
            inject(control, DB if wanted & GuestDebug.INJECT_DB else BP)
        self._flags = wanted & ~_INJECT if wanted & GuestDebug.ENABLE else GuestDebug(0)
        self._dr[:] = [*debugreg, *[0] * 8][:8]

    @property
    def owns_db(self) -> bool:
        """Whether #DB is the debugger's."""
        return bool(self._flags & _OWNS_DB)

    def write_controls(self, control: ControlBlock) -> None:
        """Set what it needs in the execution controls."""
        execution = control.execution
        if self._flags & GuestDebug.SINGLESTEP:
            execution.processor_based |= ProcessorBased.MONITOR_TRAP_FLAG
        if self.owns_db:
            execution.processor_based |= ProcessorBased.MOV_DR_EXITING
            execution.exception_bitmap |= 1 << DB
        if self._flags & GuestDebug.USE_SW_BP:
            execution.exception_bitmap |= 1 << BP

    @contextmanager
    def entered(self, guest: Any) -> Iterator[None]:
        """While the guest runs the debug registers are the debugger's."""
        if not self.owns_db:
            yield
            return
        kept = list(guest.dr)
        guest.dr[6] = DR6_FIXED
        if self._flags & GuestDebug.USE_HW_BP:
            guest.dr[:_BREAKPOINTS] = self._dr[:_BREAKPOINTS]
            guest.dr[7] = self._dr[7] & _DR7_WRITABLE & ~_DR7_GD | _DR7_FIXED
        try:
            yield
        finally:
            guest.dr[:] = kept

    def serve(self, reason: ExitReason, control: ControlBlock, told: Any) -> bool | None:
        """An exit by a control: True, user space gets KVM_EXIT_DEBUG with `told` filled in; False, it is
        served; None, it is not the debugger's."""
        about, guest = control.exit, control.guest
        if reason is ExitReason.MONITOR_TRAP_FLAG and self._flags & GuestDebug.SINGLESTEP:
            # A breakpoint that the same instruction has met would come next (SDM vol. 3, 25.5.2).
            self._tell(told, guest, DB, _DR6_BS | guest.pending_debug_exceptions & _DR6_HITS)
            guest.pending_debug_exceptions = 0
        elif reason is ExitReason.EXCEPTION and about.interruption_information & 0xFF == DB and self.owns_db:
            self._tell(told, guest, DB, about.qualification)
        elif (
            reason is ExitReason.EXCEPTION
            and about.interruption_information & 0xFF == BP
            and self._flags & GuestDebug.USE_SW_BP
        ):
            self._tell(told, guest, BP, None)
        elif reason is ExitReason.DR_ACCESS and self.owns_db:
            about.answer = _STATE_DONE
            if not guest.dr[7] & _DR7_GD:
                _move(control)
                return False
            self._tell(told, guest, DB, _DR6_BD)
        else:
            return None
        about.answer = _STATE_DONE
        return True

    def _tell(self, told: Any, guest: Any, exception: int, dr6: int | None) -> None:
        """KVM leaves DR6 and DR7 alone at a #BP."""
        told.exception = exception
        told.pc = guest.cs.base + guest.rip
        if dr6 is not None:
            told.dr6 = dr6 | DR6_FIXED
            told.dr7 = self._dr[7] if self._flags & GuestDebug.USE_HW_BP else guest.dr[7]


def _move(control: ControlBlock) -> None:
    """MOV to or from a debug register of the guest's own."""
    about, guest = control.exit, control.guest
    number, operand = about.qualification & 7, about.qualification >> 8 & 15
    if number in (4, 5):
        if guest.cr4 & _CR4_DE:
            inject(control, UD)
            return
        number += 2
    wide = guest.efer & _EFER_LMA and guest.cs.access_rights & _CODE_64
    mask = (1 << 64) - 1 if wide else 0xFFFFFFFF
    if about.qualification >> 4 & 1:
        guest.gpr[operand] = guest.dr[number] & mask
    else:
        value = guest.gpr[operand] & mask
        if number >= 6 and value >> 32:
            inject(control, GP, 0)
            return
        if number == 6:
            value = value & _DR6_WRITABLE | DR6_FIXED
        elif number == 7:
            value = value & _DR7_WRITABLE | _DR7_FIXED
        guest.dr[number] = value
    step_over(control)


def step_over(control: ControlBlock) -> None:
    """Go on behind the instruction that has exited, as one that has run (SDM vol. 3, 24.4.2, 26.3.1.5)."""
    guest = control.guest
    guest.rip += control.exit.instruction_length
    guest.interruptibility &= ~3
    control.exit.answer = _STATE_DONE
