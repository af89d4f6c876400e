"""A stopped vCPU's registers: by name for expressions, and all of them as `info registers` prints them."""

from typing import Final

from mpvm.abi.control_block import DescriptorTable, GuestState, Segment

_GPRS: Final = ("ax", "cx", "dx", "bx", "sp", "bp", "si", "di")
_SEGMENTS: Final = ("es", "cs", "ss", "ds", "fs", "gs")
_FLAGS: Final = ((0x400, "D"), (0x800, "O"), (0x80, "S"), (0x40, "Z"), (0x10, "A"), (0x4, "P"), (0x1, "C"))
_CR0_PE: Final = 1
_EFER_LMA: Final = 1 << 10
# Access rights in the VMX format (SDM vol. 3, 24.4.1).
_S, _P, _L, _DB = 1 << 4, 1 << 7, 1 << 13, 1 << 14
_ACCESSED, _WRITABLE, _EXPANDS, _CODE = 1, 2, 4, 8
_HALTED: Final = 1
_STI_OR_MOV_SS: Final = 3
# The FXSAVE image (SDM vol. 1, table 10-2).
_ST0, _XMM0 = 32, 160
_SYSTEM_TYPES_32: Final = (
    "Reserved", "TSS16-avl", "LDT", "TSS16-busy", "CallGate16", "TaskGate", "IntGate16", "TrapGate16",
    "Reserved", "TSS32-avl", "Reserved", "TSS32-busy", "CallGate32", "Reserved", "IntGate32", "TrapGate32",
)  # fmt: skip
_SYSTEM_TYPES_64: Final = (
    "<hiword>", "Reserved", "LDT", "Reserved", "Reserved", "Reserved", "Reserved", "Reserved",
    "Reserved", "TSS64-avl", "Reserved", "TSS64-busy", "CallGate64", "Reserved", "IntGate64", "TrapGate64",
)  # fmt: skip


def is_64_bit(guest: GuestState) -> bool:
    """Whether 64-bit code runs."""
    return bool(guest.efer & _EFER_LMA and guest.cs.access_rights & _L)


def value_of(guest: GuestState, name: str) -> int | None:
    """The register `name`, None where there is none."""
    name = name.lower()
    wide = is_64_bit(guest)
    for number, stem in enumerate(_GPRS):
        if name in (stem, f"e{stem}", f"r{stem}"):
            return int(guest.gpr[number])
    if name[:1] == "r" and name[1:].isdecimal() and 8 <= int(name[1:]) <= 15:
        return int(guest.gpr[int(name[1:])])
    if name in ("eip", "rip", "pc"):
        return int(guest.rip if wide or name != "pc" else guest.cs.base + guest.rip)
    if name in ("eflags", "rflags"):
        return int(guest.rflags)
    if name in _SEGMENTS:
        return int(getattr(guest, name).selector)
    if name in ("cr0", "cr2", "cr3", "cr4", "efer"):
        return int(getattr(guest, name))
    return None


def dump(index: int, guest: GuestState, a20: bool) -> list[str]:
    """The lines about vCPU `index`, as QEMU's cpu_x86_dump_state has them."""
    wide = is_64_bit(guest)
    return [
        "",
        f"CPU#{index}",
        *_general(guest, wide, a20),
        *(_segment(name.upper(), getattr(guest, name), guest, wide) for name in _SEGMENTS),
        _segment("LDT", guest.ldtr, guest, wide),
        _segment("TR", guest.tr, guest, wide),
        _table("GDT", guest.gdtr, wide),
        _table("IDT", guest.idtr, wide),
        *_control(guest, wide),
        *_vectors(guest, wide),
    ]


def _general(guest: GuestState, wide: bool, a20: bool) -> list[str]:
    flags = "".join(letter if guest.rflags & bit else "-" for bit, letter in _FLAGS)
    shadow = int(bool(guest.interruptibility & _STI_OR_MOV_SS))
    rest = (
        f" [{flags}] CPL={guest.ss.access_rights >> 5 & 3} II={shadow}"
        f" A20={int(a20)} SMM=0 HLT={int(guest.activity_state == _HALTED)}"
    )
    order = (0, 3, 1, 2, 6, 7, 5, 4)
    if not wide:
        cells = [f"E{_GPRS[n].upper()}={guest.gpr[n] & 0xFFFFFFFF:08x}" for n in order]
        return [
            " ".join(cells[:4]),
            " ".join(cells[4:]),
            f"EIP={guest.rip & 0xFFFFFFFF:08x} EFL={guest.rflags & 0xFFFFFFFF:08x}{rest}",
        ]
    cells = [f"R{_GPRS[n].upper()}={guest.gpr[n]:016x}" for n in order]
    cells += [f"R{n:<2}={guest.gpr[n]:016x}" for n in range(8, 16)]
    lines = [" ".join(cells[n : n + 4]) for n in range(0, 16, 4)]
    return [*lines, f"RIP={guest.rip:016x} RFL={guest.rflags & 0xFFFFFFFF:08x}{rest}"]


def _segment(name: str, segment: Segment, guest: GuestState, wide: bool) -> str:
    rights = int(segment.access_rights)
    flags = (rights & 0xFF) << 8 | (rights >> 12 & 0xF) << 20
    base = f"{segment.base:016x}" if wide else f"{segment.base & 0xFFFFFFFF:08x}"
    line = f"{name:<3}={segment.selector:04x} {base} {segment.limit:08x} {flags:08x}"
    if not guest.cr0 & _CR0_PE or not rights & _P:
        return line
    kind = rights & 0xF
    line += f" DPL={rights >> 5 & 3} "
    if not rights & _S:
        return line + (_SYSTEM_TYPES_64 if guest.efer & _EFER_LMA else _SYSTEM_TYPES_32)[kind]
    if kind & _CODE:
        line += "CS64" if rights & _L else "CS32" if rights & _DB else "CS16"
        marks = ("C" if kind & _EXPANDS else "-") + ("R" if kind & _WRITABLE else "-")
    else:
        line += "DS  " if rights & _DB or guest.efer & _EFER_LMA else "DS16"
        marks = ("E" if kind & _EXPANDS else "-") + ("W" if kind & _WRITABLE else "-")
    return f"{line} [{marks}{'A' if kind & _ACCESSED else '-'}]"


def _table(name: str, table: DescriptorTable, wide: bool) -> str:
    return f"{name}=     {table.base:0{16 if wide else 8}x} {table.limit:08x}"


def _control(guest: GuestState, wide: bool) -> list[str]:
    digits = 16 if wide else 8
    return [
        f"CR0={guest.cr0:08x} CR2={guest.cr2:0{digits}x} CR3={guest.cr3:0{digits}x} CR4={guest.cr4:08x}",
        "".join(f"DR{n}={guest.dr[n]:016x} " for n in range(4)),
        f"DR6={guest.dr[6]:016x} DR7={guest.dr[7]:016x}",
        f"EFER={guest.efer:016x}",
    ]


def _vectors(guest: GuestState, wide: bool) -> list[str]:
    image = bytes(guest.xsave[:512])
    control, status, tags = image[0:2], int.from_bytes(image[2:4], "little"), image[4]
    top = status >> 11 & 7
    fpr = []
    for number in range(8):
        # The image has them in the order of the stack.
        at = _ST0 + 16 * (number - top & 7)
        mantissa = int.from_bytes(image[at : at + 8], "little")
        exponent = int.from_bytes(image[at + 8 : at + 10], "little")
        fpr.append(f"FPR{number}={mantissa:016x} {exponent:04x}")
    xmm = []
    for number in range(16 if wide else 8):
        low, high = (
            int.from_bytes(image[at : at + 8], "little")
            for at in (_XMM0 + 16 * number, _XMM0 + 16 * number + 8)
        )
        xmm.append(f"XMM{number:02}={high:016x} {low:016x}")
    return [
        f"FCW={int.from_bytes(control, 'little'):04x} FSW={status:04x} [ST={top}] FTW={tags:02x}"
        f" MXCSR={guest.mxcsr:08x}",
        *(" ".join(fpr[n : n + 2]) for n in range(0, len(fpr), 2)),
        *(" ".join(xmm[n : n + 2]) for n in range(0, len(xmm), 2)),
    ]
