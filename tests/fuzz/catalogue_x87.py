"""The x87, as `tests.fuzz.forms` reads it."""

from collections.abc import Iterator
from typing import Final

_ARITHMETIC: Final = {0: "fadd", 1: "fmul", 4: "fsub", 5: "fsubr", 6: "fdiv", 7: "fdivr"}
_MEMORY: Final = (("D8", "M4", "s"), ("DC", "M8", "l"), ("DA", "M4", "i"), ("DE", "M2", "is"))


def _arithmetic() -> Iterator[str]:
    for number, name in _ARITHMETIC.items():
        for opcode, source, suffix in _MEMORY:
            yield f"{name}{suffix} {opcode} /{number} {source} f:x"
        for opcode in ("D8", "DC", "DE"):
            yield f"{name} {opcode} /{number} st f:x"
    for opcode, source, suffix in _MEMORY:
        yield f"fcom{suffix} {opcode} /2 {source} f:xcom"
        yield f"fcomp{suffix} {opcode} /3 {source} f:xcom"


_OTHERS: Final = """
    fcom D8 /2 st f:xcom
    fcomp D8 /3 st f:xcom
    fcompp DE D9 f:xcom
    fucom DD /4 st f:xcom
    fucomp DD /5 st f:xcom
    fucompp DA E9 f:xcom
    fcomi DB /6 st f:xcomi
    fucomi DB /5 st f:xcomi
    fcomip DF /6 st f:xcomi
    fucomip DF /5 st f:xcomi
    fld D9 /0 M4 f:x w:2
    fld DD /0 M8 f:x w:2
    fld DB /5 M10 f:x w:2
    fld D9 /0 st f:xany w:2  # which fault comes first, of two
    fst D9 /2 M4 f:x
    fstp D9 /3 M4 f:x
    fst DD /2 M8 f:x
    fstp DD /3 M8 f:x
    fstp DB /7 M10 f:x
    fst DD /2 st f:x
    fstp DD /3 st f:x w:2
    fild DF /0 M2 f:x
    fild DB /0 M4 f:x
    fild DF /5 M8 f:x
    fist DF /2 M2 f:x
    fistp DF /3 M2 f:x
    fist DB /2 M4 f:x
    fistp DB /3 M4 f:x
    fistp DF /7 M8 f:x
    fisttp DF /1 M2 f:x
    fisttp DB /1 M4 f:x
    fisttp DD /1 M8 f:x
    fbld DF /4 M10 f:x
    fbstp DF /6 M10 f:x
    fxch D9 /1 st f:x
    fcmovb DA /0 st f:xcmovb
    fcmove DA /1 st f:xcmove
    fcmovbe DA /2 st f:xcmovbe
    fcmovu DA /3 st f:xcmovu
    fcmovnb DB /0 st f:xcmovb
    fcmovne DB /1 st f:xcmove
    fcmovnbe DB /2 st f:xcmovbe
    fcmovnu DB /3 st f:xcmovu
    fchs D9 E0 f:x
    fabs D9 E1 f:x
    ftst D9 E4 f:xcom
    fxam D9 E5 f:xcom
    fld1 D9 E8 f:x
    fldl2t D9 E9 f:x
    fldl2e D9 EA f:x
    fldpi D9 EB f:x
    fldlg2 D9 EC f:x
    fldln2 D9 ED f:x
    fldz D9 EE f:x
    f2xm1 D9 F0 f:x
    fyl2x D9 F1 f:x
    fptan D9 F2 f:xtrig
    fpatan D9 F3 f:x
    fxtract D9 F4 f:x
    fprem1 D9 F5 f:xcom
    fdecstp D9 F6 f:x
    fincstp D9 F7 f:x
    fprem D9 F8 f:xcom
    fyl2xp1 D9 F9 f:x
    fsqrt D9 FA f:x
    fsincos D9 FB f:xtrig
    frndint D9 FC f:x
    fscale D9 FD f:x
    fsin D9 FE f:xtrig
    fcos D9 FF f:xtrig
    fnop D9 D0 f:xclear
    ffree DD /0 st f:xclear
    fldcw D9 /5 M2 f:xclear
    fnstcw D9 /7 M2 f:xclear
    fnstsw DD /7 M2 f:xsw w:2
    fnstsw DF E0 f:xsw w:2
    fnclex DB E2 f:xclear w:2
    fninit DB E3 f:xload
    fwait 9B f:xclear w:2
"""

X87: Final = "\n".join([*_arithmetic(), _OTHERS])
