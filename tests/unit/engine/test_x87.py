"""The x87: results, flags, condition codes, tags and #MF are bit by bit those of the host's CPU."""

import functools
import random
import struct
from collections.abc import Iterator

import pytest

from tests.unit.engine.long_mode import LongModeMachine
from tests.unit.engine.native import RECORD_BYTES, Kernels, differences

_RECORDS = 1200
_MASKS = 0x3F

# Record: a (becomes ST(0)), b (ST(1)), the control word, 6 bytes, an integer, a float, 4 bytes, a double.
# Result: control, status and tag word, ST(0) to ST(3), RCX, where #MF was raised.
_BODY = """
    sub $256, %rsp
    mov %rsp, %rbx
    fninit
    .rept 8
    fldz
    .endr
    fninit
    fldt 16(%r8)
    fldt (%r8)
    xor %ecx, %ecx
    mov %rcx, 128(%rbx)
    mov %rcx, 136(%rbx)
    fldcw 32(%r8)
    lea 2f(%rip), %r11
1:  {instruction}
3:  fwait
2:  lea 1b(%rip), %rax
    sub %rax, %r11
    mov %r11, 56(%r9)
    fnsave (%rbx)
    movzwl (%rbx), %eax
    mov %ax, (%r9)
    movzwl 4(%rbx), %eax
    mov %ax, 2(%r9)
    movzwl 8(%rbx), %eax
    mov %ax, 4(%r9)
    mov 28(%rbx), %rax
    mov %rax, 8(%r9)
    mov 36(%rbx), %rax
    mov %rax, 16(%r9)
    mov 44(%rbx), %rax
    mov %rax, 24(%r9)
    mov 52(%rbx), %rax
    mov %rax, 32(%r9)
    mov 60(%rbx), %rax
    mov %rax, 40(%r9)
    mov %rcx, 48(%r9)
    add $256, %rsp
"""
_STORED = "; mov 128(%rbx), %rcx; add 136(%rbx), %rcx"
_FLAGS = "; pushfq; pop %rcx; and $0x8d5, %ecx"
_ARITHMETIC = ("add", "mul", "sub", "subr", "div", "divr")
_FUNCTIONS = [
    *("fsqrt", "frndint", "f2xm1", "fsin", "fcos", "fprem", "fprem1", "fscale", "fyl2x", "fyl2xp1"),
    *("fpatan", "fxtract", "fptan", "fsincos", "fchs", "fabs", "fxam", "ftst"),
]
_CONSTANTS = ("fld1", "fldl2t", "fldl2e", "fldpi", "fldlg2", "fldln2", "fldz")


def _instructions() -> Iterator[str]:
    for name in _ARITHMETIC:
        yield from (f"f{name} %st(1), %st", f"f{name} %st, %st(1)", f"f{name}p", f"f{name} %st, %st")
        yield from (f"f{name}s 48(%r8)", f"f{name}l 56(%r8)", f"fi{name}l 40(%r8)", f"fi{name}s 40(%r8)")
        yield from (f"f{name} %st(2), %st", f"f{name} %st, %st(2)")
    for name in ("fcom", "fcomp", "fucom", "fucomp"):
        yield from (f"{name} %st(1)", f"{name} %st(2)")
    yield from ("fcompp", "fucompp", "fcoms 48(%r8)", "fcompl 56(%r8)", "ficoml 40(%r8)", "ficomps 40(%r8)")
    for name in ("fcomi", "fcomip", "fucomi", "fucomip"):
        yield f"{name} %st(1), %st" + _FLAGS
        yield f"{name} %st(2), %st" + _FLAGS
    yield from (*_FUNCTIONS, *_CONSTANTS)
    yield from (
        "flds 48(%r8)",
        "fldl 56(%r8)",
        "fildl 40(%r8)",
        "filds 40(%r8)",
        "fildll 40(%r8)",
        "fldt (%r8)",
    )
    yield from (
        "fld %st(1)",
        "fld %st(3)",
        "fxch",
        "fxch %st(2)",
        "fst %st(1)",
        "fstp %st(2)",
        "ffree %st(1)",
    )
    yield from ("fincstp", "fdecstp", "fcmovb %st(1), %st", "fcmovnb %st(1), %st", "fnop", "fnclex")
    for name in ("fsts", "fstps", "fstl", "fstpl", "fists", "fistps", "fistl", "fistpl", "fistpll"):
        yield f"{name} 128(%rbx)" + _STORED
    for name in ("fisttps", "fisttpl", "fisttpll", "fstpt", "fbstp"):
        yield f"{name} 128(%rbx)" + _STORED
    yield "fbstp 128(%rbx); fbld 128(%rbx)"
    yield from (
        "fldz; " * 6 + "fldpi",
        "fldz; " * 7 + "flds 48(%r8)",
        "fstp %st; fstp %st; fsqrt",
        "fnstsw %ax; mov %ax, %cx",
    )
    yield "fstp %st; fstp %st; fstpl 128(%rbx)" + _STORED
    yield "fstp %st; fstp %st; fistpl 128(%rbx)" + _STORED
    yield from ("fadd %st(1), %st; fsqrt", "fdivp; fldcw 32(%r8)", "fnstenv 128(%rbx); fldenv 128(%rbx)")


INSTRUCTIONS = list(_instructions())


def _label(instruction: str) -> str:
    return f"k{INSTRUCTIONS.index(instruction)}"


def make_kernels(masked: bool) -> Kernels:
    """A store that stops at an unmasked exception writes nothing on a CPU, and a masked result here."""
    return Kernels(
        {
            _label(text): _BODY.format(instruction=text if masked else text.removesuffix(_STORED))
            for text in INSTRUCTIONS
        }
    )


_SIGNIFICANDS = [
    *(
        0x8000000000000000,
        0xC000000000000000,
        0x8000000000000001,
        0xFFFFFFFFFFFFFFFF,
        0xFFFFFFFFFFFFFC00,
    ),
    *(0x8000008000000000, 0x8000000000000400, 0x8000000000000C00, 0xA000000000000000),
]
_SPECIAL = [
    *((0, 0), (0, 1), (0, 0x7FFFFFFFFFFFFFFF), (0, 0x8000000000000000), (1, 0x8000000000000000)),
    *((0x7FFF, 0x8000000000000000), (0x7FFF, 0xC000000000000000), (0x7FFF, 0x8000000000000001)),
    *((0x7FFF, 0xFFFFFFFFFFFFFFFF), (0x7FFF, 0xC000000012345678), (0x7FFE, 0xFFFFFFFFFFFFFFFF)),
    *((0x7FFF, 0), (0x7FFF, 0x4000000000000000), (0x3FFF, 0x4000000000000000), (0x7FFE, 0x8000000000000000)),
    *((0x403E, 0x8000000000000000), (0x401E, 0x8000000000000000), (0x3F80, 0xFFFFFFFFFFFFFFFF)),
]


def _extended(rng: random.Random) -> bytes:
    kind = rng.randrange(5)
    sign = rng.getrandbits(1) << 15
    if kind == 0:
        exponent, significand = rng.choice(_SPECIAL)
    elif kind == 1:
        exponent, significand = rng.getrandbits(15), rng.getrandbits(64)
    else:
        exponent = 0x3FFF + rng.choice((0, 1, -1, rng.randrange(-70, 70)))
        significand = rng.choice((*_SIGNIFICANDS, rng.getrandbits(64) | 1 << 63))
    return struct.pack("<QH", significand, exponent | sign)


@functools.cache
def records(masked: bool = True) -> bytes:
    """Operands with every rounding mode and precision."""
    rng = random.Random(masked)
    made = []
    for _ in range(_RECORDS):
        control = rng.choice((0, 2, 3, 3)) << 8 | rng.getrandbits(2) << 10 | 0x40
        control |= _MASKS if masked else rng.choice((0, rng.getrandbits(6)))
        single = rng.choice(
            (rng.getrandbits(32), 0x7F800001, 0x7FC00000, 1, 0x3F800000, 0x80000000, 0xFF800000)
        )
        double = rng.choice((rng.getrandbits(64), 0x7FF0000000000001, 1, 0x3FF0000000000001, 0, 0xFFF0 << 48))
        integer = rng.choice((rng.getrandbits(64), 0, 1, 0x80000000, 1 << 63, 0x8000))
        made.append(
            struct.pack(
                "<10s6x10s6xH6xQI4xQ", _extended(rng), _extended(rng), control, integer, single, double
            )
        )
    assert len(made[0]) == RECORD_BYTES
    return b"".join(made)


@pytest.mark.parametrize("masked", [True, False], ids=["masked", "unmasked"])
def test_results_and_flags_are_those_of_the_host(long_mode: LongModeMachine, masked: bool) -> None:
    kernels = make_kernels(masked)
    kernels.boot(long_mode)
    wrong = {}
    for text in INSTRUCTIONS:
        host = kernels.run_on_host(_label(text), records(masked))
        guest = kernels.run_in_guest(long_mode, _label(text), records(masked))
        if host != guest:
            wrong[text] = differences(records(masked), host, guest)
    assert not wrong
