"""Random states to start from: what has once been a corner case comes more often."""

import random
import struct
from collections.abc import Callable
from typing import Final

from tests.fuzz import layout
from tests.fuzz.encoder import Pointers
from tests.fuzz.layout import RCX, RDI, RSI, RSP

_POOL_BYTES: Final = 1 << 15
_SPECIAL: Final = (
    *(
        value & (1 << 64) - 1
        for bits in (8, 16, 32, 64)
        for value in (1 << bits - 1, (1 << bits - 1) - 1, (1 << bits) - 1, -(1 << bits - 1), 1 << bits)
    ),
    *(*range(10), 16, 24, 31, 32, 33, 63, 64, 65),
)
_F32: Final = (
    *(0, 1, 0x7FFFFF, 0x800000, 0x33800000, 0x3F000000, 0x3F800000, 0x3F800001, 0x3FC00000, 0x4EFFFFFF),
    *(0x4F000000, 0x5F000000, 0x7F7FFFFF, 0x7F800000, 0x7F800001, 0x7FC00000, 0x7FC12345, 0x7FFFFFFF),
)
_F64: Final = (
    *(0, 1, 0xFFFFFFFFFFFFF, 0x10000000000000, 0x36A0000000000000, 0x3810000000000000, 0x3FE0000000000000),
    *(0x3FF0000000000000, 0x3FF0000000000001, 0x3FF8000000000000, 0x41DFFFFFFFE00000, 0x41E0000000000000),
    *(0x43E0000000000000, 0x47EFFFFFE0000000, 0x7FEFFFFFFFFFFFFF, 0x7FF0000000000000, 0x7FF0000000000001),
    *(0x7FF8000000000000, 0x7FF8000012345678),
)
_SIGNIFICANDS: Final = (
    *(1 << 63, 3 << 62, (1 << 63) + 1, (1 << 64) - 1, 0xFFFFFFFFFFFFFC00, 0x8000008000000000),
    *(0x8000000000000400, 0x8000000000000C00, 0xA000000000000000),
)
_EXPONENTS: Final = (0, 0, 1, 0x3FFF, 0x4000, 0x401E, 0x403E, 0x3F80, 0x7FFE, 0x7FFF, 0x7FFF)
_STATUS_ERROR = 0x8080


class StateSource:
    """Makes records from pools of interesting values, which are made once."""

    def __init__(self, rng: random.Random) -> None:
        self._rng, self._random = rng, rng.random
        self._pools = [
            rng.randbytes(_POOL_BYTES),
            self._pool(self._single),
            self._pool(self._double),
            self._pool(lambda: self._number().to_bytes(8, "little")),
            self._pool(lambda: rng.randrange(-3, 4).to_bytes(2, "little", signed=True)),
            # Text, for the string instructions.
            self._pool(lambda: bytes((rng.choice(b"\0ABCabc01"),))),
        ]
        self._extended_pool = self._pool(lambda: self._extended() + bytes(6))

    def record(self, slot: int, long_mode: bool) -> tuple[bytes, Pointers]:
        """A record whose code is at `slot`, and what is known of its registers."""
        rng, chance = self._rng, self._random
        count = 16 if long_mode else 8
        others = [n for n in range(count) if n not in (RSP, RSI, RDI)]
        first = others.pop(int(chance() * len(others)))
        index = others.pop(int(chance() * len(others)))
        registers = [self._number() if n < count else rng.getrandbits(64) for n in range(16)]
        if not long_mode:
            registers = [value & 0xFFFFFFFF if n < 8 else value for n, value in enumerate(registers)]
        middle = layout.DATA + layout.PAGE
        bases = []
        for register in (first, RSI, RDI, RSP):
            address = (middle if chance() < 0.98 else layout.DATA) + int(chance() * 256) - 128
            if register == RSP:
                address &= -8
            registers[register] = address
            bases.append((register, address))
        distance = int(chance() * 24) - 8
        registers[index] = distance & ((1 << 64) - 1 if long_mode else 0xFFFFFFFF)
        if RCX in others and chance() < 0.6:
            registers[RCX] = int(chance() * 20)
        flags = 0x202 | rng.getrandbits(12) & 0x8D5 | (0x400 if chance() < 0.2 else 0)
        head = self._fxsave()
        tail = struct.pack("<16QQQQ", *registers, flags, slot, layout.CS64 if long_mode else layout.CS32)
        memory = self._slice(layout.WINDOW_BYTES) + self._slice(layout.EDGE_BYTES)
        body = (head + tail).ljust(layout.MEMORY_AT, b"\0") + memory
        return body, Pointers(tuple(bases), (index, distance), tuple(others))

    def _fxsave(self) -> bytes:
        """An image as FXSAVE leaves it (SDM vol. 1, table 10-2)."""
        rng, chance = self._rng, self._random
        control = (
            rng.getrandbits(2) << 10 | (0x300 if chance() < 0.6 else rng.choice((0, 0x200, 0x300))) | 0x7F
        )
        status = rng.getrandbits(3) << 11 | rng.getrandbits(16) & 0x4700
        kind = chance()
        if kind < 0.2:
            control &= ~rng.getrandbits(6)
        if kind < 0.5:
            status |= rng.getrandbits(7) & (control | 0x40 if kind > 0.03 else 0x7F)
        if status & ~control & 0x3F:
            status |= _STATUS_ERROR
        kind = chance()
        tags = 0xFF if kind < 0.4 else 0 if kind < 0.6 else rng.getrandbits(8)
        mxcsr = 0x1F80 | rng.getrandbits(2) << 13
        kind = chance()
        if kind < 0.3:
            mxcsr |= rng.getrandbits(1) << 15 | rng.getrandbits(1) << 6
        if 0.2 < kind < 0.4:
            mxcsr |= rng.getrandbits(6)
        if kind > 0.85:
            mxcsr &= ~(rng.getrandbits(6) << 7)
        at = int(chance() * (_POOL_BYTES - 128)) & -16
        head = struct.pack("<HHBxHQQII", control, status, tags, 0, 0, 0, mxcsr, 0xFFFF)
        return (head + self._extended_pool[at : at + 128] + self._slice(256)).ljust(512, b"\0")

    def _slice(self, size: int) -> bytes:
        pool = self._pools[int(self._random() * len(self._pools))]
        at = int(self._random() * (_POOL_BYTES - size)) & -8
        return pool[at : at + size]

    def _pool(self, make: Callable[[], bytes]) -> bytes:
        pool = bytearray()
        while len(pool) < _POOL_BYTES:
            pool += make()
        return bytes(pool)

    def _number(self) -> int:
        chance = self._random()
        if chance < 0.3:
            special: int = _SPECIAL[int(self._random() * len(_SPECIAL))]
            return special
        if chance < 0.4:
            return int(self._random() * 256)
        if chance < 0.6:
            return self._rng.getrandbits(64) >> 32
        return self._rng.getrandbits(64)

    def _single(self) -> bytes:
        rng = self._rng
        value = rng.choice(_F32) if rng.random() < 0.5 else rng.getrandbits(31)
        if rng.random() < 0.3:
            value = 127 + rng.randrange(-30, 40) << 23 | rng.getrandbits(23) & -(1 << rng.randrange(23))
        return (value | rng.getrandbits(1) << 31).to_bytes(4, "little")

    def _double(self) -> bytes:
        rng = self._rng
        value = rng.choice(_F64) if rng.random() < 0.5 else rng.getrandbits(63)
        if rng.random() < 0.3:
            value = 1023 + rng.randrange(-60, 70) << 52 | rng.getrandbits(52) & -(1 << rng.randrange(52))
        return (value | rng.getrandbits(1) << 63).to_bytes(8, "little")

    def _extended(self) -> bytes:
        rng = self._rng
        kind, sign = rng.randrange(5), rng.getrandbits(1) << 15
        if kind == 0:
            exponent = rng.choice(_EXPONENTS)
            significand = rng.choice((*_SIGNIFICANDS, 0, 1, rng.getrandbits(64)))
        elif kind == 1:
            exponent, significand = rng.getrandbits(15), rng.getrandbits(64)
        else:
            exponent = 0x3FFF + rng.choice((0, 1, -1, rng.randrange(-70, 70)))
            significand = rng.choice((*_SIGNIFICANDS, rng.getrandbits(64) | 1 << 63))
        return struct.pack("<QH", significand, exponent | sign)
