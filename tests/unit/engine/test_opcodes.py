"""Encodings that are #UD, and LOCK (SDM vol. 2, its page; vol. 3, 6.15)."""

import pytest

from tests.unit.engine.long_mode import DATA, LongModeMachine
from tests.unit.engine.real_mode import RealModeMachine

UD, GP = 6, 13

LOCK_REFUSED = [
    "movl %eax, 0x30000",
    "cmpl %eax, 0x30000",
    "cmpl $1, 0x30000",
    "addl 0x30000, %eax",
    "addl %eax, %ecx",
    "notl %eax",
    "incl %eax",
    "xchgl %eax, %ecx",
    "btl $1, 0x30000",
    "btsl %eax, %ecx",
    "btsl $1, %ecx",
    "cmpxchgl %eax, %ecx",
    "xaddl %eax, %ecx",
    "pushq 0x30000",
    "testl $1, 0x30000",
    "shldl $1, %eax, 0x30000",
    "imull 0x30000, %eax",
    "movaps %xmm0, 0x30000",
    "movsb",
    "int $0x80",
    "jmp after",
    "cpuid",
    "sgdt 0x30000",
    "movq %cr3, %rax",
    "ud2",
    ".byte 0xc4, 0xe2, 0x78, 0xf2, 0xc0",
]
LOCK_TAKEN = [
    "adcl $1, 0x30000",
    "subb %al, 0x30000",
    "negq 0x30000",
    "notw 0x30000",
    "decb 0x30000",
    "incl 0x30000",
    "xchgl %eax, 0x30000",
    "xaddl %eax, 0x30000",
    "btcl $1, 0x30000",
    "btsq %rcx, 0x30000",
    "cmpxchgb %cl, 0x30000",
    "cmpxchg8b 0x30000",
    "cmpxchg16b 0x30000",
    ".byte 0xf0, 0x48; addl $1, 0x30000",
]


@pytest.mark.parametrize("instruction", LOCK_REFUSED)
def test_lock_before_what_it_does_not_go_with_is_ud(long_mode: LongModeMachine, instruction: str) -> None:
    long_mode.boot(f"nop; at: .byte 0xf0; {instruction}; after: done", rax=1)
    long_mode.store(DATA, 0x1234, 4)
    event = long_mode.event()
    assert (event.vector, event.error_code, event.rip) == (UD, 0, long_mode.label("at"))
    assert long_mode.load(DATA, 4) == 0x1234


@pytest.mark.parametrize("instruction", LOCK_TAKEN)
def test_lock_before_a_read_modify_write_is_taken(long_mode: LongModeMachine, instruction: str) -> None:
    long_mode.boot(f".byte 0xf0; {instruction}; done")
    long_mode.finish()


def test_lock_after_another_prefix_is_seen(long_mode: LongModeMachine) -> None:
    long_mode.boot("at: .byte 0x66, 0xf0, 0x67; movl %eax, (%rcx); done", rcx=DATA)
    assert long_mode.event().vector == UD


def test_lock_is_refused_in_real_mode(real_mode: RealModeMachine) -> None:
    real_mode.boot("at: .byte 0xf0; movw %ax, (%bx); done")
    event = real_mode.event()
    assert (event.vector, event.rip) == (UD, real_mode.label("at"))


def test_a_refused_lock_at_the_end_of_memory_faults_on_its_own_bytes_only(long_mode: LongModeMachine) -> None:
    long_mode.boot("jmp *%rax; done", rax=0x13FFE)
    long_mode.write(0x13FFE, b"\xf0\x90")
    long_mode.store(long_mode.entry(0x14000), 0, 8)
    event = long_mode.event()
    assert (event.vector, event.rip) == (UD, 0x13FFE)


@pytest.mark.parametrize(
    "code",
    [
        "0x0f, 0xff, 0xc0",  # UD0
        "0x0f, 0xb9, 0xc0",  # UD1
        "0x8d, 0xc0",  # LEA of a register
        "0x0f, 0x38, 0xf0, 0xc0",  # MOVBE of a register
        "0x0f, 0x38, 0xf1, 0xc0",
        "0x8f, 0xc8",  # POP /1
        "0x8f, 0x08",
        "0xd6",
        "0xfe, 0xd0",
        "0xff, 0xf8",
        "0xff, 0xd8",
        "0xc6, 0xc8, 0",
        "0x0f, 0x0a",
        "0x0f, 0x24, 0xc0",
        "0x0f, 0xa6, 0xc0",
        "0x0f, 0xba, 0xc0, 1",
        "0x0f, 0x00, 0xf0",
        "0x8e, 0xc8",  # MOV CS
        "0x8e, 0xf0",
        "0x0f, 0x20, 0xc8",  # CR1
        "0x44, 0x0f, 0x20, 0xc8",  # CR9
        "0x44, 0x0f, 0x21, 0xc0",  # DR8
        "0xea, 0, 0, 0, 0, 8, 0",
        "0x60",
        "0x62, 0x00",
        "0xce",
        "0xd4, 0",
        "0x27",
        "0x82, 0xc0, 0",
        "0x0f, 0xc3, 0xc0",  # MOVNTI to a register
        "0xf2, 0x0f, 0xf0, 0xc0",  # LDDQU of a register
        "0x0f, 0x50, 0x04, 0x24",  # MOVMSKPS of memory
        "0x66, 0x0f, 0x50, 0x04, 0x24",
        "0x0f, 0x71, 0x14, 0x24, 1",  # PSRLW of memory
        "0x66, 0x0f, 0x72, 0x24, 0x24, 1",
        "0x66, 0x0f, 0x73, 0x3c, 0x24, 1",
    ],
)
def test_an_undefined_encoding_is_ud(long_mode: LongModeMachine, code: str) -> None:
    long_mode.boot(f"nop; at: .byte {code}; done")
    event = long_mode.event()
    assert (event.vector, event.error_code, event.rip) == (UD, 0, long_mode.label("at"))


def test_movbe_crc32_and_pop_to_memory_are_as_before(long_mode: LongModeMachine) -> None:
    long_mode.boot(
        "movbel 0x30000, %eax; crc32b %cl, %ebx; crc32l %ecx, %ebx; pushq %rax; popq 0x30008; done"
    )
    long_mode.store(DATA, 0x11223344, 4)
    assert long_mode.finish().rax == 0x44332211
    assert long_mode.load(DATA + 8, 8) == 0x44332211


@pytest.mark.parametrize("prefix", ["0x66", "0xf0", "0x2e", "0x40"])
def test_an_instruction_of_more_than_15_bytes_is_gp(long_mode: LongModeMachine, prefix: str) -> None:
    long_mode.boot(f"nop; at: .fill 15, 1, {prefix}; nop; done")
    event = long_mode.event()
    assert (event.vector, event.error_code, event.rip) == (GP, 0, long_mode.label("at"))


def test_an_instruction_of_15_bytes_runs(long_mode: LongModeMachine) -> None:
    long_mode.boot(".fill 14, 1, 0x66; nop; done")
    long_mode.finish()


@pytest.mark.parametrize("cpl", [0, 3])
def test_rdpmc_of_a_counter_that_is_not_there_is_gp(long_mode: LongModeMachine, cpl: int) -> None:
    long_mode.boot("at: rdpmc; hlt", cpl=cpl)
    event = long_mode.event()
    assert (event.vector, event.error_code, event.rip) == (GP, 0, long_mode.label("at"))
