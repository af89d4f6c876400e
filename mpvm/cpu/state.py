"""The architectural state of one CPU, and the state a reset leaves it in."""

from typing import Any, NamedTuple

from mpvm.abi import control_block

# Encoding order of the general registers, as `control_block.GuestState.gpr` holds them.
GPR_NAMES = (
    "rax",
    "rcx",
    "rdx",
    "rbx",
    "rsp",
    "rbp",
    "rsi",
    "rdi",
    "r8",
    "r9",
    "r10",
    "r11",
    "r12",
    "r13",
    "r14",
    "r15",
)
SEGMENT_NAMES = ("es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr")
SCALAR_NAMES = (
    "rip",
    "rflags",
    "cr0",
    "cr2",
    "cr3",
    "cr4",
    "cr8",
    "efer",
    "star",
    "lstar",
    "cstar",
    "sfmask",
    "kernel_gs_base",
    "sysenter_cs",
    "sysenter_esp",
    "sysenter_eip",
    "pat",
    "tsc_aux",
    "tsc_adjust",
    "apic_base",
    "misc_enable",
    "mtrr_def_type",
    "mcg_status",
    "mcg_ctl",
    "debugctl",
    "steal_time",
    "xcr0",
    "mxcsr",
    "interruptibility",
    "activity_state",
    "pending_debug_exceptions",
    "pkru",
    "pkrs",
)
# Register files: arrays of `control_block.GuestState`.
ARRAY_NAMES = ("pdpte", "dr", "mtrr_fixed", "mtrr_variable", "mc_banks")

# Access rights in the VMCS format (SDM vol. 3, table 24-2), accessed and present.
AR_DATA16 = 0x93
AR_CODE16 = 0x9B
AR_DATA32 = 0xC093
AR_CODE32 = 0xC09B
AR_CODE64 = 0xA09B
AR_LDT = 0x82
AR_BUSY_TSS = 0x8B

CR0_PE, CR0_ET, CR0_NW, CR0_CD, CR0_PG = 1 << 0, 1 << 4, 1 << 29, 1 << 30, 1 << 31
CR4_PAE = 1 << 5
EFER_LME, EFER_LMA = 1 << 8, 1 << 10
RFLAGS_FIXED = 1 << 1
APIC_BASE_ADDRESS = 0xFEE00000
APIC_BASE_BSP, APIC_BASE_ENABLE = 1 << 8, 1 << 11

# IA32_MCG_CTL and each bank's CTL: all errors are reported.
MC_ALL_ENABLED = (1 << 64) - 1

FXSAVE_BYTES = 512
# The first bytes of an XSAVE area's header: the components that it holds (SDM vol. 1, 13.4.2).
XSTATE_BV = slice(FXSAVE_BYTES, FXSAVE_BYTES + 8)
XSTATE_X87_SSE = 3
MXCSR_RESET = 0x1F80
MXCSR_MASK = 0xFFFF
PAT_RESET = 0x0007040600070406


def fxsave_area(fcw: int, ftw: int) -> bytes:
    """An FXSAVE image (SDM vol. 1, table 10-2) of empty registers; `ftw` is the abridged tag byte."""
    area = bytearray(FXSAVE_BYTES)
    area[0:2] = fcw.to_bytes(2, "little")
    area[4] = ftw
    area[24:28] = MXCSR_RESET.to_bytes(4, "little")
    area[28:32] = MXCSR_MASK.to_bytes(4, "little")
    return bytes(area)


# After power-up every x87 register holds +0.0, so all eight are tagged as in use; FNINIT empties them.
FXSAVE_POWER_UP = fxsave_area(fcw=0x0040, ftw=0xFF)
FXSAVE_FNINIT = fxsave_area(fcw=0x037F, ftw=0x00)


def xsave_area(fxsave: bytes) -> bytes:
    """An XSAVE area in standard format with the x87 and SSE state of `fxsave` and no other."""
    return (fxsave + XSTATE_X87_SSE.to_bytes(8, "little")).ljust(control_block.XSAVE_BYTES, b"\0")


XSAVE_POWER_UP = xsave_area(FXSAVE_POWER_UP)


class SegmentState(NamedTuple):
    """A segment register with its hidden part; `access_rights` in the VMCS format, `limit` in bytes."""

    base: int = 0
    limit: int = 0xFFFF
    selector: int = 0
    access_rights: int = AR_DATA16


class DescriptorTableState(NamedTuple):
    """GDTR or IDTR."""

    base: int = 0
    limit: int = 0xFFFF


class CpuState:
    """All architectural registers by their SDM names; the defaults are those of a reset.

    No dataclass: making one of so many fields, and what that imports, would be 10 ms of every start.
    """

    rax: int = 0
    rcx: int = 0
    rdx: int = 0
    rbx: int = 0
    rsp: int = 0
    rbp: int = 0
    rsi: int = 0
    rdi: int = 0
    r8: int = 0
    r9: int = 0
    r10: int = 0
    r11: int = 0
    r12: int = 0
    r13: int = 0
    r14: int = 0
    r15: int = 0
    rip: int = 0xFFF0
    rflags: int = RFLAGS_FIXED
    es: SegmentState = SegmentState()
    cs: SegmentState = SegmentState(base=0xFFFF0000, selector=0xF000, access_rights=AR_CODE16)
    ss: SegmentState = SegmentState()
    ds: SegmentState = SegmentState()
    fs: SegmentState = SegmentState()
    gs: SegmentState = SegmentState()
    ldtr: SegmentState = SegmentState(access_rights=AR_LDT)
    tr: SegmentState = SegmentState(access_rights=AR_BUSY_TSS)
    gdtr: DescriptorTableState = DescriptorTableState()
    idtr: DescriptorTableState = DescriptorTableState()
    cr0: int = CR0_CD | CR0_NW | CR0_ET
    cr2: int = 0
    cr3: int = 0
    cr4: int = 0
    cr8: int = 0
    efer: int = 0
    dr: list[int]
    star: int = 0
    lstar: int = 0
    cstar: int = 0
    sfmask: int = 0
    kernel_gs_base: int = 0
    sysenter_cs: int = 0
    sysenter_esp: int = 0
    sysenter_eip: int = 0
    pat: int = PAT_RESET
    tsc_aux: int = 0
    tsc_adjust: int = 0
    apic_base: int = APIC_BASE_ADDRESS | APIC_BASE_ENABLE
    misc_enable: int = control_block.ResetValue.MISC_ENABLE
    mtrr_def_type: int = control_block.ResetValue.MTRR_DEF_TYPE
    mcg_status: int = 0
    mcg_ctl: int = MC_ALL_ENABLED
    debugctl: int = 0
    steal_time: int = 0
    xcr0: int = 1
    mxcsr: int = MXCSR_RESET
    interruptibility: int = 0
    activity_state: int = 0
    pending_debug_exceptions: int = 0
    pkru: int = 0
    pkrs: int = 0
    pdpte: list[int]
    mtrr_fixed: list[int]
    mtrr_variable: list[int]
    mc_banks: list[int]
    xsave: bytes = XSAVE_POWER_UP

    def __init__(self, **registers: Any) -> None:
        self.dr = [0, 0, 0, 0, 0, 0, 0xFFFF0FF0, 0x400]
        self.pdpte = [0] * 4
        self.mtrr_fixed = [0] * control_block.MTRR_FIXED
        self.mtrr_variable = [0] * control_block.MTRR_VARIABLE
        self.mc_banks = [MC_ALL_ENABLED, 0, 0, 0] * (control_block.MC_BANK_MSRS // 4)
        if unknown := registers.keys() - CpuState.__annotations__.keys():
            raise TypeError(f"CpuState: there is no register {', '.join(sorted(unknown))}")
        vars(self).update(registers)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CpuState):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in REGISTER_NAMES)

    def __repr__(self) -> str:
        return f"CpuState({', '.join(f'{name}={getattr(self, name)!r}' for name in REGISTER_NAMES)})"

    def replace(self, **registers: Any) -> "CpuState":
        """The same state with other `registers`."""
        return CpuState(**{**{name: getattr(self, name) for name in REGISTER_NAMES}, **registers})

    @property
    def fxsave(self) -> bytes:
        """The FXSAVE image that the XSAVE area begins with."""
        return self.xsave[:FXSAVE_BYTES]

    def store(self, guest: control_block.GuestState) -> None:
        """Write every register into `guest`, the guest-state area of a control block."""
        for index, name in enumerate(GPR_NAMES):
            guest.gpr[index] = getattr(self, name)
        for name in SCALAR_NAMES:
            setattr(guest, name, getattr(self, name))
        for name in SEGMENT_NAMES:
            segment: SegmentState = getattr(self, name)
            setattr(
                guest,
                name,
                control_block.Segment(
                    base=segment.base,
                    limit=segment.limit,
                    selector=segment.selector,
                    access_rights=segment.access_rights,
                ),
            )
        guest.gdtr = control_block.DescriptorTable(self.gdtr.base, self.gdtr.limit)
        guest.idtr = control_block.DescriptorTable(self.idtr.base, self.idtr.limit)
        for name in ARRAY_NAMES:
            getattr(guest, name)[:] = getattr(self, name)
        guest.xsave[:] = self.xsave

    @classmethod
    def fetch(cls, guest: control_block.GuestState) -> "CpuState":
        """The state that `guest` holds: what `store` has written, or a worker at an exit."""
        state = cls(**{name: guest.gpr[index] for index, name in enumerate(GPR_NAMES)})
        for name in SCALAR_NAMES:
            setattr(state, name, getattr(guest, name))
        for name in SEGMENT_NAMES:
            raw: control_block.Segment = getattr(guest, name)
            setattr(state, name, SegmentState(raw.base, raw.limit, raw.selector, raw.access_rights))
        state.gdtr = DescriptorTableState(guest.gdtr.base, guest.gdtr.limit)
        state.idtr = DescriptorTableState(guest.idtr.base, guest.idtr.limit)
        for name in ARRAY_NAMES:
            setattr(state, name, list(getattr(guest, name)))
        state.xsave = bytes(guest.xsave)
        return state


#: Every register, in the order of `CpuState`.
REGISTER_NAMES = tuple(CpuState.__annotations__)


def reset_state(signature: int = 0, *, bsp: bool = True) -> CpuState:
    """The state after power-up (SDM vol. 3, table 9-1).

    `signature` is CPUID.1:EAX, which a reset leaves in EDX; `bsp` sets that flag of IA32_APIC_BASE.
    CS is given as a code segment (the table has it as data) since VMX entry demands that.
    """
    apic_base = APIC_BASE_ADDRESS | APIC_BASE_ENABLE | (APIC_BASE_BSP if bsp else 0)
    return CpuState(rdx=signature, apic_base=apic_base)
