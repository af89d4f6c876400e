"""The host's own CPU: what its CPUID instruction answers."""

import ctypes
import mmap
from collections.abc import Callable
from typing import Final

from mpvm.abi.errors import StartError
from mpvm.cpu.features import features_of
from mpvm.cpu.models import CpuModel

# push rbx; mov eax, edi; mov ecx, esi; mov r8, rdx; cpuid; mov [r8], eax; mov [r8+4], ebx; mov [r8+8], ecx;
# mov [r8+12], edx; pop rbx; ret
_CODE: Final = bytes.fromhex(
    "53 89f8 89f1 4989d0 0fa2 418900 41895804 41894808 4189500c 5b c3".replace(" ", "")
)


def reader() -> Callable[[int, int], tuple[int, int, int, int]]:
    """A function from leaf and subleaf to EAX, EBX, ECX and EDX; zeros beyond the highest leaf.

    `StartError` where the system does not let a process make code.
    """
    try:
        page = mmap.mmap(-1, len(_CODE), prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    except OSError as error:
        raise StartError(
            f"CPU host: can't run CPUID here ({error.strerror}), another model is right"
        ) from error
    page.write(_CODE)
    registers = (ctypes.c_uint32 * 4)()
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    function = ctypes.CFUNCTYPE(None, ctypes.c_uint32, ctypes.c_uint32, ctypes.c_void_p)(address)

    # The page lives as long as the function that refers to it.
    def execute(leaf: int, subleaf: int, _page: mmap.mmap = page) -> tuple[int, int, int, int]:
        function(leaf, subleaf, ctypes.addressof(registers))
        eax, ebx, ecx, edx = registers
        return eax, ebx, ecx, edx

    def read(leaf: int, subleaf: int = 0) -> tuple[int, int, int, int]:
        highest, *_ = execute(leaf & 0xC0000000, 0)
        return execute(leaf, subleaf) if leaf & 0xC0000000 <= leaf <= highest else (0, 0, 0, 0)

    return read


def host_model() -> CpuModel:
    """The host's CPU with all features of it that have names; `StartError` where CPUID can't be run."""
    read = reader()
    level, *vendor = read(0, 0)
    ebx, ecx, edx = vendor
    signature, *_ = read(1, 0)
    base_family = signature >> 8 & 0xF
    extended = base_family in (6, 15)
    name = b"".join(_bytes(*read(0x80000002 + part, 0)) for part in range(3))
    address_sizes, *_ = read(0x80000008, 0)
    return CpuModel(
        name="host",
        vendor=_bytes(ebx, edx, ecx).decode("ascii"),
        family=base_family + (signature >> 20 & 0xFF if base_family == 15 else 0),
        model=signature >> 4 & 0xF | (signature >> 16 & 0xF) << 4 if extended else signature >> 4 & 0xF,
        stepping=signature & 0xF,
        level=level,
        xlevel=read(0x80000000, 0)[0],
        model_id=name.split(b"\0")[0].decode("ascii", "replace").strip(),
        features=features_of(read),
        phys_bits=address_sizes & 0xFF or 36,
    )


def _bytes(*words: int) -> bytes:
    return b"".join(word.to_bytes(4, "little") for word in words)
