"""The local APIC's registers (SDM vol. 3, table 10-1) and how a 64-bit program reaches them."""

from tests.unit.engine.long_mode import APIC_WINDOW

ID, VERSION, TPR, PPR, EOI, LDR, DFR, SVR = 0x20, 0x30, 0x80, 0xA0, 0xB0, 0xD0, 0xE0, 0xF0
ISR, TMR, IRR, ESR, ICR_LOW, ICR_HIGH = 0x100, 0x180, 0x200, 0x280, 0x300, 0x310
LVT_TIMER, LVT_THERMAL, LVT_PERFORMANCE, LVT_LINT0, LVT_LINT1, LVT_ERROR = range(0x320, 0x371, 0x10)
TIMER_INITIAL, TIMER_CURRENT, TIMER_DIVIDE, SELF_IPI = 0x380, 0x390, 0x3E0, 0x3F0
MASKED = 1 << 16
FIXED, LOWEST_PRIORITY, SMI, NMI, INIT, STARTUP, EXTINT = 0, 1 << 8, 2 << 8, 4 << 8, 5 << 8, 6 << 8, 7 << 8
LOGICAL, ASSERT, LEVEL = 1 << 11, 1 << 14, 1 << 15
SELF, ALL, OTHERS = 1 << 18, 2 << 18, 3 << 18
X2APIC_MSRS = 0x800


def write(register: int, value: int) -> str:
    """Instructions that write a register by memory access; they change nothing else."""
    return f"movl ${value:#x}, {APIC_WINDOW + register:#x}; "


def read(register: int, into: str) -> str:
    return f"movl {APIC_WINDOW + register:#x}, %{into}; "


def enable() -> str:
    """Instructions that enable the APIC by its spurious-interrupt vector register."""
    return write(SVR, 0x1FF)


def msr_write(msr: int, value: int) -> str:
    """WRMSR; changes RAX, RCX and RDX."""
    high, low = value >> 32, value & 0xFFFFFFFF
    return f"movl ${msr:#x}, %ecx; movl ${low:#x}, %eax; movl ${high:#x}, %edx; wrmsr; "


def msr_read(msr: int, into: str) -> str:
    """RDMSR into one 64-bit register; changes RAX, RCX and RDX."""
    return f"movl ${msr:#x}, %ecx; rdmsr; shlq $32, %rdx; orq %rdx, %rax; movq %rax, %{into}; "
