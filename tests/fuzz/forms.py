"""How an instruction is written in the catalogue, and what the generator needs to know of it.

A line of a catalogue is a name and words about its encoding, after the SDM's appendix A of volume 2:

- `66:`, `F2:`, `F3:`: a mandatory prefix; hexadecimal numbers: opcode bytes; `+r`: a register in the last;
- `vex.PP.MAP.W`: a VEX prefix, W being 0, 1 or y (by operand size), and `B`: a general register in its vvvv;
- `/0` to `/7`, or G, V, P (a general, XMM, MMX register) and the width of a general one: what ModRM.reg is;
- ModRM.rm: E and a width (general register or memory), R (register), M and a number of bytes (memory), X or U
  (XMM register or memory, register alone), Q or N (MMX), `st` (any x87 register); 16 bytes are aligned, u16
  are not; Mo is memory of the operand's width, Mb of twice that, M0 an address that is not accessed; digits
  after E's width are how much of memory it is;
- `ib iw iz iv`: immediates, `mo` an absolute address, `en` ENTER's two, `cmp` a byte up to 7;
- `lock`, `rep` (may have that prefix), `o64`, `o32` (only in this mode), `d64` (8 bytes without REX.W, never
  4), `-66` (no operand-size prefix), `jump` (goes on behind the next instruction), `call`, `cx` (REX.W makes
  16 aligned bytes of it);
- `f:CLASS`: what it does with flags; `cpu:FLAG`: the host must have it; `w:N`: its weight.

Widths are b (1), w (2), d (4), q (8), v (2, 4 or 8), y (4 or 8).
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

# RFLAGS, and above it the x87's condition codes C0 to C3: what of an instruction's effect is defined.
C, P, A, Z, S, O = 1, 4, 0x10, 0x40, 0x80, 0x800  # noqa: E741 - the flags' own names
ARITHMETIC: Final = C | P | A | Z | S | O
C0, C1, C2, C3 = (1 << bit for bit in (32, 33, 34, 35))
CODES: Final = C0 | C1 | C2 | C3


class Effect(NamedTuple):
    """Flags that an instruction reads, that it defines, and that are undefined after it."""

    reads: int = 0
    defines: int = 0
    undefined: int = 0


# Of SDM vol. 1, appendix A, and the instructions' pages in vol. 2.
EFFECTS: Final = {
    "none": Effect(),
    "arith": Effect(0, ARITHMETIC),
    "carry": Effect(C, ARITHMETIC),
    "logic": Effect(0, ARITHMETIC & ~A, A),
    "inc": Effect(0, ARITHMETIC & ~C),
    "mul": Effect(0, C | O, P | A | Z | S),
    "div": Effect(0, 0, ARITHMETIC),
    "bt": Effect(0, C, P | A | S | O),
    "bsf": Effect(0, Z, C | P | A | S | O),
    "cnt": Effect(0, C | Z, P | A | S | O),
    "all": Effect(0, ARITHMETIC),
    "bls": Effect(0, C | Z | S | O, A | P),
    "bextr": Effect(0, C | Z | O, P | A | S),
    "adcx": Effect(C, C),
    "adox": Effect(O, O),
    "z": Effect(0, Z),
    "ifz": Effect(Z),
    "c": Effect(0, C),
    "cmc": Effect(C, C),
    "lahf": Effect(C | P | A | Z | S),
    "sahf": Effect(0, C | P | A | Z | S),
    "pushf": Effect(ARITHMETIC),
    "daa": Effect(A | C, C | P | A | Z | S, O),
    "aaa": Effect(A, A | C, O | S | Z | P),
    "aam": Effect(0, S | Z | P, O | A | C),
    "salc": Effect(C),
    "into": Effect(O),
    # The x87's condition codes.
    "x": Effect(0, C1, C0 | C2 | C3),
    "xcom": Effect(0, CODES),
    "xcomi": Effect(0, C | P | Z, A | S | O | C1),
    "xany": Effect(0, 0, CODES),
    "xtrig": Effect(0, C1 | C2, C0 | C3),
    "xclear": Effect(0, 0, CODES),
    "xsw": Effect(CODES),
    "xload": Effect(0, CODES),
    "xcmovb": Effect(C, 0, CODES),
    "xcmove": Effect(Z, 0, CODES),
    "xcmovbe": Effect(C | Z, 0, CODES),
    "xcmovu": Effect(P, 0, CODES),
}
# What each condition of Jcc, SETcc and CMOVcc reads (SDM vol. 1, appendix B).
CONDITIONS: Final = tuple(
    flags for pair in (O, C, Z, C | Z, S, P, S | O, Z | S | O) for flags in (pair, pair)
)


class Form(NamedTuple):
    """One way to encode an instruction."""

    name: str
    prefix: int
    opcode: bytes
    vex: tuple[int, int, str] | None
    register_in_opcode: bool
    width: str
    reg: str
    rm: str
    rm_bytes: int
    aligned: bool
    immediate: str
    effect: Effect
    shift: str
    words: frozenset[str]
    cpu: str
    weight: int


_PREFIXES = {"66:": 0x66, "F2:": 0xF2, "F3:": 0xF3}
_VEX_PREFIXES = {"NP": 0, "66": 1, "F3": 2, "F2": 3}
_VEX_MAPS = {"0F": 1, "0F38": 2, "0F3A": 3}
_WORDS = frozenset({"lock", "rep", "o64", "o32", "d64", "-66", "B", "jump", "call", "cx"})
_IMMEDIATES = frozenset({"ib", "iw", "iz", "iv", "mo", "en", "cmp"})
WIDTHS: Final = {"b": 1, "w": 2, "d": 4, "q": 8}


_DEFAULTS: Final[dict[str, object]] = {
    **dict.fromkeys(("prefix", "rm_bytes"), 0),
    **dict.fromkeys(("width", "reg", "rm", "immediate", "shift", "cpu"), ""),
    "vex": None,
    "register_in_opcode": False,
    "aligned": False,
    "effect": EFFECTS["none"],
    "weight": 1,
}


def parse(table: str) -> Iterator[Form]:
    """The forms of a catalogue's text; `#` begins a comment."""
    for line in table.splitlines():
        words = line.partition("#")[0].split()
        if words:
            yield _form(words[0], words[1:])


def _form(name: str, words: list[str]) -> Form:
    values: dict[str, object] = {**_DEFAULTS, "name": name}
    opcode, other = bytearray(), set()
    for word in words:
        if word in _PREFIXES:
            values["prefix"] = _PREFIXES[word]
        elif word == "+r":
            values["register_in_opcode"] = True
        elif word.startswith("vex."):
            prefix, opcode_map, wide = word.split(".")[1:]
            values["vex"] = (_VEX_PREFIXES[prefix], _VEX_MAPS[opcode_map], wide)
        elif word in _WORDS:
            other.add(word)
        elif word in _IMMEDIATES:
            values["immediate"] = word
        elif word.startswith("f:"):
            values["effect"] = EFFECTS[word[2:]]
        elif word.startswith("shift:"):
            values["shift"] = word[6:]
        elif word.startswith("cpu:"):
            values["cpu"] = word[4:]
        elif word.startswith("w:"):
            values["weight"] = int(word[2:])
        elif word.startswith("width:"):
            values["width"] = word[6:]
        elif word[0] == "/" or word in ("V", "P"):
            values["reg"] = word
        elif word[0] == "G":
            values["reg"], values["width"] = "G" + word[1:], values["width"] or word[1:]
        elif word[0] in "ERMXUQN" and not _is_hexadecimal(word):
            _take_rm(values, word)
        elif word == "st":
            values["rm"] = "st"
        else:
            opcode.append(int(word, 16))
    values |= {"opcode": bytes(opcode), "words": frozenset(other)}
    return Form(**values)  # type: ignore[arg-type]


def _is_hexadecimal(word: str) -> bool:
    return len(word) == 2 and all(c in "0123456789ABCDEF" for c in word)


def _take_rm(values: dict[str, object], word: str) -> None:
    kind, rest = word[0], word[1:]
    values["rm"] = kind
    if kind in "ER":
        values["width"] = values["width"] or rest[0]
        values["rm_bytes"] = int(rest[1:] or WIDTHS.get(rest[0], 0))
    elif rest in ("o", "b", "0"):
        values["rm"] = "M" + rest
    elif rest:
        values["aligned"] = rest == "16"
        values["rm_bytes"] = int(rest.removeprefix("u"))
