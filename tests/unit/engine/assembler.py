"""Guest programs in GNU assembler syntax."""

import functools
import struct
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

# Every program may use these.
_PRELUDE = """
.set EVENT, 0xf1    # a handler has recorded an event
.set MARK, 0xf2     # the program has got so far
.set DONE, 0xf4     # the program is at its end
.macro mark
    outb %al, $MARK
.endm
.macro done
    outb %al, $DONE
.Ldone\\@:
    jmp .Ldone\\@
.endm
"""
_SHT_PROGBITS, _SHT_SYMTAB = 1, 2


@dataclass(frozen=True)
class Program:
    """Machine code for `origin`, and the addresses of its labels."""

    origin: int
    code: bytes
    labels: dict[str, int]


@functools.cache
def assemble(source: str, bits: int, origin: int) -> Program:
    """Assemble `source` as 16-, 32- or 64-bit code that stands at `origin`."""
    with tempfile.TemporaryDirectory(prefix="mpvm-as-") as folder:
        text, linked = Path(folder, "program.s"), Path(folder, "program")
        text.write_text(f".code{bits}\n{_PRELUDE}\n.globl _start\n_start:\n{source}\n")
        _run("as", "--64", "-o", str(text.with_suffix(".o")), str(text))
        _run("ld", "-N", f"-Ttext={origin:#x}", "-o", str(linked), str(text.with_suffix(".o")))
        return _program(linked.read_bytes(), origin)


def _run(*command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{command[0]}: {done.stderr}"


def _program(elf: bytes, origin: int) -> Program:
    """`.text` and the symbols of an ELF64 file (System V ABI, chapter 4)."""
    (table,) = struct.unpack_from("<Q", elf, 40)
    size, count, names_index = struct.unpack_from("<HHH", elf, 58)
    sections = [struct.unpack_from("<IIQQQQIIQQ", elf, table + size * i) for i in range(count)]

    def name(strings: int, offset: int) -> str:
        start: int = sections[strings][4] + offset
        return elf[start : elf.index(b"\0", start)].decode()

    code, labels = b"", {}
    for section in sections:
        offset, length, link = section[4], section[5], section[6]
        if section[1] == _SHT_PROGBITS and name(names_index, section[0]) == ".text":
            code = elf[offset : offset + length]
        elif section[1] == _SHT_SYMTAB:
            for at in range(offset, offset + length, 24):
                symbol, _info, _other, _index, value, _size = struct.unpack_from("<IBBHQQ", elf, at)
                labels[name(link, symbol)] = value
    return Program(origin, code, labels)
