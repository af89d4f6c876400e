"""Encodes instructions with random operands (SDM vol. 2, chapter 2)."""

import random
from typing import Final, NamedTuple

from tests.fuzz import layout
from tests.fuzz.forms import CONDITIONS, WIDTHS, A, C, Effect, Form, O, P, S, Z
from tests.fuzz.layout import RBP, RSP

_REX, _W, _R, _X, _B = 0x40, 8, 4, 2, 1
_NO_BASE = -1
_MODRM_RIP = 5
# Outside of 64-bit mode, a store by CS is refused, and FS and GS are null here.
_SEGMENTS = (0x26, 0x36, 0x3E, 0x2E, 0x64, 0x65)
_IMMEDIATES: Final = (
    0,
    1,
    2,
    7,
    8,
    15,
    16,
    31,
    32,
    63,
    64,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x7FFFFFFF,
)


class Pointers(NamedTuple):
    """What is known of a case's registers: addresses, a small index, and which may be overwritten."""

    bases: tuple[tuple[int, int], ...]
    index_and_value: tuple[int, int]
    free: tuple[int, ...]


class Instruction(NamedTuple):
    """An instruction, or a jump with what it may go past, which `forms` has last."""

    code: bytes
    forms: tuple[Form, ...]
    effect: Effect


class _Operand(NamedTuple):
    """ModRM without its reg field, and what follows. `rex` has X and B; `target` is set if RIP-relative."""

    modrm: int
    tail: bytes
    rex: int = 0
    target: int = 0


class Encoder:
    """Makes instructions of one mode."""

    def __init__(self, rng: random.Random, long_mode: bool) -> None:
        self._rng, self._random = rng, rng.random
        self._long_mode = long_mode
        self._registers = 16 if long_mode else 8

    def encode(self, form: Form, at: int, pointers: Pointers) -> Instruction:
        """`form` at the address `at`."""
        if form.vex is not None:
            return self._encode_vex(form, at, pointers)
        width, rex, operand_prefix = self._width(form)
        extends = form.name in ("movzx", "movsx", "crc32") and form.rm_bytes == 1
        byte_registers = form.width == "b" or extends
        if byte_registers and self._long_mode and self._random() < 0.5:
            rex |= _REX
        prefixes = bytearray()
        if operand_prefix:
            prefixes.append(0x66)
        opcode = form.opcode
        conditional = form.name in ("j", "set", "cmov")
        effect = Effect(CONDITIONS[opcode[-1] & 15]) if conditional else form.effect
        if form.register_in_opcode:
            register = self._register(pointers)
            if form.name == "push" and self._random() < 0.5:
                register = int(self._random() * self._registers)
            if form.name in ("mov", "pop") and register == RSP and self._random() < 0.9:
                register = 0
            rex |= _B if register & 8 else 0
            opcode = opcode[:-1] + bytes((opcode[-1] | register & 7,))
        immediate, count = self._immediate(form, width)
        modrm, tail, target = b"", b"", 0
        if form.rm:
            reg, extension = self._reg(form, pointers, rex)
            rex |= extension
            operand = self._rm(form, width, pointers, rex)
            rex |= operand.rex
            modrm, tail, target = bytes((operand.modrm | reg << 3,)), operand.tail, operand.target
            self._memory_prefixes(form, operand, prefixes)
        elif "rep" in form.words and self._repeat(prefixes):
            # Repeated no time at all, it leaves the flags as they were.
            effect = Effect()
        if rex:
            rex |= _REX
        if form.shift:
            effect = shift_effect(form.shift, width, count)
        head = bytes(prefixes) + (bytes((form.prefix,)) if form.prefix else b"")
        head += (bytes((rex,)) if rex else b"") + opcode + modrm
        if target:
            tail = (target - at - len(head) - 4 - len(immediate)).to_bytes(4, "little", signed=True)
        return Instruction(head + tail + immediate, (form,), effect)

    def _encode_vex(self, form: Form, at: int, pointers: Pointers) -> Instruction:
        assert form.vex is not None
        mandatory, opcode_map, _wide = form.vex
        wide = self._long_mode and self._random() < 0.5
        width = 8 if wide else 4
        reg, extension = self._reg(form, pointers, 0)
        operand = self._rm(form, width, pointers, _REX)
        extension |= operand.rex
        other = self._register(pointers) if "B" in form.words else 0
        immediate, _count = self._immediate(form, width)
        head = bytes(
            (
                0xC4,
                (~extension & 7) << 5 | opcode_map,
                (0x80 if wide else 0) | (~other & 15) << 3 | mandatory,
                form.opcode[0],
                operand.modrm | reg << 3,
            )
        )
        tail = operand.tail
        if operand.target:
            tail = (operand.target - at - len(head) - 4 - len(immediate)).to_bytes(4, "little", signed=True)
        return Instruction(head + tail + immediate, (form,), form.effect)

    # --- Parts ------------------------------------------------------------------------------------------

    def _width(self, form: Form) -> tuple[int, int, bool]:
        """The operand's bytes, REX.W, and whether a prefix 66h is needed."""
        rule, chance = form.width, self._random()
        if form.shift in ("shldc", "shrdc"):
            # With 2 bytes a count beyond the width leaves an undefined result.
            return (8, _W, False) if chance > 0.5 and self._long_mode else (4, 0, False)
        if self._long_mode and form.name in ("bsf", "bsr"):
            # They leave an undefined upper half.
            return (8, _W, False) if chance > 0.4 else (2, 0, True)
        if form.name == "enter":
            return (8, 0, False) if self._long_mode else (4, 0, False)
        if "d64" in form.words:
            if chance < 0.15:
                return 2, 0, True
            return (8, 0, False) if self._long_mode else (4, 0, False)
        if rule == "v":
            if chance < 0.25 and "-66" not in form.words:
                return 2, 0, True
            return (8, _W, False) if chance > 0.6 and self._long_mode else (4, 0, False)
        if rule == "y" or "cx" in form.words:
            return (8, _W, False) if chance > 0.5 and self._long_mode else (4, 0, False)
        return WIDTHS.get(rule, 4), 0, False

    def _register(self, pointers: Pointers) -> int:
        """Mostly one that may be overwritten."""
        if self._random() < 0.94:
            return pointers.free[int(self._random() * len(pointers.free))]
        return int(self._random() * self._registers)

    def _reg(self, form: Form, pointers: Pointers, rex: int) -> tuple[int, int]:
        """The field ModRM.reg, and REX.R."""
        kind = form.reg
        if not kind:
            return 0, 0
        if kind[0] == "/":
            return int(kind[1:]), 0
        if kind == "P":
            return int(self._random() * 8), 0
        if kind == "V":
            register = int(self._random() * self._registers)
        else:
            register = self._register(pointers)
            if form.width == "b" and not rex:
                # AH to BH are parts of the first four.
                register = register & 3 | (4 if self._random() < 0.4 else 0)
        return register & 7, _R if register & 8 else 0

    def _rm(self, form: Form, width: int, pointers: Pointers, rex: int) -> _Operand:
        kind = form.rm
        memory = kind[0] == "M" or (kind in ("E", "X", "Q") and self._random() < 0.5)
        if memory:
            size, aligned = form.rm_bytes or width, form.aligned
            if kind == "Mb":
                size = 2 * width
            if "cx" in form.words:
                size, aligned = 2 * width, width == 8
            return self._memory(size, aligned, pointers, unused=kind == "M0")
        if kind in ("Q", "N", "st"):
            register = int(self._random() * 8)
        elif kind in ("X", "U"):
            register = int(self._random() * self._registers)
        else:
            register = self._register(pointers)
            if (form.width == "b" or (form.rm_bytes == 1 and form.reg != "V")) and not rex & ~(_R | _B | _X):
                register = register & 3 | (4 if self._random() < 0.4 else 0)
                if rex & _R:
                    register &= 3
        return _Operand(0xC0 | register & 7, b"", _B if register & 8 else 0)

    def _target(self, size: int, aligned: bool) -> int:
        """An address for `size` bytes: in the window, at times across the data's begin or end."""
        chance = self._random()
        if chance < 0.03:
            target = layout.DATA_END - int(self._random() * (size + 24)) + 4
        elif chance < 0.05:
            target = layout.DATA - int(self._random() * (size + 24)) + 4
        elif chance < 0.1:
            target = layout.DATA + layout.PAGE - int(self._random() * (size + 1))
        else:
            target = layout.WINDOW + int(self._random() * (layout.WINDOW_BYTES - size + 1))
        if aligned:
            target &= -size  # XXX misaligned
        return target

    def _memory(self, size: int, aligned: bool, pointers: Pointers, unused: bool) -> _Operand:
        target = self._target(size, aligned)
        chance = self._random()
        if unused and chance < 0.5:
            # LEA: any registers.
            return self._base_and_index(
                int(self._random() * self._registers), int(self._random() * self._registers), None
            )
        if chance < 0.12:
            if self._long_mode:
                return _Operand(_MODRM_RIP, bytes(4), 0, target)
            return _Operand(_MODRM_RIP, target.to_bytes(4, "little"))
        if chance < 0.2:
            return _Operand(4, b"\x25" + target.to_bytes(4, "little"))
        base, value = pointers.bases[int(self._random() * len(pointers.bases))]
        index, distance = pointers.index_and_value
        if chance < 0.7:
            return self._base_and_index(base, RSP, target - value)
        scale = int(self._random() * 4)
        offset = target - (distance << scale)
        if chance < 0.76:
            return self._base_and_index(_NO_BASE, index, offset, scale)
        return self._base_and_index(base, index, offset - value, scale)

    def _base_and_index(self, base: int, index: int, offset: int | None, scale: int = -1) -> _Operand:
        """ModRM and SIB; RSP as index is none. An `offset` of None is a random one."""
        if scale < 0:
            scale = int(self._random() * 4)
        if offset is None:
            offset = int(self._random() * (1 << 32)) - (1 << 31) >> self._rng.choice((0, 16, 24, 31))
        extension = (_X if index & 8 else 0) | (_B if base >= 0 and base & 8 else 0)
        if base == _NO_BASE:
            tail = bytes((scale << 6 | (index & 7) << 3 | RBP,)) + _signed(offset, 4)
            return _Operand(4, tail, extension)
        if offset == 0 and base & 7 != RBP:
            mod, displacement = 0, b""
        elif -128 <= offset < 128 and self._random() < 0.9:
            mod, displacement = 0x40, _signed(offset, 1)
        else:
            mod, displacement = 0x80, _signed(offset, 4)
        if index == RSP and base & 7 != RSP:
            return _Operand(mod | base & 7, displacement, extension)
        return _Operand(mod | 4, bytes((scale << 6 | (index & 7) << 3 | base & 7,)) + displacement, extension)

    def _memory_prefixes(self, form: Form, operand: _Operand, prefixes: bytearray) -> None:
        if operand.modrm >= 0xC0:
            return
        chance = self._random()
        if "lock" in form.words and chance < 0.3:
            prefixes.append(0xF0)
        elif chance > 0.97 and self._long_mode:
            prefixes.append(0x67)
        elif chance > 0.92:
            prefixes.append(_SEGMENTS[int(self._random() * (6 if self._long_mode else 3))])

    def _repeat(self, prefixes: bytearray) -> bool:
        """Whether a string instruction is repeated, and by what."""
        chance, repeated = self._random(), self._random() < 0.7
        if repeated:
            prefixes.append(0xF3 if chance < 0.5 else 0xF2)
        if chance > 0.9 and self._long_mode:
            prefixes.append(0x67)
        return repeated

    def _immediate(self, form: Form, width: int) -> tuple[bytes, int]:
        """The bytes of the immediate, and its value."""
        kind = form.immediate
        if not kind:
            return b"", 0
        chance = self._random()
        value = int(self._random() * (1 << 32))
        if chance < 0.4:
            value = _IMMEDIATES[int(self._random() * len(_IMMEDIATES))]
            if chance < 0.1:
                value = -value & 0xFFFFFFFF
        if kind == "ib":
            if form.shift[:2] == "sh" and form.shift[3:] == "di" and width == 2:
                value &= 15
            return bytes((value & 0xFF,)), value & 0xFF
        if kind == "cmp":
            return bytes((value & 7,)), 0
        if kind == "iw":
            return (value & 0xFFFF).to_bytes(2, "little"), 0
        if kind == "mo":
            return self._target(width, False).to_bytes(8, "little"), 0
        if kind == "en":
            return bytes((value & 0x3F, 0, value >> 8 & 3)), 0
        if "jump" in form.words or "call" in form.words:
            return bytes(4), 0
        if kind == "iv" and width == 8:
            value |= int(self._random() * (1 << 32)) << 32
            return value.to_bytes(8, "little"), 0
        size = min(width, 4)
        return (value & (1 << 8 * size) - 1).to_bytes(size, "little"), 0


def _signed(value: int, size: int) -> bytes:
    bits = 8 * size
    return (value & (1 << bits) - 1).to_bytes(size, "little")


def shift_effect(shift: str, width: int, immediate: int) -> Effect:
    """What a shift or rotation does with flags; the last letter of `shift` is where its count comes from.

    SDM vol. 2: with a count of 0 nothing, and OF is defined for a count of 1 alone. CL is not known here.
    """
    name, source = shift[:-1], shift[-1]
    count = 1 if source == "1" else immediate & (63 if width == 8 else 31) if source == "i" else None
    reads = C if name in ("rcl", "rcr") else 0
    if count == 0:
        return Effect(reads)
    overflow = 0 if count == 1 else O
    if name in ("rol", "ror", "rcl", "rcr"):
        return Effect(reads, 0 if count is None else C, overflow)
    beyond = width <= 2 and name in ("shl", "shr", "shld", "shrd")
    carry = C if beyond and (count is None or count > 8 * width) else 0
    if count is None:
        return Effect(0, 0, A | overflow | carry)
    return Effect(0, (C | P | Z | S | O) & ~overflow & ~carry, A | overflow | carry)
