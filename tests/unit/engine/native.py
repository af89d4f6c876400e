"""The same machine code run by the engine and by the host's own CPU, over the same operands.

A *kernel* is a loop over records: it loads the operands and the control registers of one, runs the
instruction under test, and stores what has become of it. The bytes that a kernel leaves behind must not
differ, whoever has run it.
"""

import ctypes
import mmap
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tests.unit.engine.assembler import Program, assemble
from tests.unit.engine.long_mode import ORIGIN, LongModeMachine

RECORD_BYTES = 64
MF, XM = 16, 19
_OPERANDS, _RESULTS, _MAILBOX = 0x400000, 0x800000, 0x38000
MAX_RECORDS = (_RESULTS - _OPERANDS) // RECORD_BYTES

# RDI: operands, RSI: results, RDX: how many records. MXCSR and the x87's control word are put back.
_PROLOGUE = """
{name}:
    push %rbx
    sub $16, %rsp
    stmxcsr (%rsp)
    fnstcw 8(%rsp)
    mov %rdx, %r10
    mov %rdi, %r8
    mov %rsi, %r9
{name}_next:
"""
_EPILOGUE = """
    add $64, %r8
    add $64, %r9
    dec %r10
    jnz {name}_next
    emms
    fnclex
    fldcw 8(%rsp)
    ldmxcsr (%rsp)
    add $16, %rsp
    pop %rbx
    ret
"""
# #XM and #MF: go on at R11, and R11 becomes where it was raised.
_FAULT = """
fault:
    xchg %r11, (%rsp)
    iretq
"""
_GUEST = f"""
    mark
    mov {_MAILBOX}, %rax
    mov $_operands, %rdi
    mov $_results, %rsi
    mov {_MAILBOX + 8}, %rdx
    call *%rax
    jmp _start
    .set _operands, {_OPERANDS}
    .set _results, {_RESULTS}
"""


class _SigAction(ctypes.Structure):
    _fields_ = (
        ("handler", ctypes.c_void_p),
        ("mask", ctypes.c_uint64 * 16),
        ("flags", ctypes.c_int),
        ("restorer", ctypes.c_void_p),
    )


_SA_SIGINFO = 4
# ucontext_t of x86-64 Linux
_R11, _RIP = 40 + 8 * 3, 40 + 8 * 16


def _go_on(_signal: int, _info: int, context: int) -> None:
    r11, rip = (ctypes.c_uint64.from_address(context + at) for at in (_R11, _RIP))
    r11.value, rip.value = rip.value, r11.value


_handler = ctypes.PYFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(_go_on)


@contextmanager
def _faults_go_on() -> Iterator[None]:
    """On the host, too, an exception goes on at R11. (The C library's sigaction: Python's would wait.)"""
    libc, old = ctypes.CDLL(None), _SigAction()
    ours = _SigAction(handler=ctypes.cast(_handler, ctypes.c_void_p), flags=_SA_SIGINFO)
    libc.sigaction(signal.SIGFPE, ctypes.byref(ours), ctypes.byref(old))
    try:
        yield
    finally:
        libc.sigaction(signal.SIGFPE, ctypes.byref(old), None)


class Kernels:
    """Kernels by name, for the host and for a guest. `body` uses R8 (operands) and R9 (results)."""

    def __init__(self, bodies: Mapping[str, str]) -> None:
        loops = [(_PROLOGUE + body + _EPILOGUE).format(name=name) for name, body in bodies.items()]
        self._program: Program = assemble("\n".join([_GUEST, _FAULT, *loops]), 64, ORIGIN)
        code = self._program.code
        self._page = mmap.mmap(-1, len(code), prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        self._page.write(code)
        self._booted: LongModeMachine | None = None

    def run_on_host(self, name: str, operands: bytes) -> bytes:
        """The results of a kernel on the host's CPU."""
        prototype = ctypes.PYFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
        base = ctypes.addressof(ctypes.c_char.from_buffer(self._page))
        results = ctypes.create_string_buffer(len(operands))
        kernel = prototype(base + self._program.labels[name] - ORIGIN)
        with _faults_go_on():
            kernel(operands, ctypes.addressof(results), len(operands) // RECORD_BYTES)
        return results.raw

    def run_in_guest(self, machine: LongModeMachine, name: str, operands: bytes) -> bytes:
        """The results of a kernel in the guest. The machine must have been booted by `boot`."""
        machine.write(_OPERANDS, operands)
        machine.write(_RESULTS, bytes(len(operands)))
        machine.store(_MAILBOX, self._program.labels[name], 8)
        machine.store(_MAILBOX + 8, len(operands) // RECORD_BYTES, 8)
        machine.mark()
        return machine.read(_RESULTS, len(operands))

    def boot(self, machine: LongModeMachine) -> None:
        """Make the machine wait for kernels to run."""
        machine.boot("nop")
        for vector in (MF, XM):
            machine.set_gate(vector, self._program.labels["fault"])
        machine.write(ORIGIN, self._program.code)
        machine.program = self._program
        machine.mark()


def differences(operands: bytes, host: bytes, guest: bytes, limit: int = 5) -> list[str]:
    """The records whose results differ, as text; at most `limit`."""
    found: list[str] = []
    for at in range(0, len(operands), RECORD_BYTES):
        record = slice(at, at + RECORD_BYTES)
        if host[record] != guest[record]:
            found.append(
                f"{operands[record].hex(' ', 8)}: {host[record].hex(' ', 8)} not {guest[record].hex(' ', 8)}"
            )
            if len(found) == limit:
                break
    return found
