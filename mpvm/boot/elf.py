"""ELF images as boot protocols need them: entry, segments to load, notes (System V ABI, chapters 4 and 5).

Three structures of two sizes each, read with `struct`: an ELF library would cost more start-up time
than the rest of loading a kernel, and would say in its own words what is wrong with a file.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mpvm.abi.errors import BootImageError
from mpvm.boot.image import image_error
from mpvm.boot.place import low_ram_top, memory_advice
from mpvm.memory.ram import GuestRam

ELF_MAGIC = b"\x7fELF"
ELFCLASS32, ELFCLASS64 = 1, 2
ELFDATA2LSB = 1
ET_EXEC, ET_DYN = 2, 3
EM_386, EM_X86_64 = 3, 62
PT_LOAD, PT_NOTE = 1, 4

# From e_type on, after the 16 bytes of e_ident.
_HEADER = {ELFCLASS32: struct.Struct("<HHIIIIIHHH"), ELFCLASS64: struct.Struct("<HHIQQQIHHH")}
_PROGRAM32 = struct.Struct("<IIIIIIII")
_PROGRAM64 = struct.Struct("<IIQQQQQQ")
_NOTE = struct.Struct("<III")
_IDENT_BYTES = 16


class Segment(NamedTuple):
    """A program header."""

    type: int
    offset: int
    vaddr: int
    paddr: int
    filesz: int
    memsz: int
    align: int


class Note(NamedTuple):
    """An entry of a PT_NOTE segment."""

    name: bytes
    type: int
    desc: bytes


class ElfImage(NamedTuple):
    """A parsed ELF executable for x86."""

    path: Path
    data: bytes
    machine: int
    entry: int
    segments: tuple[Segment, ...]

    def notes(self) -> Iterator[Note]:
        """Every note of every PT_NOTE segment; raises `BootImageError` when one is cut off."""
        for segment in self.segments:
            if segment.type == PT_NOTE:
                yield from self._notes(segment)

    def _notes(self, segment: Segment) -> Iterator[Note]:
        # Notes of both classes are padded to 4 bytes unless the segment says 8 (GNU property notes).
        unit = 8 if segment.align == 8 else 4
        position, end = segment.offset, segment.offset + segment.filesz
        while position + _NOTE.size <= end:
            name_size, desc_size, note_type = _NOTE.unpack_from(self.data, position)
            name_start = position + _NOTE.size
            desc_start = position + _padded(_NOTE.size + name_size, unit)
            position = desc_start + _padded(desc_size, unit)
            if desc_start + desc_size > end:
                raise image_error("kernel", self.path, "an ELF note leaves its segment; give an intact image")
            yield Note(
                self.data[name_start : name_start + name_size].rstrip(b"\0"),
                note_type,
                self.data[desc_start : desc_start + desc_size],
            )

    def physical_entry(self) -> int:
        """The entry point where its segment is loaded: `e_entry` is a virtual address."""
        for segment in self.segments:
            if segment.type == PT_LOAD and segment.vaddr <= self.entry < segment.vaddr + segment.memsz:
                return self.entry - segment.vaddr + segment.paddr
        return self.entry

    def load(self, ram: GuestRam) -> tuple[int, int]:
        """Put every PT_LOAD segment at its physical address; returns the lowest and the first free one."""
        loads = [segment for segment in self.segments if segment.type == PT_LOAD and segment.memsz]
        if not loads:
            raise image_error("kernel", self.path, "has no segment to load; give a linked ELF executable")
        for segment in loads:
            end = segment.paddr + segment.memsz
            if not ram.contains(segment.paddr, segment.memsz):
                raise image_error(
                    "kernel",
                    self.path,
                    f"its segment {segment.paddr:#x}-{end - 1:#x} does not lie in RAM, which ends at"
                    f" {low_ram_top(ram):#x}; {memory_advice(end)}",
                )
            ram.write(segment.paddr, self.data[segment.offset : segment.offset + segment.filesz])
            ram.zero(segment.paddr + segment.filesz, segment.memsz - segment.filesz)
        return min(s.paddr for s in loads), max(s.paddr + s.memsz for s in loads)


def is_elf(data: bytes) -> bool:
    """Whether `data` begins as an ELF file does."""
    return data.startswith(ELF_MAGIC)


def parse_elf(path: Path, data: bytes) -> ElfImage:
    """Parse an ELF executable for i386 or x86-64; raises `BootImageError` when it is none or truncated."""

    def wrong(message: str) -> BootImageError:
        return image_error("kernel", path, message)

    if not is_elf(data):
        raise wrong("is no ELF file")
    elf_class = data[4] if len(data) > 5 else 0
    if elf_class not in _HEADER or len(data) < _IDENT_BYTES + _HEADER[elf_class].size:
        raise wrong("its ELF header is cut off or of no known class; give an intact image")
    if data[5] != ELFDATA2LSB:
        raise wrong("is a big-endian ELF file; one for x86 is right")
    kind, machine, _, entry, phoff, _, _, _, phentsize, phnum = _HEADER[elf_class].unpack_from(data, 16)
    if machine not in (EM_386, EM_X86_64):
        raise wrong(f"is an ELF file for machine {machine}; one for i386 (3) or x86-64 (62) is right")
    if kind not in (ET_EXEC, ET_DYN):
        raise wrong(f"is an ELF file of type {kind}; a linked executable (2) is right")
    program = _PROGRAM32 if elf_class == ELFCLASS32 else _PROGRAM64
    if phnum and (phentsize != program.size or phoff + phnum * phentsize > len(data)):
        raise wrong("its ELF program headers are cut off; give an intact image")
    segments = []
    for index in range(phnum):
        fields = program.unpack_from(data, phoff + index * phentsize)
        if elf_class == ELFCLASS32:
            p_type, offset, vaddr, paddr, filesz, memsz, _, align = fields
        else:
            p_type, _, offset, vaddr, paddr, filesz, memsz, align = fields
        if p_type in (PT_LOAD, PT_NOTE) and offset + filesz > len(data):
            raise wrong(f"its ELF segment {index} is cut off; give an intact image")
        if p_type == PT_LOAD and filesz > memsz:
            raise wrong(f"its ELF segment {index} is larger in the file than in memory; give an intact image")
        segments.append(Segment(p_type, offset, vaddr, paddr, filesz, memsz, align))
    return ElfImage(path, data, machine, entry, tuple(segments))


def _padded(size: int, unit: int) -> int:
    return (size + unit - 1) & -unit
