"""A vCPU in 32-bit protected mode: flat segments, no paging, a TSS and an IDT of recording handlers.

A test puts what else it needs behind these in the GDT (`describe`), and more tasks into memory (`task`).
"""

import struct

from mpvm.cpu.state import DescriptorTableState, SegmentState, reset_state
from tests.unit.engine.machine import Event, Machine

GDT, LDT, TSS, IDT, RECORD = 0x1000, 0x1800, 0x2000, 0x3000, 0x3800
STUBS = 0x8000
ORIGIN = 0x10000
STACK_TOP, RING3_STACK_TOP, ESP0, ESP1 = 0x20000, 0x22000, 0x24000, 0x26000
DATA = 0x30000
TASKS = 0x40000
_STUB_BYTES = 16
_WITH_ERROR_CODE = (8, 10, 11, 12, 13, 14, 17)

CODE, FLAT, USER_CODE, USER_FLAT, TR = 0x08, 0x10, 0x1B, 0x23, 0x28
# Free for tests: from here to the end of the GDT.
SPARE, GDT_LIMIT = 0x40, 0x1FF
TSS_LIMIT = 0x67

# A descriptor's access byte (SDM vol. 3, figure 3-8), and the flags above its limit.
P, S = 0x80, 0x10
DATA_RW, DATA_RO, DATA_DOWN = P | S | 0x3, P | S | 0x1, P | S | 0x7
CODE_RX, CODE_X, CODE_CONFORMING = P | S | 0xB, P | S | 0x9, P | S | 0xF
TSS16, LDT_TYPE, TSS32, TSS32_BUSY = P | 1, P | 2, P | 9, P | 11
CALL16, TASK_GATE, INT16, TRAP16, CALL32, INT32, TRAP32 = (
    P | 4,
    P | 5,
    P | 6,
    P | 7,
    P | 12,
    P | 14,
    P | 15,
)
BIG, GRANULAR, LONG = 0x4, 0x8, 0x2
DPL3 = 0x60

CR0_PE, CR0_TS = 1, 1 << 3
TF, IF, IOPL3, NT, VM = 1 << 8, 1 << 9, 3 << 12, 1 << 14, 1 << 17

_COMMON = f"""
    pushl %ds
    pushl %eax
    movl ${FLAT}, %eax
    movl %eax, %ds
    movl %esp, {RECORD}
    outb %al, $EVENT
    popl %eax
    popl %ds
    addl $8, %esp
    iret
"""


def _stubs() -> str:
    lines = []
    for vector in range(256):
        lines.append(f".balign {_STUB_BYTES}")
        if vector not in _WITH_ERROR_CODE:
            lines.append("pushl $0")
        lines += [f"pushl ${vector}", "jmp common"]
    return "\n".join([*lines, "common:", _COMMON])


_STUBS = _stubs()


class ProtectedModeMachine(Machine):
    """Starts programs in 32-bit protected mode at CPL 0 or 3."""

    def boot(
        self, source: str, *, cpl: int = 0, **registers: int | SegmentState | DescriptorTableState
    ) -> None:
        """Place `source` at ORIGIN and make the vCPU ready to run it."""
        self.build_tables()
        self.program = self.place(source, 32, ORIGIN)
        self.begin(cpl, **registers)

    def begin(self, cpl: int = 0, **registers: int | SegmentState | DescriptorTableState) -> None:
        """The same for what is placed and described already."""
        state = reset_state()
        user = 0x60 if cpl else 0
        flat = SegmentState(0, 0xFFFFFFFF, USER_FLAT if cpl else FLAT, 0xC093 | user)
        state.cs = SegmentState(0, 0xFFFFFFFF, USER_CODE if cpl else CODE, 0xC09B | user)
        state.ss = state.ds = state.es = state.fs = state.gs = flat
        state.tr = SegmentState(TSS, TSS_LIMIT, TR, 0x8B)
        state.ldtr = SegmentState(0, 0, 0, 0x10000)
        state.gdtr, state.idtr = DescriptorTableState(GDT, GDT_LIMIT), DescriptorTableState(IDT, 0x7FF)
        state.cr0 |= CR0_PE
        state.rip, state.rsp = ORIGIN, RING3_STACK_TOP if cpl else STACK_TOP
        self.start(state.replace(**registers))

    def build_tables(self) -> None:
        self.write(GDT, bytes(GDT_LIMIT + 1))
        for selector, access in ((CODE, CODE_RX), (FLAT, DATA_RW)):
            self.describe(selector, 0, 0xFFFFF, access, BIG | GRANULAR)
        for selector, access in ((USER_CODE, CODE_RX), (USER_FLAT, DATA_RW)):
            self.describe(selector, 0, 0xFFFFF, access | DPL3, BIG | GRANULAR)
        self.describe(TR, TSS, TSS_LIMIT, TSS32_BUSY)
        self.write(TSS, bytes(TSS_LIMIT + 1))
        self.write(TSS + 4, struct.pack("<IIII", ESP0, FLAT, ESP1, FLAT))
        self.store(TSS + 0x66, TSS_LIMIT + 1, 2)
        self.place(_STUBS, 32, STUBS)
        for vector in range(256):
            self.set_gate(vector)

    def describe(self, selector: int, base: int, limit: int, access: int, flags: int = 0) -> None:
        """A segment descriptor; `limit` in bytes, or in pages with GRANULAR."""
        value = limit & 0xFFFF | (base & 0xFFFFFF) << 16 | access << 40
        value |= (limit >> 16 & 0xF) << 48 | flags << 52 | (base >> 24 & 0xFF) << 56
        self.store((LDT if selector & 4 else GDT) + (selector & ~7), value, 8)

    def descriptor_access(self, selector: int) -> int:
        """The access byte of a descriptor as it is in memory now."""
        return self.load((LDT if selector & 4 else GDT) + (selector & ~7) + 5, 1)

    def describe_gate(self, selector: int, target: int, offset: int, access: int, count: int = 0) -> None:
        """A call gate or task gate in the GDT."""
        self.store(GDT + (selector & ~7), self._gate(target, offset, access, count), 8)

    def set_gate(
        self, vector: int, offset: int | None = None, *, selector: int = CODE, access: int = INT32 | DPL3
    ) -> None:
        """An entry of the IDT; by default to the handler that records the event."""
        target = STUBS + vector * _STUB_BYTES if offset is None else offset
        self.store(IDT + vector * 8, self._gate(selector, target, access), 8)

    @staticmethod
    def _gate(selector: int, offset: int, access: int, count: int = 0) -> int:
        return offset & 0xFFFF | selector << 16 | count << 32 | access << 40 | (offset >> 16) << 48

    # --- Events ---------------------------------------------------------------------------------------

    def last_event(self) -> Event:
        at = self.load(RECORD, 4)
        vector, error, eip, cs, flags, esp, ss = (self.load(at + 8 + 4 * i, 4) for i in range(7))
        return Event(vector, error, eip, cs & 0xFFFF, flags, esp, ss & 0xFFFF, 0, at + 16)

    def resume_at(self, eip: int) -> None:
        """Where the handler of the last event returns to."""
        self.store(self.load(RECORD, 4) + 16, eip, 4)
