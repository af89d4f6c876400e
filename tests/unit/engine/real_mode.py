"""A vCPU in real mode: a program at 0:7c00, every interrupt vector on a handler that records and exits."""

from mpvm.cpu.state import SegmentState, reset_state
from tests.unit.engine.machine import Event, Machine

ORIGIN = 0x7C00
STACK_TOP = 0x7000
RECORD = 0x600
STUBS = 0x9000
_STUB_BYTES = 8

# IP may be changed in the record while the event's exit is answered.
_STUBS = f"""
    .set vector, 0
    .rept 256
    .balign {_STUB_BYTES}
    pushw $vector
    jmp common
    .set vector, vector + 1
    .endr
common:
    popw %cs:{RECORD}
    popw %cs:{RECORD + 2}
    popw %cs:{RECORD + 4}
    popw %cs:{RECORD + 6}
    movw %sp, %cs:{RECORD + 8}
    outb %al, $EVENT
    pushw %cs:{RECORD + 6}
    pushw %cs:{RECORD + 4}
    pushw %cs:{RECORD + 2}
    iretw
"""


class RealModeMachine(Machine):
    """Starts programs in real mode, DS, ES and SS 0."""

    def boot(self, source: str, **registers: int | SegmentState) -> None:
        """Place `source` at 0:7c00 and make the vCPU ready to run it."""
        self.place(_STUBS, 16, STUBS)
        for vector in range(256):
            self.set_vector(vector, STUBS + vector * _STUB_BYTES)
        self.program = self.place(source, 16, ORIGIN)
        state = reset_state()
        state.cs = state.cs._replace(base=0, selector=0)
        state.rip, state.rsp = ORIGIN, STACK_TOP
        self.start(state.replace(**registers))

    def set_vector(self, vector: int, offset: int) -> None:
        self.store(vector * 4, offset, 4)

    def last_event(self) -> Event:
        vector, ip, cs, flags, sp = (self.load(RECORD + 2 * i, 2) for i in range(5))
        return Event(vector, 0, ip, cs, flags, sp, 0, 0, sp)

    def resume_at(self, ip: int) -> None:
        """Where the handler of the last event returns to."""
        self.store(RECORD + 2, ip, 2)
