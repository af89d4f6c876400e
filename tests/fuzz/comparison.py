"""What of two results must agree, and how a difference is told."""

import struct
from collections.abc import Iterator
from typing import Final

import capstone

from tests.fuzz import layout
from tests.fuzz.forms import ARITHMETIC, CODES
from tests.fuzz.generator import Case
from tests.fuzz.layout import field

_AC_VECTOR: Final = 17
_SS_VECTOR, _GP_VECTOR, _PF_VECTOR, _MF_VECTOR, _XM_VECTOR = 12, 13, 14, 16, 19
# As far as PUSHA reaches down.
_AROUND_4_GIB: Final = (*range(16), *range(0xFFFFFFE0, 0x100000010))
# More than one operand faults, and CPUs differ in which one comes first.
_ORDER_IS_FREE: Final = frozenset(("cmps", "cmpsb", "pusha", "fbstp", "fstp"))
_MASKED_STORES: Final = frozenset(("maskmovdqu", "maskmovq"))
_WIDE_UNALIGNED: Final = frozenset(
    ("movups", "movupd", "movdqu", "lddqu", "pcmpestrm", "pcmpestri", "pcmpistrm", "pcmpistri")
)
_OPERAND_FAULTS: Final = (12, 13, 14, 17)
# What helpers load and store, and 16-byte operands that may stand anywhere, are not checked for alignment.
_UNCHECKED: Final = _WIDE_UNALIGNED | _MASKED_STORES | {"cmpxchg8b", "bound"}
_MISALIGNED_MODE: Final = 1 << 17
_PF_PRESENT, _PF_WRITE, _PF_USER = 1, 2, 4
# What FXSAVE's image has at reserved places, and the x87's pointers, which CPUs keep differently.
_FOP_TO_FDP = slice(6, 24)
_MXCSR_MASK = slice(28, 32)


class _Result:
    """A result, taken apart as far as it is compared."""

    def __init__(self, case: Case, result: bytes) -> None:
        self.vector = field(result, layout.VECTOR_AT)
        self.rip = field(result, layout.RIP_AT)
        undefined = self._undefined(case)
        image = bytearray(result[: layout.REGISTERS_AT])
        image[_FOP_TO_FDP] = bytes(18)
        image[_MXCSR_MASK] = bytes(4)
        status = struct.unpack_from("<H", image, 2)[0] & ~((undefined & CODES) >> 32 << 8 & 0x0700)
        if undefined & CODES & 1 << 35:
            status &= ~0x4000
        struct.pack_into("<H", image, 2, status)
        for register in range(8):
            at = layout.FXSAVE_ST + 16 * register
            image[at + 10 : at + 16] = bytes(6)
        self.image = bytes(image)
        registers = struct.unpack_from("<16Q", result, layout.REGISTERS_AT)
        if not case.long_mode:
            # The upper halves are nobody's in 32-bit code.
            registers = tuple(value & 0xFFFFFFFF for value in registers[:8]) + registers[8:]
        self.registers = registers
        self.flags = field(result, layout.FLAGS_AT) & ~(undefined & ARITHMETIC)
        self.error = field(result, layout.ERROR_AT)
        self.cr2 = field(result, layout.CR2_AT)
        self.memory = result[layout.MEMORY_AT :]

    def _undefined(self, case: Case) -> int:
        undefined = case.undefined()
        if self.vector == layout.NO_EXCEPTION:
            return undefined[-1]
        at = case.entry
        if not at <= self.rip < at + sum(len(instruction.code) for instruction in case.instructions):
            return undefined[-1]
        for before, after, instruction in zip(undefined, undefined[1:], case.instructions, strict=False):
            at += len(instruction.code)
            if self.rip < at:
                return before | after
        return undefined[-1]

    def parts(self) -> Iterator[tuple[str, object]]:
        yield "vector", self.vector
        yield "error", self.error
        yield "rip", self.rip
        yield "cr2", self.cr2
        yield "rflags", self.flags
        yield from zip(layout.REGISTER_NAMES, self.registers, strict=True)
        yield "fcw", self.image[0:2]
        yield "fsw", self.image[2:4]
        yield "ftw", self.image[4:6]
        yield "mxcsr", self.image[24:28]
        for register in range(8):
            at = layout.FXSAVE_ST + 16 * register
            yield f"st{register}", self.image[at : at + 10]
        for register in range(16):
            at = layout.FXSAVE_XMM + 16 * register
            yield f"xmm{register}", self.image[at : at + 16]
        for at in range(0, len(self.memory), 8):
            address = (
                layout.WINDOW + at if at < layout.WINDOW_BYTES else layout.EDGE + at - layout.WINDOW_BYTES
            )
            yield f"[{address:#x}]", self.memory[at : at + 8]


def differences(case: Case, host: bytes, guest: bytes) -> list[str]:
    """What differs between the host's result and the guest's, a line each."""
    if host == guest:
        return []
    left, right = _Result(case, host), _Result(case, guest)
    if struct.unpack_from("<I", left.image, layout.FXSAVE_MXCSR)[0] & _MISALIGNED_MODE:
        # AMD's, which our models have not.
        return []
    if left.vector == _MF_VECTOR and right.vector in _OPERAND_FAULTS:
        # What is pending comes before the operand, and the engine loads that first.
        return []
    if left.vector in _OPERAND_FAULTS and (left.vector, left.rip) != (right.vector, right.rip):
        names, _mmx, x87, _vex = _at(case, left.rip)
        if _AC_VECTOR in (left.vector, right.vector) and left.rip == right.rip:
            # Which of two faults of an address comes first.
            return []
        # A store that an unmasked exception stops needs no memory here, nor does ENTER look below its frame.
        if x87 or "enter" in names:
            return []
        if left.vector == _AC_VECTOR and names & _UNCHECKED:
            return []
    if left.vector in _OPERAND_FAULTS and _at(case, left.rip)[0] & _MASKED_STORES:
        # Whether bytes that are not stored fault is left to the CPU (SDM vol. 2, MASKMOVDQU).
        return []
    if (
        right.vector == _GP_VECTOR
        and (left.vector, left.rip) != (right.vector, right.rip)
        and "ldmxcsr" in _at(case, right.rip)[0]
    ):
        # The same bit of AMD's, which may be gone again.
        return []
    _forgive(left, right, case)
    return [
        f"{name}: {_text(a)} on the host, {_text(b)} in the guest"
        for (name, a), (_, b) in zip(left.parts(), right.parts(), strict=True)
        if a != b
    ]


def _forgive(host: _Result, guest: _Result, case: Case) -> None:
    """Accept what the engine is known to do otherwise, most of it as QEMU, and in what vendors differ."""
    names, mmx, x87, vex = _at(case, host.rip)
    if host.vector == guest.vector == _PF_VECTOR:
        # Both have kernels somewhere, and the host maps pages late.
        host.error &= ~_PF_PRESENT
        guest.error &= ~_PF_PRESENT
        if (host.error, guest.error) == (_PF_USER | _PF_WRITE, _PF_USER):
            # What is read and written is read first, and the fault is said to be a read's.
            guest.error |= _PF_WRITE
        if names & _ORDER_IS_FREE:
            guest.cr2 = host.cr2
        if names & _WIDE_UNALIGNED:
            # The half that is not in the page behind has been moved.
            guest.image, guest.memory = host.image, host.memory
    if host.vector in (_SS_VECTOR, _GP_VECTOR) and guest.vector == _PF_VECTOR and guest.cr2 in _AROUND_4_GIB:
        # Across the segment's limit; the engine checks none.
        guest.vector, guest.error, guest.cr2 = host.vector, host.error, host.cr2
    if (mmx or x87) and host.vector == guest.vector and host.vector in _OPERAND_FAULTS:
        # When the operand faults, the registers are MMX's already, or the status word has the store's flags.
        guest.image = host.image
    if (mmx or x87) and host.vector == guest.vector == _XM_VECTOR:
        guest.image = host.image
    if (host.vector, guest.vector) == (_SS_VECTOR, _GP_VECTOR) and vex:
        guest.vector = _SS_VECTOR


def _at(case: Case, rip: int) -> tuple[frozenset[str], bool, bool, bool]:
    """The names of the instruction at `rip`, and whether it is one of MMX, of the x87, with VEX."""
    at = case.entry
    for instruction in case.instructions:
        at += len(instruction.code)
        if rip < at:
            forms = instruction.forms
            mmx = any(form.reg == "P" or form.rm in ("Q", "N") for form in forms)
            return frozenset(form.name for form in forms), mmx, forms[-1].name[0] == "f", bool(forms[-1].vex)
    return frozenset(), False, False, False


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value[::-1].hex()
    return f"{value:#x}"


def disassembly(case: Case) -> list[str]:
    """The case's instructions, a line each, with their bytes."""
    mode = capstone.CS_MODE_64 if case.long_mode else capstone.CS_MODE_32
    at, lines = field(case.record, layout.ENTRY_AT), []
    for instruction in case.instructions:
        text = [
            f"{name} {operands}".strip()
            for _at, _size, name, operands in capstone.Cs(capstone.CS_ARCH_X86, mode).disasm_lite(
                instruction.code, at
            )
        ]
        lines.append(f"{at:#x}: {instruction.code.hex(' ')}  {'; '.join(text) or '(bad)'}")
        at += len(instruction.code)
    return lines


def initial_state(case: Case) -> list[str]:
    """What the case starts from."""
    start = _Result(case, case.record)
    shown = []
    for name, value in start.parts():
        if name in ("vector", "error", "rip", "cr2"):
            continue
        shown.append(f"{name} {_text(value)}")
    return shown
