"""SSE floating point: results and flags are bit by bit those of the host's CPU."""

import functools
import random
import struct
from collections.abc import Iterable, Iterator

import pytest

from tests.unit.engine.long_mode import LongModeMachine
from tests.unit.engine.native import RECORD_BYTES, Kernels, differences

_RECORDS = 3000
_MASKS = 0x1F80

# Record: a, b (16 bytes each), MXCSR, 4 bytes, an integer. Its result: a, MXCSR, 4 bytes, RAX, RFLAGS.
_BODY = """
    movdqu (%r8), %xmm1
    movdqu 16(%r8), %xmm2
    mov 40(%r8), %rax
    ldmxcsr 32(%r8)
    {instruction}
    stmxcsr 16(%r9)
    movdqu %xmm1, (%r9)
    mov %rax, 24(%r9)
"""
_FLAGS = """
    pushfq
    popq 32(%r9)
"""

_ARITHMETIC = ("add", "sub", "mul", "div", "min", "max", "sqrt")
_COMPARISONS = ("cmpeq", "cmplt", "cmple", "cmpunord", "cmpneq", "cmpnlt", "cmpnle", "cmpord")
_BINARY = [name + width for name in (*_ARITHMETIC, *_COMPARISONS) for width in ("ps", "pd", "ss", "sd")]
_BINARY += ["haddps", "haddpd", "hsubps", "hsubpd", "addsubps", "addsubpd"]
_BINARY += ["rcpps", "rcpss", "rsqrtps", "rsqrtss"]
_BINARY += ["cvtps2pd", "cvtpd2ps", "cvtss2sd", "cvtsd2ss", "cvtdq2ps", "cvtdq2pd", "cvtps2dq", "cvtpd2dq"]
_BINARY += ["cvttps2dq", "cvttpd2dq"]
_ROUND = [f"round{width} ${immediate}," for width in ("ps", "pd", "ss", "sd") for immediate in range(16)]
_DOT = [f"dpps ${immediate}," for immediate in (0xFF, 0x7F, 0x31, 0xF1, 0x5A, 0x00)]
_DOT += [f"dppd ${immediate}," for immediate in (0xFF, 0x31, 0x12, 0x23, 0x30)]
_TO_INTEGER = [f"cvt{how}{width}2si" for how in ("", "t") for width in ("ss", "sd")]


def _instructions() -> Iterator[tuple[str, str]]:
    for name in (*_BINARY, *_ROUND, *_DOT):
        yield name, f"{name} %xmm2, %xmm1"
        yield f"{name} m", f"{name} 16(%r8), %xmm1".replace("16(%r8)", "(%rbx)")
    for name in _TO_INTEGER:
        yield f"{name}l", f"{name} %xmm2, %eax"
        yield f"{name}q", f"{name} %xmm2, %rax"
    for name in ("cvtsi2ss", "cvtsi2sd"):
        yield f"{name}l", f"{name}l %eax, %xmm1"
        yield f"{name}q", f"{name}q %rax, %xmm1"
    for name in ("comiss", "ucomiss", "comisd", "ucomisd"):
        yield name, f"{name} %xmm2, %xmm1" + _FLAGS + "; andl $0x8ff, 32(%r9)"


# Goes on after an exception, and tells where it was.
_TRAPPING = """
    lea 2f(%rip), %r11
1:  {instruction}
2:  lea 1b(%rip), %rcx
    sub %rcx, %r11
    mov %r11, 40(%r9)
"""


def _label(name: str) -> str:
    return "k_" + "".join(c if c.isalnum() else "_" for c in name)


INSTRUCTIONS = dict(_instructions())
_ALIGN = "movdqu 16(%r8), %xmm3; lea -32(%rsp), %rbx; and $-16, %rbx; movdqa %xmm3, (%rbx)"


def _make(instructions: Iterable[str], frame: str) -> Kernels:
    bodies = {}
    for name in instructions:
        text = INSTRUCTIONS[name]
        align = _ALIGN if "(%rbx)" in text else ""
        bodies[_label(name)] = align + _BODY.format(instruction=frame.format(instruction=text))
    return Kernels(bodies)


_F32 = [
    *(
        0,
        1,
        0x400000,
        0x7FFFFF,
        0x800000,
        0x800001,
        0x33800000,
        0x3EFFFFFF,
        0x3F000000,
        0x3F800000,
        0x3F800001,
    ),
    *(0x3FC00000, 0x4EFFFFFF, 0x4F000000, 0x4F000001, 0x5EFFFFFF, 0x5F000000, 0x7F7FFFFF, 0x7F800000),
    *(0x7F800001, 0x7FBFFFFF, 0x7FC00000, 0x7FC12345, 0x7FFFFFFF),
]
_F64 = [
    *(0, 1, 0x8000000000000, 0xFFFFFFFFFFFFF, 0x10000000000000, 0x3690000000000001, 0x36A0000000000000),
    *(0x380FFFFFE0000000, 0x3810000000000000, 0x3FE0000000000000, 0x3FF0000000000000, 0x3FF0000000000001),
    *(0x3FF8000000000000, 0x41DFFFFFFFC00000, 0x41DFFFFFFFE00000, 0x41E0000000000000, 0x43DFFFFFFFFFFFFF),
    *(0x43E0000000000000, 0x47EFFFFFE0000000, 0x47EFFFFFF0000000, 0x47F0000000000000, 0x7FEFFFFFFFFFFFFF),
    *(0x7FF0000000000000, 0x7FF0000000000001, 0x7FF7FFFFFFFFFFFF, 0x7FF8000000000000, 0x7FF8000012345678),
]


def _value(rng: random.Random, bits: int) -> int:
    """A pattern that is special, near to 1, or anything."""
    kind = rng.randrange(4)
    specials, bias, fraction = (_F32, 127, 23) if bits == 32 else (_F64, 1023, 52)
    sign = rng.getrandbits(1) << (bits - 1)
    if kind <= 1:
        return rng.choice(specials) | sign
    if kind == 2:
        exponent = bias + rng.randrange(-fraction - 4, fraction + 12)
        return sign | exponent << fraction | (rng.getrandbits(fraction) & -(1 << rng.randrange(fraction)))
    return rng.getrandbits(bits)


def _vector(rng: random.Random, bits: int) -> bytes:
    return b"".join(_value(rng, bits).to_bytes(bits // 8, "little") for _ in range(128 // bits))


@functools.cache
def records(single: bool, masks: int = _MASKS) -> bytes:
    """Operands with every rounding mode, DAZ, FTZ and flags that were set before."""
    rng = random.Random(single)
    bits = 32 if single else 64
    made = []
    for _ in range(_RECORDS):
        mxcsr = masks | rng.getrandbits(2) << 13 | rng.getrandbits(1) << 15 | rng.getrandbits(1) << 6
        mxcsr |= rng.choice((0, 0x20, 0x3F, rng.getrandbits(6))) & (mxcsr >> 7 & 0x3F)
        integer = rng.choice((rng.getrandbits(64), rng.getrandbits(rng.randrange(1, 64))))
        made.append(struct.pack("<16s16sIIQ16x", _vector(rng, bits), _vector(rng, bits), mxcsr, 0, integer))
    assert len(made[0]) == RECORD_BYTES
    return b"".join(made)


def _is_single(name: str) -> bool:
    return (
        any(part in name for part in ("ps", "ss", "dq2", "si2ss"))
        and "pd2ps" not in name
        and "sd2ss" not in name
    )


_UNMASKED = [name for name in INSTRUCTIONS if " m" not in name and "round" not in name]


@pytest.mark.parametrize("instructions", [list(INSTRUCTIONS)], ids=["all"])
def test_results_and_flags_are_those_of_the_host(long_mode: LongModeMachine, instructions: list[str]) -> None:
    assert not _differences(long_mode, instructions, "{instruction}", _MASKS)


@pytest.mark.parametrize("unmasked", [0x3F, 1, 2, 4, 8, 0x10, 0x20, 0x12, 0x30])
def test_unmasked_exceptions_are_raised_where_the_host_raises_them(
    long_mode: LongModeMachine, unmasked: int
) -> None:
    """#XM at the instruction, which has left its destination alone and set the flags that the host sets."""
    assert not _differences(long_mode, _UNMASKED, _TRAPPING, _MASKS & ~(unmasked << 7))


def _differences(
    machine: LongModeMachine, instructions: list[str], frame: str, masks: int
) -> dict[str, list[str]]:
    kernels = _make(instructions, frame)
    kernels.boot(machine)
    wrong = {}
    for name in instructions:
        operands = records(_is_single(name), masks)
        if masks != _MASKS:
            operands = operands[: 500 * RECORD_BYTES]
        host = kernels.run_on_host(_label(name), operands)
        guest = kernels.run_in_guest(machine, _label(name), operands)
        if host != guest:
            wrong[name] = differences(operands, host, guest)
    return wrong
