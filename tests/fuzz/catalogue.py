"""The integer instructions of user mode, as `tests.fuzz.forms` reads them."""

from collections.abc import Iterator
from typing import Final

_ALU: Final = ("add", "or", "adc", "sbb", "and", "sub", "xor", "cmp")
_ALU_EFFECTS = ("arith", "logic", "carry", "carry", "logic", "arith", "logic", "arith")
_SHIFTS: Final = ("rol", "ror", "rcl", "rcr", "shl", "shr", "shl", "sar")


def _alu() -> Iterator[str]:
    for number, (name, effect) in enumerate(zip(_ALU, _ALU_EFFECTS, strict=True)):
        base, lock = 8 * number, "" if name == "cmp" else "lock"
        yield f"{name} {base:02X} Eb Gb f:{effect} {lock}"
        yield f"{name} {base + 1:02X} Ev Gv f:{effect} {lock} w:2"
        yield f"{name} {base + 2:02X} Eb Gb f:{effect}"
        yield f"{name} {base + 3:02X} Ev Gv f:{effect} w:2"
        yield f"{name} {base + 4:02X} width:b ib f:{effect}"
        yield f"{name} {base + 5:02X} width:v iz f:{effect}"
        yield f"{name} 80 /{number} Eb ib f:{effect} {lock}"
        yield f"{name} 81 /{number} Ev iz f:{effect} {lock}"
        yield f"{name} 83 /{number} Ev ib f:{effect} {lock}"
        yield f"{name} 82 /{number} Eb ib f:{effect} o32"


def _shifts() -> Iterator[str]:
    for number, name in enumerate(_SHIFTS):
        for opcode, count in (("D0", "1"), ("C0", "i"), ("D2", "c")):
            immediate = "ib" if count == "i" else ""
            yield f"{name} {opcode} /{number} Eb {immediate} shift:{name}{count}"
            yield f"{name} {int(opcode, 16) + 1:02X} /{number} Ev {immediate} shift:{name}{count} w:2"


def _by_condition() -> Iterator[str]:
    for condition in range(16):
        yield f"cmov 0F 4{condition:X} Gv Ev"
        yield f"set 0F 9{condition:X} /0 Eb"
        yield f"j 7{condition:X} ib jump"
        yield f"j 0F 8{condition:X} iz jump -66"


_OTHERS: Final = """
    test 84 Eb Gb f:logic
    test 85 Ev Gv f:logic
    test A8 width:b ib f:logic
    test A9 width:v iz f:logic
    test F6 /0 Eb ib f:logic
    test F7 /0 Ev iz f:logic
    not F6 /2 Eb lock
    not F7 /2 Ev lock
    neg F6 /3 Eb f:arith lock
    neg F7 /3 Ev f:arith lock
    mul F6 /4 Eb f:mul w:2
    mul F7 /4 Ev f:mul w:3
    imul F6 /5 Eb f:mul w:2
    imul F7 /5 Ev f:mul w:3
    div F6 /6 Eb f:div w:2
    div F7 /6 Ev f:div w:2
    idiv F6 /7 Eb f:div w:2
    idiv F7 /7 Ev f:div w:2
    inc FE /0 Eb f:inc lock
    inc FF /0 Ev f:inc lock
    dec FE /1 Eb f:inc lock
    dec FF /1 Ev f:inc lock
    inc 40 +r width:v f:inc o32
    dec 48 +r width:v f:inc o32
    imul 0F AF Gv Ev f:mul w:2
    imul 69 Gv Ev iz f:mul w:2
    imul 6B Gv Ev ib f:mul w:2
    mov 88 Eb Gb w:2
    mov 89 Ev Gv w:3
    mov 8A Gb Eb w:2
    mov 8B Gv Ev w:3
    mov C6 /0 Eb ib
    mov C7 /0 Ev iz
    mov B0 +r width:b ib
    mov B8 +r width:v iv w:2
    mov 8C /2 Ev  # SS, which is 2Bh for both
    movabs A0 width:b mo o64
    movabs A1 width:v mo o64
    movabs A2 width:b mo o64
    movabs A3 width:v mo o64
    lea 8D Gv M0 w:4
    xchg 86 Eb Gb lock
    xchg 87 Ev Gv lock
    xchg 90 +r width:v
    pause F3: 90
    movzx 0F B6 Gv Eb width:v
    movzx 0F B7 Gv Ew width:v
    movsx 0F BE Gv Eb width:v
    movsx 0F BF Gv Ew width:v
    movsxd 63 Gv Ed width:v o64
    cbw 98 width:v
    cwd 99 width:v
    lahf 9F f:lahf
    sahf 9E f:sahf
    clc F8 f:c
    stc F9 f:c
    cmc F5 f:cmc
    cld FC
    std FD
    nop 0F 1F /0 Ev
    prefetch 0F 18 /1 M1
    prefetchw 0F 0D /1 M1
    ud 0F 0B
    push 50 +r width:v d64 w:3
    pop 58 +r width:v d64 w:3
    push FF /6 Ev d64
    pop 8F /0 Ev d64
    push 68 iz width:v d64
    push 6A ib width:v d64
    pushf 9C width:v d64 f:pushf
    popf 9D width:v d64 f:all
    enter C8 width:v d64 en
    leave C9 width:v d64
    pusha 60 width:v o32
    popa 61 width:v o32
    xadd 0F C0 Eb Gb f:arith lock
    xadd 0F C1 Ev Gv f:arith lock
    cmpxchg 0F B0 Eb Gb f:arith lock w:2
    cmpxchg 0F B1 Ev Gv f:arith lock w:2
    cmpxchg 0F B1 Rd Gd f:arith o64
    cmpxchg8b 0F C7 /1 M8 f:z lock w:2 cx
    bswap 0F C8 +r width:y
    bt 0F A3 Ev Gv f:bt
    bts 0F AB Ev Gv f:bt lock
    btr 0F B3 Ev Gv f:bt lock
    btc 0F BB Ev Gv f:bt lock
    bt 0F BA /4 Ev ib f:bt
    bts 0F BA /5 Ev ib f:bt lock
    btr 0F BA /6 Ev ib f:bt lock
    btc 0F BA /7 Ev ib f:bt lock
    bsf 0F BC Gv Ev f:bsf w:2
    bsr 0F BD Gv Ev f:bsf w:2
    tzcnt F3: 0F BC Gv Ev f:cnt cpu:bmi1
    lzcnt F3: 0F BD Gv Ev f:cnt cpu:abm
    popcnt F3: 0F B8 Gv Ev f:all cpu:popcnt
    shld 0F A4 Ev Gv ib shift:shldi w:3
    shld 0F A5 Ev Gv shift:shldc w:3
    shrd 0F AC Ev Gv ib shift:shrdi w:3
    shrd 0F AD Ev Gv shift:shrdc w:3
    movbe 0F 38 F0 Gv Mo cpu:movbe
    movbe 0F 38 F1 Gv Mo cpu:movbe
    crc32 F2: 0F 38 F0 Gy Eb width:y cpu:sse4_2
    crc32 F2: 0F 38 F1 Gy Ev width:v cpu:sse4_2 w:2
    adcx 66: 0F 38 F6 Gy Ey f:adcx cpu:adx
    adox F3: 0F 38 F6 Gy Ey f:adox cpu:adx
    movnti 0F C3 Gy Mo
    xlat D7
    cmc F5 f:cmc
    daa 27 f:daa o32
    das 2F f:daa o32
    aaa 37 f:aaa o32
    aas 3F f:aaa o32
    aam D4 ib f:aam o32
    aad D5 ib f:aam o32
    salc D6 f:salc o32
    into CE f:into o32
    bound 62 Gv Mb o32
    call E8 iz call -66
    jmp EB ib jump
    jmp E9 iz jump -66
    loopne E0 ib jump f:ifz
    loope E1 ib jump f:ifz
    loop E2 ib jump
    jcxz E3 ib jump
    lfence 0F AE E8
    mfence 0F AE F0
    sfence 0F AE F8
    andn vex.NP.0F38.y F2 Gy B Ey f:bls cpu:bmi1
    bextr vex.NP.0F38.y F7 Gy Ey B f:bextr cpu:bmi1 w:2
    blsr vex.NP.0F38.y F3 /1 B Ey f:bls cpu:bmi1
    blsmsk vex.NP.0F38.y F3 /2 B Ey f:bls cpu:bmi1
    blsi vex.NP.0F38.y F3 /3 B Ey f:bls cpu:bmi1
    bzhi vex.NP.0F38.y F5 Gy Ey B f:bls cpu:bmi2 w:2
    mulx vex.F2.0F38.y F6 Gy B Ey cpu:bmi2
    pdep vex.F2.0F38.y F5 Gy B Ey cpu:bmi2
    pext vex.F3.0F38.y F5 Gy B Ey cpu:bmi2
    rorx vex.F2.0F3A.y F0 Gy Ey ib cpu:bmi2
    sarx vex.F3.0F38.y F7 Gy Ey B cpu:bmi2
    shlx vex.66.0F38.y F7 Gy Ey B cpu:bmi2
    shrx vex.F2.0F38.y F7 Gy Ey B cpu:bmi2
    movsb A4 width:b rep w:2
    movs A5 width:v rep w:2
    cmpsb A6 width:b rep f:arith w:2
    cmps A7 width:v rep f:arith w:2
    stosb AA width:b rep w:2
    stos AB width:v rep w:2
    lodsb AC width:b rep w:2
    lods AD width:v rep w:2
    scasb AE width:b rep f:arith w:2
    scas AF width:v rep f:arith w:2
"""

INTEGER: Final = "\n".join([*_alu(), *_shifts(), *_by_condition(), _OTHERS])
