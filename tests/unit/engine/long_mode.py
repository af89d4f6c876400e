"""A vCPU in 64-bit mode with identity page tables, a GDT, a TSS and an IDT of recording handlers."""

import struct

from mpvm.cpu.state import AR_CODE64, CpuState, DescriptorTableState, SegmentState, reset_state
from tests.unit.engine.machine import APIC_BASE, MMIO_BASE, RAM_BYTES, Event, Machine

GDT, IDT, TSS, RECORD = 0x1000, 0x2000, 0x3000, 0x6000
STUBS = 0x8000
ORIGIN, CODE_PAGES = 0x10000, 4
STACK_TOP, IST1_TOP, RSP0_TOP = 0x20000, 0x22000, 0x24000
USER_DATA, USER_STACK_TOP = 0x26000, 0x28000
DATA = 0x30000
TABLES = 0x100000
# The local APIC again, where a 32-bit displacement reaches it.
APIC_WINDOW = 0x60000000
_STUB_BYTES = 16
_WITH_ERROR_CODE = (8, 10, 11, 12, 13, 14, 17, 21)

KERNEL_CS, KERNEL_SS, USER_CS32, USER_SS, USER_CS, USER_SS2, TSS_SELECTOR, KERNEL_CS32 = (
    0x08,
    0x10,
    0x1B,
    0x23,
    0x2B,
    0x33,
    0x38,
    0x48,
)
_DESCRIPTORS = (
    0,
    0x00AF9B000000FFFF,
    0x00CF93000000FFFF,
    0x00CFFB000000FFFF,
    0x00CFF3000000FFFF,
    0x00AFFB000000FFFF,
    0x00CFF3000000FFFF,
)
_CODE32 = 0x00CF9B000000FFFF
TSS_LIMIT = 0x67

P, W, U, A, D, PS, G, NX = 1, 2, 4, 1 << 5, 1 << 6, 1 << 7, 1 << 8, 1 << 63
_FRAME = 0x000FFFFFFFFFF000

CR0_PE, CR0_MP, CR0_ET, CR0_NE, CR0_WP, CR0_PG = 1, 1 << 1, 1 << 4, 1 << 5, 1 << 16, 1 << 31
CR4_PAE, CR4_OSFXSR, CR4_OSXMMEXCPT, CR4_OSXSAVE = 1 << 5, 1 << 9, 1 << 10, 1 << 18
EFER_SCE, EFER_LME, EFER_LMA, EFER_NXE = 1, 1 << 8, 1 << 10, 1 << 11
RFLAGS_IF = 1 << 9

# RIP and the rest of the frame may be changed in the record while the event's exit is answered.
_COMMON = f"""
    .irp field, 0, 8, 16, 24, 32, 40, 48
    popq {RECORD}+\\field
    .endr
    movq %rsp, {RECORD + 64}
    pushq %rax
    movq %cr2, %rax
    movq %rax, {RECORD + 56}
    popq %rax
    outb %al, $EVENT
    .irp field, 48, 40, 32, 24, 16
    pushq {RECORD}+\\field
    .endr
    iretq
"""


def _stubs() -> str:
    lines = []
    for vector in range(256):
        lines.append(f".balign {_STUB_BYTES}")
        if vector not in _WITH_ERROR_CODE:
            lines.append("pushq $0")
        lines += [f"pushq ${vector}", "jmp common"]
    return "\n".join([*lines, "common:", _COMMON])


_STUBS = _stubs()


class LongModeMachine(Machine):
    """Starts programs in 64-bit mode at CPL 0 or 3."""

    def boot(
        self, source: str, *, cpl: int = 0, **registers: int | SegmentState | DescriptorTableState | list[int]
    ) -> None:
        """Place `source` at ORIGIN and make the vCPU ready to run it."""
        self.build_tables()
        self.program = self.place(source, 64, ORIGIN)
        self.start(self.initial_state(cpl).replace(**registers))

    def initial_state(self, cpl: int = 0) -> CpuState:
        state = reset_state()
        user = 0x60 if cpl else 0
        flat = SegmentState(0, 0xFFFFFFFF, USER_SS if cpl else KERNEL_SS, 0xC093 | user)
        state.cs = SegmentState(0, 0xFFFFFFFF, USER_CS if cpl else KERNEL_CS, AR_CODE64 | user)
        state.ss = state.ds = state.es = state.fs = state.gs = flat
        state.tr = SegmentState(TSS, TSS_LIMIT, TSS_SELECTOR, 0x8B)
        state.ldtr = SegmentState(0, 0, 0, 0x10000)
        state.gdtr, state.idtr = DescriptorTableState(GDT, 0x57), DescriptorTableState(IDT, 0xFFF)
        state.cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_PG
        state.cr3 = TABLES
        state.cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT
        state.efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE
        state.rip, state.rsp = ORIGIN, USER_STACK_TOP if cpl else STACK_TOP
        return state

    def build_tables(self) -> None:
        self.write(GDT, b"".join(descriptor.to_bytes(8, "little") for descriptor in _DESCRIPTORS))
        self.set_tss_limit(TSS_LIMIT)
        self.store(GDT + KERNEL_CS32, _CODE32, 8)
        self.store(TSS + 4, RSP0_TOP, 8)
        self.store(TSS + 0x24, IST1_TOP, 8)
        self.store(TSS + 0x66, TSS_LIMIT + 1, 2)
        self.place(_STUBS, 64, STUBS)
        for vector in range(256):
            self.set_gate(vector)
        self._next_table = TABLES + 0x1000
        for gpa in range(0, 2 << 20, 0x1000):
            self.map(gpa, gpa, P | W)
        for gpa in (*range(2 << 20, RAM_BYTES, 2 << 20), MMIO_BASE, APIC_BASE):
            self.map(gpa, gpa, P | W | PS)
        self.map(APIC_WINDOW, APIC_BASE, P | W | PS)
        for gpa in (*range(ORIGIN, ORIGIN + CODE_PAGES * 0x1000, 0x1000), USER_DATA, USER_STACK_TOP - 0x1000):
            self.map(gpa, gpa, P | W | U)

    def set_tss_limit(self, limit: int) -> None:
        low = limit | (TSS & 0xFFFFFF) << 16 | 0x8B << 40
        self.store(GDT + TSS_SELECTOR, low, 16)

    def set_gate(
        self, vector: int, handler: int | None = None, *, ist: int = 0, dpl: int = 3, present: bool = True
    ) -> None:
        """An interrupt gate; by default to the handler that records the event."""
        target = STUBS + vector * _STUB_BYTES if handler is None else handler
        rights = (0x8E if present else 0x0E) | dpl << 5
        gate = struct.pack(
            "<HHBBHII", target & 0xFFFF, KERNEL_CS, ist, rights, target >> 16 & 0xFFFF, target >> 32, 0
        )
        self.write(IDT + vector * 16, gate)

    # --- Page tables ----------------------------------------------------------------------------------

    def map(self, address: int, frame: int, flags: int) -> int:
        """Map `address`: a 4 KiB page, or with PS a 2 MiB one. Where the entry is."""
        level = 2 if flags & PS else 1
        entry = self.entry(address, level, create=True)
        self.store(entry, frame | flags, 8)
        return entry

    def entry(self, address: int, level: int = 1, *, create: bool = False) -> int:
        """Where the page-table entry of `address` is; level 4 is the PML4's, 1 the page table's."""
        table = TABLES
        for above in range(4, level, -1):
            at = table + (address >> 12 + 9 * (above - 1) & 511) * 8
            value = self.load(at, 8)
            if not value & P:
                assert create, f"{address:#x} has no page table of level {above - 1}"
                value = self._next_table | P | W | U
                self.store(at, value, 8)
                self._next_table += 0x1000
            table = value & _FRAME
        return table + (address >> 12 + 9 * (level - 1) & 511) * 8

    def flags(self, address: int, level: int = 1) -> int:
        """The bits of an entry that are not its frame."""
        return self.load(self.entry(address, level), 8) & ~_FRAME

    # --- Events ---------------------------------------------------------------------------------------

    def last_event(self) -> Event:
        vector, error, rip, cs, rflags, rsp, ss, cr2, handler = (
            self.load(RECORD + 8 * i, 8) for i in range(9)
        )
        return Event(vector, error, rip, cs, rflags, rsp, ss, cr2, handler)

    def resume_at(self, rip: int) -> None:
        """Where the handler of the last event returns to."""
        self.store(RECORD + 16, rip, 8)
