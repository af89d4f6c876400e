"""MMX and SSE integer instructions: results and flags are bit by bit those of the host's CPU."""

import functools
import random
from collections.abc import Iterator

import pytest

from tests.unit.engine.long_mode import LongModeMachine
from tests.unit.engine.native import RECORD_BYTES, Kernels, differences

_RECORDS = 1500

# A kernel's record: a, b, c (16 bytes each), two integers. Its result: a, c, RAX, RCX, flags.
_BODY = """
    movdqu 16(%r8), %xmm2
    lea -32(%rsp), %rbx
    and $-16, %rbx
    movdqa %xmm2, (%rbx)
    movdqu (%r8), %xmm1
    movdqu 32(%r8), %xmm0
    movq (%r8), %mm1
    movq 16(%r8), %mm2
    mov 48(%r8), %rax
    mov 56(%r8), %rdx
    xor %ecx, %ecx
    cmp %ecx, %ecx
    {instruction}
    lahf
    seto %al
    mov %rax, 48(%r9)
    movdqu %xmm1, (%r9)
    movdqu %xmm0, 16(%r9)
    movq %mm1, 32(%r9)
    mov %rcx, 40(%r9)
"""


def _names(text: str) -> list[str]:
    return text.split()


_BINARY = _names("""
    pand pandn por pxor paddb paddw paddd paddq psubb psubw psubd psubq paddsb paddsw paddusb paddusw
    psubsb psubsw psubusb psubusw pmullw pmulhuw pmulhw pmuludq pmaddwd pavgb pavgw psadbw
    pminub pminsw pmaxub pmaxsw pcmpeqb pcmpeqw pcmpeqd pcmpgtb pcmpgtw pcmpgtd
    packsswb packuswb packssdw punpcklbw punpcklwd punpckldq punpckhbw punpckhwd punpckhdq
    psrlw psraw psllw psrld psrad pslld psrlq psllq
    pshufb phaddw phaddd phaddsw phsubw phsubd phsubsw pmaddubsw pmulhrsw psignb psignw psignd
    pabsb pabsw pabsd
""")
_XMM = _names("""
    punpcklqdq punpckhqdq pmulld pminuw pminud pminsb pminsd pmaxuw pmaxud pmaxsb pmaxsd
    pcmpeqq pcmpgtq pmuldq packusdw phminposuw pblendvb blendvps blendvpd ptest
    aesenc aesenclast aesdec aesdeclast aesimc andps andnpd orps xorpd unpcklps unpckhpd
""")
_LOW_HALF = [f"pmov{sign}x{widths}" for sign in "sz" for widths in ("bw", "bd", "bq", "wd", "wq", "dq")]
_IMMEDIATES = (0, 1, 2, 3, 7, 0x0F, 0x10, 0x11, 0x1B, 0x4E, 0x5A, 0x93, 0xE4, 0xFF)
_WITH_IMMEDIATE = _names("""
    pshufd pshuflw pshufhw shufps shufpd palignr blendps blendpd pblendw mpsadbw aeskeygenassist pclmulqdq
""")
_SHIFTS = ("psrlw", "psraw", "psllw", "psrld", "psrad", "pslld", "psrlq", "psllq", "psrldq", "pslldq")
_STRINGS = ("pcmpestri", "pcmpestrm", "pcmpistri", "pcmpistrm")


def _instructions() -> Iterator[str]:
    for name in (*_BINARY, *_XMM):
        yield f"{name} %xmm2, %xmm1"
        yield f"{name} (%rbx), %xmm1"
    for name in _BINARY:
        yield f"{name} %mm2, %mm1"
    for name in _LOW_HALF:
        yield f"{name} %xmm2, %xmm1"
    for name in _WITH_IMMEDIATE:
        for immediate in _IMMEDIATES:
            yield f"{name} ${immediate}, %xmm2, %xmm1"
    for name in _SHIFTS:
        for count in (0, 1, 5, 8, 15, 16, 31, 32, 63, 64, 255):
            yield f"{name} ${count}, %xmm1"
    for name in _STRINGS:
        for control in range(128):
            yield f"{name} ${control}, %xmm2, %xmm1"
        if "est" in name:
            yield f"rex.w {name} $0x1a, %xmm2, %xmm1"
    for name in ("pmovmskb", "movmskps", "movmskpd"):
        yield f"{name} %xmm1, %ecx"
    yield from (
        "pmovmskb %mm1, %ecx",
        "movd %eax, %xmm1",
        "movq %rax, %xmm1",
        "movd %eax, %mm1",
        "palignr $3, %mm2, %mm1",
    )
    yield from ("mov %rax, %rcx; crc32b %dl, %ecx", "mov %rax, %rcx; crc32w %dx, %ecx")
    yield from ("mov %rax, %rcx; crc32l %edx, %ecx", "mov %rax, %rcx; crc32q %rdx, %rcx")
    yield from (
        "pdep %rax, %rdx, %rcx",
        "pext %rax, %rdx, %rcx",
        "mov %eax, %eax; pdep %eax, %edx, %ecx",
        "mov %eax, %eax; pext %eax, %edx, %ecx",
    )


INSTRUCTIONS = list(_instructions())
# As many as fit into the program's pages.
_GROUP = 100


def _label(instruction: str) -> str:
    return f"k{INSTRUCTIONS.index(instruction)}"


def make_kernels(instructions: list[str]) -> Kernels:
    return Kernels({_label(text): _BODY.format(instruction=text) for text in instructions})


@functools.cache
def records() -> bytes:
    """Random operands in which equal elements, limits and zeros are frequent."""
    rng = random.Random(1)
    alphabet = bytes((0, 0, 1, 2, 0x7F, 0x80, 0x81, 0xFF, 0xFF, 0x41, 0x42))
    made = []
    for _ in range(_RECORDS):
        a, b, c = (
            rng.randbytes(16) if rng.randrange(2) else bytes(rng.choices(alphabet, k=16)) for _ in range(3)
        )
        if rng.randrange(4) == 0:
            b = rng.choice(
                (a, a[rng.randrange(16) :].ljust(16, b"\0"), bytes([rng.randrange(70)]).ljust(16, b"\0"))
            )
        lengths = b"".join(
            rng.choice((rng.randrange(-18, 19), rng.getrandbits(64) - 2**63)).to_bytes(
                8, "little", signed=True
            )
            for _ in range(2)
        )
        made.append(a + b + c + lengths)
    assert len(made[0]) == RECORD_BYTES
    return b"".join(made)


@pytest.mark.parametrize("first", range(0, len(INSTRUCTIONS), _GROUP))
def test_results_and_flags_are_those_of_the_host(long_mode: LongModeMachine, first: int) -> None:
    instructions = INSTRUCTIONS[first : first + _GROUP]
    kernels = make_kernels(instructions)
    kernels.boot(long_mode)
    wrong = {}
    for text in instructions:
        host = kernels.run_on_host(_label(text), records())
        guest = kernels.run_in_guest(long_mode, _label(text), records())
        if host != guest:
            wrong[text] = differences(records(), host, guest)
    assert not wrong
