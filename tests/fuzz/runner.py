"""The program that runs cases, the same machine code on the host and in the guest, in user mode.

It loads the state of a record, jumps to the case's code, and stores what has become of the state. A case ends
by a jump to `collect`, through GATE; who handles exceptions (a signal handler on the host, an interrupt
handler in the guest) notes the exception and makes the program go on at `collect`, with registers as they
were. After the last case comes `batch_done`, a breakpoint.
"""

from typing import Final

from tests.fuzz import layout
from tests.unit.engine.assembler import Program, assemble

_NUMBERED = tuple(f"%{name}" for name in layout.REGISTER_NAMES)
_WORDS_OF_STATE = layout.MEMORY_AT // 8
# The stack of the signal handlers, behind the program.
SIGNAL_STACK: Final = layout.RUNNER + 0x100000
SIGNAL_STACK_BYTES: Final = 0x10000
_SIGNALS = (4, 5, 7, 8, 11)  # SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV

_NAMES = "\n".join(
    f".set {name}, {value}"
    for name, value in {
        **{name.upper(): getattr(layout, name) for name in ("RECORDS", "RESULTS", "DATA", "WINDOW", "EDGE")},
        **{name: getattr(layout, name) for name in ("REGISTERS_AT", "FLAGS_AT", "VECTOR_AT", "ERROR_AT")},
        **{name: getattr(layout, name) for name in ("RIP_AT", "CR2_AT", "ENTRY_AT", "CS_AT", "MEMORY_AT")},
        **{name: getattr(layout, name) for name in ("RECORD_BYTES", "USER_SS", "CS64", "NO_EXCEPTION")},
    }.items()
)


def _loads(base: str) -> str:
    # The base is itself one of them, and comes last.
    order = [*(name for name in _NUMBERED if name != base), base]
    return "\n".join(f"mov REGISTERS_AT + {8 * _NUMBERED.index(name)}({base}), {name}" for name in order)


def _stores() -> str:
    return "\n".join(
        f"mov {name}, current + REGISTERS_AT + {8 * i}(%rip)" for i, name in enumerate(_NUMBERED)
    )


_COPY_MEMORY = f"""
    mov ${layout.WINDOW_BYTES // 8}, %ecx
    rep movsq
"""
_COPY_EDGE = f"""
    mov ${layout.EDGE_BYTES // 8}, %ecx
    rep movsq
"""

# `count`: how many cases, which whoever starts the batch writes.
_RUN = f"""
{_NAMES}
run:
    mov $USER_SS, %eax
    mov %eax, %ds
    mov %eax, %es
    movabs $RECORDS, %rax
    mov %rax, record(%rip)
    movabs $RESULTS, %rax
    mov %rax, result(%rip)
next:
    cld
    mov record(%rip), %r15
    mov $DATA, %edi
    mov ${layout.DATA_BYTES // 8}, %ecx
    xor %eax, %eax
    rep stosq
    lea MEMORY_AT(%r15), %rsi
    mov $WINDOW, %rdi
    {_COPY_MEMORY}
    mov $EDGE, %rdi
    {_COPY_EDGE}
    movq $NO_EXCEPTION, current + VECTOR_AT(%rip)
    movq $0, current + ERROR_AT(%rip)
    movq $0, current + RIP_AT(%rip)
    movq $0, current + CR2_AT(%rip)
    fxrstor64 (%r15)
    lea stack_top(%rip), %rsp
    mov ENTRY_AT(%r15), %rax
    mov %rax, target(%rip)
    mov CS_AT(%r15), %eax
    mov %ax, target + 4(%rip)
    cmp $CS64, %eax
    jne 1f
    movw $0, target + 4(%rip)
    pushq FLAGS_AT(%r15)
    popfq
    {_loads("%r15")}
    jmp *target(%rip)
1:
    pushq FLAGS_AT(%r15)
    popfq
    {_loads("%r15")}
    ljmp *target(%rip)

collect:
    {_stores()}
    lea stack_top(%rip), %rsp
    pushfq
    popq current + FLAGS_AT(%rip)
    cld
    fxsave64 current(%rip)
    mov $USER_SS, %eax
    mov %eax, %ds
    mov %eax, %es
    lea current(%rip), %rsi
    mov result(%rip), %rdi
    mov ${_WORDS_OF_STATE}, %ecx
    rep movsq
    mov $WINDOW, %rsi
    {_COPY_MEMORY}
    mov $EDGE, %rsi
    {_COPY_EDGE}
    fninit
    ldmxcsr default_mxcsr(%rip)
    addq $RECORD_BYTES, record(%rip)
    addq $RECORD_BYTES, result(%rip)
    decq count(%rip)
    jnz next
batch_done:
    int3
"""

# Linux's system calls, and its ucontext_t.
_SYS_MMAP, _SYS_SIGACTION, _SYS_SIGRETURN, _SYS_GETPID, _SYS_KILL, _SYS_PTRACE, _SYS_SIGALTSTACK = (
    *(9, 13, 15, 39, 62, 101, 131),
)
_MAP_SHARED_FIXED, _PROT = 0x11, {"code": 5, "records": 1, "results": 3, "data": 3, "constants": 1}
_SA_SIGINFO_ONSTACK_RESTORER_NODEFER = 0x4 | 0x08000000 | 0x04000000 | 0x40000000
_SIGSTOP = 19
# What must not be on while the runner goes on.
_TF_AC = 0x40100
_GREGS, _R_RIP, _R_FLAGS, _R_CS, _R_ERROR, _R_TRAP, _R_CR2 = 40, 16, 17, 18, 19, 20, 22


def _maps() -> str:
    """mmap() of the regions of file 0, which is the standard input."""
    lines, offset = [], 0
    for region in layout.REGIONS:
        lines.append(f"""
            movabs ${region.address}, %rdi
            mov ${region.size}, %esi
            mov ${_PROT[region.name]}, %edx
            mov ${_MAP_SHARED_FIXED}, %r10d
            xor %r8d, %r8d
            mov ${offset}, %r9d
            mov ${_SYS_MMAP}, %eax
            syscall
            cmp %rdi, %rax
            jne failed
        """)
        offset += region.size
    return "\n".join(lines)


def _handlers() -> str:
    return "\n".join(
        f"""
            mov ${signal}, %edi
            lea action(%rip), %rsi
            xor %edx, %edx
            mov $8, %r10d
            mov ${_SYS_SIGACTION}, %eax
            syscall
        """
        for signal in _SIGNALS
    )


def _greg(number: int) -> str:
    return f"{_GREGS + 8 * number}(%rdx)"


# What the host's process does: it asks to be traced, maps the regions, and stops itself for each batch.
_HOST = f"""
host_start:
    xor %edi, %edi
    mov ${_SYS_PTRACE}, %eax
    syscall
    {_maps()}
    lea signal_stack(%rip), %rdi
    xor %esi, %esi
    mov ${_SYS_SIGALTSTACK}, %eax
    syscall
    {_handlers()}
host_next:
    mov ${_SYS_GETPID}, %eax
    syscall
    mov %eax, %edi
    mov ${_SIGSTOP}, %esi
    mov ${_SYS_KILL}, %eax
    syscall
    jmp run
failed:
    ud2

# A signal's handler: RDX is the ucontext_t.
host_handler:
    mov {_greg(_R_TRAP)}, %rax
    mov {_greg(_R_RIP)}, %rcx
    cmp $3, %eax
    jne 1f
    lea batch_done + 1(%rip), %rsi
    cmp %rsi, %rcx
    jne 1f
    lea host_next(%rip), %rsi
    mov %rsi, {_greg(_R_RIP)}
    ret
1:
    mov %rax, current + VECTOR_AT(%rip)
    mov %rcx, current + RIP_AT(%rip)
    mov {_greg(_R_ERROR)}, %rcx
    mov %rcx, current + ERROR_AT(%rip)
    cmp $14, %eax
    jne 2f
    mov {_greg(_R_CR2)}, %rcx
    mov %rcx, current + CR2_AT(%rip)
2:
    lea collect(%rip), %rsi
    mov %rsi, {_greg(_R_RIP)}
    movw $CS64, {_greg(_R_CS)}
    andl $~{_TF_AC:#x}, {_greg(_R_FLAGS)}
    ret
restorer:
    mov ${_SYS_SIGRETURN}, %eax
    syscall
"""

_VARIABLES = f"""
    .balign {layout.PAGE}
current: .skip MEMORY_AT
    .balign 64
record: .quad 0
result: .quad 0
count: .quad 0
target: .quad 0
default_mxcsr: .quad 0x1f80
action: .quad host_handler, {_SA_SIGINFO_ONSTACK_RESTORER_NODEFER}, restorer, 0
signal_stack: .quad {SIGNAL_STACK}, 0, {SIGNAL_STACK_BYTES}
    .skip 256
stack_top:
    .balign {layout.PAGE}
program_end:
"""

PROGRAM: Final[Program] = assemble(_RUN + _HOST + _VARIABLES, 64, layout.RUNNER)
assert len(PROGRAM.code) <= layout.RUNNER_BYTES
#: What stands at GATE: a jump to `collect`.
GATE_CODE: Final = b"\xff\x25\x02\0\0\0\xcc\xcc" + PROGRAM.labels["collect"].to_bytes(8, "little")
