"""SSE to SSE4.2, AES, PCLMULQDQ and MMX, as `tests.fuzz.forms` reads them."""

from collections.abc import Iterator
from typing import Final

_FLOAT: Final = {"sqrt": "51", "add": "58", "mul": "59", "sub": "5C", "min": "5D", "div": "5E", "max": "5F"}
_LOGIC: Final = {"and": "54", "andn": "55", "or": "56", "xor": "57", "unpckl": "14", "unpckh": "15"}
_SUFFIXES: Final = (("ps", "", "X16"), ("pd", "66:", "X16"), ("ss", "F3:", "X4"), ("sd", "F2:", "X8"))

_ROUND: Final = {"ps": "08", "pd": "09", "ss": "0A", "sd": "0B"}

# MMX's, with 66h SSE2's.
_BOTH: Final = {
    "60": "punpcklbw",
    "61": "punpcklwd",
    "62": "punpckldq",
    "63": "packsswb",
    "64": "pcmpgtb",
    "65": "pcmpgtw",
    "66": "pcmpgtd",
    "67": "packuswb",
    "68": "punpckhbw",
    "69": "punpckhwd",
    "6A": "punpckhdq",
    "6B": "packssdw",
    "74": "pcmpeqb",
    "75": "pcmpeqw",
    "76": "pcmpeqd",
    "D1": "psrlw",
    "D2": "psrld",
    "D3": "psrlq",
    "D4": "paddq",
    "D5": "pmullw",
    "D8": "psubusb",
    "D9": "psubusw",
    "DA": "pminub",
    "DB": "pand",
    "DC": "paddusb",
    "DD": "paddusw",
    "DE": "pmaxub",
    "DF": "pandn",
    "E0": "pavgb",
    "E1": "psraw",
    "E2": "psrad",
    "E3": "pavgw",
    "E4": "pmulhuw",
    "E5": "pmulhw",
    "E8": "psubsb",
    "E9": "psubsw",
    "EA": "pminsw",
    "EB": "por",
    "EC": "paddsb",
    "ED": "paddsw",
    "EE": "pmaxsw",
    "EF": "pxor",
    "F1": "psllw",
    "F2": "pslld",
    "F3": "psllq",
    "F4": "pmuludq",
    "F5": "pmaddwd",
    "F6": "psadbw",
    "F8": "psubb",
    "F9": "psubw",
    "FA": "psubd",
    "FB": "psubq",
    "FC": "paddb",
    "FD": "paddw",
    "FE": "paddd",
}
_SSSE3: Final = {
    "00": "pshufb",
    "01": "phaddw",
    "02": "phaddd",
    "03": "phaddsw",
    "04": "pmaddubsw",
    "05": "phsubw",
    "06": "phsubd",
    "07": "phsubsw",
    "08": "psignb",
    "09": "psignw",
    "0A": "psignd",
    "0B": "pmulhrsw",
    "1C": "pabsb",
    "1D": "pabsw",
    "1E": "pabsd",
}
_SSE41: Final = {
    "10": "pblendvb",
    "14": "blendvps",
    "15": "blendvpd",
    "17": "ptest",
    "28": "pmuldq",
    "29": "pcmpeqq",
    "2B": "packusdw",
    "38": "pminsb",
    "39": "pminsd",
    "3A": "pminuw",
    "3B": "pminud",
    "3C": "pmaxsb",
    "3D": "pmaxsd",
    "3E": "pmaxuw",
    "3F": "pmaxud",
    "40": "pmulld",
    "41": "phminposuw",
}
_EXTENSIONS: Final = {
    "0": ("bw", 8),
    "1": ("bd", 4),
    "2": ("bq", 2),
    "3": ("wd", 8),
    "4": ("wq", 4),
    "5": ("dq", 8),
}


def _sse() -> Iterator[str]:
    for suffix, prefix, source in _SUFFIXES:
        for name, opcode in _FLOAT.items():
            yield f"{name}{suffix} {prefix} 0F {opcode} V {source} w:2"
        yield f"cmp{suffix} {prefix} 0F C2 V {source} cmp w:3"
        yield f"round{suffix} 66: 0F 3A {_ROUND[suffix]} V {source} ib cpu:sse4_1"
        if suffix in ("ps", "ss"):
            yield f"rsqrt{suffix} {prefix} 0F 52 V {source}"
            yield f"rcp{suffix} {prefix} 0F 53 V {source}"
        else:
            prefix = ""
        if suffix in ("ps", "pd"):
            prefix = "66:" if suffix == "pd" else ""
            for name, opcode in _LOGIC.items():
                yield f"{name}{suffix} {prefix} 0F {opcode} V X16"
            yield f"shuf{suffix} {prefix} 0F C6 V X16 ib"
            yield f"movmsk{suffix} {prefix} 0F 50 Gy U"
    for opcode, name in _BOTH.items():
        yield f"{name} 66: 0F {opcode} V X16"
        yield f"{name} 0F {opcode} P {'Q4' if opcode in ('60', '61', '62') else 'Q8'}"
    for opcode, name in _SSSE3.items():
        yield f"{name} 66: 0F 38 {opcode} V X16 cpu:ssse3"
        yield f"{name} 0F 38 {opcode} P Q8 cpu:ssse3"
    for opcode, name in _SSE41.items():
        yield f"{name} 66: 0F 38 {opcode} V X16 {'f:all' if name == 'ptest' else ''} cpu:sse4_1"
    for digit, (name, size) in _EXTENSIONS.items():
        yield f"pmovsx{name} 66: 0F 38 2{digit} V X{size} cpu:sse4_1"
        yield f"pmovzx{name} 66: 0F 38 3{digit} V X{size} cpu:sse4_1"
    for opcode, group in (("71", (2, 4, 6)), ("72", (2, 4, 6)), ("73", (2, 6))):
        for extension in group:
            yield f"shift 66: 0F {opcode} /{extension} U ib"
            yield f"shift 0F {opcode} /{extension} N ib"
    yield "psrldq 66: 0F 73 /3 U ib"
    yield "pslldq 66: 0F 73 /7 U ib"


_OTHERS: Final = """
    movups 0F 10 V Xu16
    movups 0F 11 V Xu16
    movupd 66: 0F 10 V Xu16
    movupd 66: 0F 11 V Xu16
    movss F3: 0F 10 V X4
    movss F3: 0F 11 V X4
    movsd F2: 0F 10 V X8
    movsd F2: 0F 11 V X8
    movlps 0F 12 V M8
    movhlps 0F 12 V U
    movlps 0F 13 V M8
    movhps 0F 16 V M8
    movlhps 0F 16 V U
    movhps 0F 17 V M8
    movlpd 66: 0F 12 V M8
    movlpd 66: 0F 13 V M8
    movhpd 66: 0F 16 V M8
    movhpd 66: 0F 17 V M8
    movsldup F3: 0F 12 V X16
    movshdup F3: 0F 16 V X16
    movddup F2: 0F 12 V X8
    movaps 0F 28 V X16
    movaps 0F 29 V X16
    movapd 66: 0F 28 V X16
    movapd 66: 0F 29 V X16
    movdqa 66: 0F 6F V X16
    movdqa 66: 0F 7F V X16
    movdqu F3: 0F 6F V Xu16
    movdqu F3: 0F 7F V Xu16
    lddqu F2: 0F F0 V Mu16
    movntps 0F 2B V M16
    movntpd 66: 0F 2B V M16
    movntdq 66: 0F E7 V M16
    movntdqa 66: 0F 38 2A V M16 cpu:sse4_1
    movntq 0F E7 P M8
    movd 66: 0F 6E V Ey
    movd 66: 0F 7E V Ey
    movq F3: 0F 7E V X8
    movq 66: 0F D6 V X8
    movd 0F 6E P Ey
    movd 0F 7E P Ey
    movq 0F 6F P Q8
    movq 0F 7F P Q8
    movq2dq F3: 0F D6 V N
    movdq2q F2: 0F D6 P U
    maskmovdqu 66: 0F F7 V U
    maskmovq 0F F7 P N
    pmovmskb 66: 0F D7 Gy U
    pmovmskb 0F D7 Gy N
    ucomiss 0F 2E V X4 f:all
    comiss 0F 2F V X4 f:all
    ucomisd 66: 0F 2E V X8 f:all
    comisd 66: 0F 2F V X8 f:all
    cvtpi2ps 0F 2A V N  # with memory, vendors differ in whether it is MMX
    cvtpi2pd 66: 0F 2A V N
    cvtsi2ss F3: 0F 2A V Ey
    cvtsi2sd F2: 0F 2A V Ey
    cvttps2pi 0F 2C P X8
    cvttpd2pi 66: 0F 2C P X16
    cvttss2si F3: 0F 2C Gy X4
    cvttsd2si F2: 0F 2C Gy X8
    cvtps2pi 0F 2D P X8
    cvtpd2pi 66: 0F 2D P X16
    cvtss2si F3: 0F 2D Gy X4
    cvtsd2si F2: 0F 2D Gy X8
    cvtps2pd 0F 5A V X8
    cvtpd2ps 66: 0F 5A V X16
    cvtss2sd F3: 0F 5A V X4
    cvtsd2ss F2: 0F 5A V X8
    cvtdq2ps 0F 5B V X16
    cvtps2dq 66: 0F 5B V X16
    cvttps2dq F3: 0F 5B V X16
    cvttpd2dq 66: 0F E6 V X16
    cvtdq2pd F3: 0F E6 V X8
    cvtpd2dq F2: 0F E6 V X16
    haddpd 66: 0F 7C V X16
    haddps F2: 0F 7C V X16
    hsubpd 66: 0F 7D V X16
    hsubps F2: 0F 7D V X16
    addsubpd 66: 0F D0 V X16
    addsubps F2: 0F D0 V X16
    punpcklqdq 66: 0F 6C V X16
    punpckhqdq 66: 0F 6D V X16
    pshufd 66: 0F 70 V X16 ib
    pshufhw F3: 0F 70 V X16 ib
    pshuflw F2: 0F 70 V X16 ib
    pshufw 0F 70 P Q8 ib
    pinsrw 66: 0F C4 V Ed2 ib
    pinsrw 0F C4 P Ed2 ib
    pextrw 66: 0F C5 Gy U ib
    pextrw 0F C5 Gy N ib
    pextrb 66: 0F 3A 14 V Ed1 ib cpu:sse4_1
    pextrw 66: 0F 3A 15 V Ed2 ib cpu:sse4_1
    pextr 66: 0F 3A 16 V Ey ib cpu:sse4_1
    extractps 66: 0F 3A 17 V Ed4 ib cpu:sse4_1
    pinsrb 66: 0F 3A 20 V Ed1 ib cpu:sse4_1
    insertps 66: 0F 3A 21 V X4 ib cpu:sse4_1
    pinsr 66: 0F 3A 22 V Ey ib cpu:sse4_1
    blendps 66: 0F 3A 0C V X16 ib cpu:sse4_1
    blendpd 66: 0F 3A 0D V X16 ib cpu:sse4_1
    pblendw 66: 0F 3A 0E V X16 ib cpu:sse4_1
    palignr 66: 0F 3A 0F V X16 ib cpu:ssse3
    palignr 0F 3A 0F P Q8 ib cpu:ssse3
    dpps 66: 0F 3A 40 V X16 ib cpu:sse4_1
    dppd 66: 0F 3A 41 V X16 ib cpu:sse4_1
    mpsadbw 66: 0F 3A 42 V X16 ib cpu:sse4_1
    pclmulqdq 66: 0F 3A 44 V X16 ib cpu:pclmulqdq
    pcmpestrm 66: 0F 3A 60 V Xu16 ib f:all cpu:sse4_2 w:2
    pcmpestri 66: 0F 3A 61 V Xu16 ib f:all cpu:sse4_2 w:2
    pcmpistrm 66: 0F 3A 62 V Xu16 ib f:all cpu:sse4_2 w:2
    pcmpistri 66: 0F 3A 63 V Xu16 ib f:all cpu:sse4_2 w:2
    pcmpgtq 66: 0F 38 37 V X16 cpu:sse4_2
    aesimc 66: 0F 38 DB V X16 cpu:aes
    aesenc 66: 0F 38 DC V X16 cpu:aes
    aesenclast 66: 0F 38 DD V X16 cpu:aes
    aesdec 66: 0F 38 DE V X16 cpu:aes
    aesdeclast 66: 0F 38 DF V X16 cpu:aes
    aeskeygenassist 66: 0F 3A DF V X16 ib cpu:aes
    ldmxcsr 0F AE /2 M4 w:2
    stmxcsr 0F AE /3 M4 w:2
    emms 0F 77 w:3
"""

SSE: Final = "\n".join([*_sse(), _OTHERS])
