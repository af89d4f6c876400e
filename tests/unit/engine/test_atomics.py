"""Locked instructions: in place where the host can, alone where it can't (SDM vol. 3, 8.1.2)."""

import threading
import time

import pytest

from mpvm.abi.exits import ExitReason, IoDirection
from mpvm.abi.layout import PAGE_SIZE, VcpuMode
from tests.unit.engine.long_mode import DATA, LongModeMachine
from tests.unit.engine.machine import MMIO_BASE

LOCK_FREE, LOCK_HELD, LOCK_CONTENDED, LOCK_LENT = 0, 1, 2, 3
GP, PF = 13, 14
CROSSING = DATA + PAGE_SIZE - 2
LINE_SPLIT = DATA + 62
PLACES = [LINE_SPLIT, CROSSING]
READ_MODIFY_WRITE = [
    ("lock addl %edx, (%rsi)", 0x11223344 + 0x01010101),
    ("lock subl %edx, (%rsi)", 0x11223344 - 0x01010101),
    ("lock orl %edx, (%rsi)", 0x11223344 | 0x01010101),
    ("lock andl %edx, (%rsi)", 0x11223344 & 0x01010101),
    ("lock xorl %edx, (%rsi)", 0x11223344 ^ 0x01010101),
    ("lock incl (%rsi)", 0x11223345),
    ("lock decl (%rsi)", 0x11223343),
    ("lock negl (%rsi)", -0x11223344 & 0xFFFFFFFF),
    ("lock notl (%rsi)", ~0x11223344 & 0xFFFFFFFF),
    ("lock btsl $7, (%rsi)", 0x112233C4),
    ("lock btrl $2, (%rsi)", 0x11223340),
    ("lock btcl $0, (%rsi)", 0x11223345),
    ("lock xaddl %edx, (%rsi)", 0x11223344 + 0x01010101),
    ("xchgl %edx, (%rsi)", 0x01010101),
    ("lock cmpxchgl %edx, (%rsi)", 0x01010101),
]


@pytest.mark.parametrize(("instruction", "result"), READ_MODIFY_WRITE)
def test_an_aligned_operand_is_changed_in_place(
    long_mode: LongModeMachine, instruction: str, result: int
) -> None:
    long_mode.boot(f"{instruction}; done", rsi=DATA, rdx=0x01010101, rax=0x11223344)
    long_mode.store(DATA, 0x11223344, 4)
    long_mode.finish()
    assert long_mode.load(DATA, 4) == result
    assert long_mode.area.counters.exclusive_steps == 0


@pytest.mark.parametrize("place", PLACES, ids=["line", "page"])
@pytest.mark.parametrize(("instruction", "result"), READ_MODIFY_WRITE)
def test_an_operand_that_is_split_is_changed_alone(
    long_mode: LongModeMachine, instruction: str, result: int, place: int
) -> None:
    long_mode.boot(f"{instruction}; done", rsi=place, rdx=0x01010101, rax=0x11223344)
    long_mode.store(place, 0x11223344, 4)
    long_mode.finish()
    assert long_mode.load(place, 4) == result
    assert long_mode.load(place - 4, 4) == long_mode.load(place + 4, 4) == 0
    assert long_mode.area.counters.exclusive_steps == 1
    assert (long_mode.vm.exclusive, long_mode.vm.coherence_lock) == (0, 0)


@pytest.mark.parametrize("place", [DATA, LINE_SPLIT, CROSSING])
def test_xadd_gives_the_old_value_and_the_flags_of_the_sum(long_mode: LongModeMachine, place: int) -> None:
    long_mode.boot("lock xaddl %edx, (%rsi); pushfq; popq %rbx; done", rsi=place, rdx=0x80000001)
    long_mode.store(place, 0x80000000, 4)
    state = long_mode.finish()
    assert (state.rdx, long_mode.load(place, 4)) == (0x80000000, 1)
    assert state.rbx & 0x8C1 == 0x801, "CF and OF"


@pytest.mark.parametrize("place", [DATA, LINE_SPLIT, CROSSING])
def test_a_cmpxchg_that_fails_leaves_memory_and_loads_the_accumulator(
    long_mode: LongModeMachine, place: int
) -> None:
    long_mode.boot("lock cmpxchgl %edx, (%rsi); setz %bl; done", rsi=place, rdx=7, rax=1, rbx=0xFF)
    long_mode.store(place, 2, 4)
    state = long_mode.finish()
    assert (state.rax, state.rbx, long_mode.load(place, 4)) == (2, 0, 2)


@pytest.mark.parametrize("place", [DATA, LINE_SPLIT, CROSSING])
@pytest.mark.parametrize("equal", [True, False])
def test_cmpxchg8b(long_mode: LongModeMachine, place: int, equal: bool) -> None:
    long_mode.boot("lock cmpxchg8b (%rsi); setz %bpl; done", rsi=place, rdx=2, rax=1, rcx=4, rbx=3)
    held = 2 << 32 | 1 if equal else 9 << 32 | 8
    long_mode.store(place, held, 8)
    state = long_mode.finish()
    assert state.rbp == equal
    assert long_mode.load(place, 8) == (4 << 32 | 3 if equal else held)
    assert (state.rdx, state.rax) == ((2, 1) if equal else (9, 8))


@pytest.mark.parametrize("equal", [True, False])
@pytest.mark.parametrize("lock", ["lock", ""])
def test_cmpxchg16b(long_mode: LongModeMachine, equal: bool, lock: str) -> None:
    long_mode.boot(f"{lock} cmpxchg16b (%rsi); setz %bpl; done", rsi=DATA, rdx=2, rax=1 << 63, rcx=4, rbx=3)
    held = 2 << 64 | 1 << 63 if equal else 9 << 64 | 8
    long_mode.store(DATA, held, 16)
    state = long_mode.finish()
    assert state.rbp == equal
    assert long_mode.load(DATA, 16) == (4 << 64 | 3 if equal else held)
    assert (state.rdx, state.rax) == ((2, 1 << 63) if equal else (9, 8))


def test_cmpxchg16b_on_an_address_that_is_not_aligned_is_gp(long_mode: LongModeMachine) -> None:
    long_mode.boot("lock cmpxchg16b (%rsi); done", rsi=DATA + 8)
    event = long_mode.event()
    assert (event.vector, event.error_code) == (GP, 0)


def test_each_split_access_is_counted(long_mode: LongModeMachine) -> None:
    long_mode.boot("movl $10, %ecx; 1: lock incl (%rsi); decl %ecx; jnz 1b; done", rsi=CROSSING)
    long_mode.finish()
    assert long_mode.load(CROSSING, 4) == 10
    assert long_mode.area.counters.exclusive_steps == 10


def test_the_instructions_round_a_split_one_run_once(long_mode: LongModeMachine) -> None:
    long_mode.boot(
        "incl %ebx; lock incl (%rsi); incl %ebx; lock incl (%rsi); incl %ebx; done", rsi=LINE_SPLIT
    )
    assert long_mode.finish().rbx == 3
    assert long_mode.load(LINE_SPLIT, 4) == 2


@pytest.mark.parametrize("missing", [DATA, DATA + PAGE_SIZE], ids=["first page", "second page"])
def test_a_split_access_to_a_page_that_is_not_there_faults_and_then_is_done_once(
    long_mode: LongModeMachine, missing: int
) -> None:
    long_mode.boot("at: lock incl (%rsi); done", rsi=CROSSING)
    entry = long_mode.entry(missing)
    kept = long_mode.load(entry, 8)
    long_mode.store(entry, 0, 8)
    event = long_mode.event()
    assert (event.vector, event.rip) == (PF, long_mode.label("at"))
    assert long_mode.load(CROSSING, 4) == 0
    assert (long_mode.vm.exclusive, long_mode.vm.coherence_lock) == (0, 0)
    long_mode.store(entry, kept, 8)
    long_mode.finish()
    assert long_mode.load(CROSSING, 4) == 1


def test_a_split_access_at_the_start_of_a_page_is_translated_while_alone(long_mode: LongModeMachine) -> None:
    long_mode.boot("jmp at; .balign 4096; at: lock incl (%rsi); done", rsi=LINE_SPLIT)
    page = long_mode.label("at") // PAGE_SIZE
    long_mode.writers[page] = 2
    long_mode.finish()
    assert long_mode.load(LINE_SPLIT, 4) == 1
    assert long_mode.holders[page] & 1


def test_an_interrupt_waits_until_the_split_access_is_done(long_mode: LongModeMachine) -> None:
    long_mode.boot("mark; lock incl (%rsi); after: done", rsi=LINE_SPLIT, rflags=0x202)
    long_mode.area.lapic.regs[0xF0 // 4] = 0x1FF
    long_mode.mark()
    long_mode.interrupt(0x40)
    event = long_mode.event()
    assert event.vector == 0x40
    long_mode.finish()
    assert long_mode.load(LINE_SPLIT, 4) == 1


@pytest.mark.parametrize("place", [DATA, LINE_SPLIT, CROSSING])
def test_no_block_runs_while_another_vcpu_runs_alone(long_mode: LongModeMachine, place: int) -> None:
    long_mode.boot("mark; jmp 1f; 1: lock incl (%rsi); done", rsi=place)
    long_mode.mark()
    long_mode.vm.exclusive = 2
    seen: list[int] = []

    def release_when_outside() -> None:
        while long_mode.area.mode == VcpuMode.IN_GUEST:
            time.sleep(0)
        seen.append(long_mode.load(place, 4))
        long_mode.release("exclusive")

    thread = threading.Thread(target=release_when_outside)
    thread.start()
    long_mode.finish()
    thread.join()
    assert seen == [0]
    assert long_mode.load(place, 4) == 1


def test_what_comes_while_a_split_access_waits_for_the_lock_does_not_keep_it_from_running(
    long_mode: LongModeMachine,
) -> None:
    long_mode.boot("mark; lock incl (%rsi); done", rsi=LINE_SPLIT)
    long_mode.mark()
    long_mode.vm.coherence_lock = LOCK_HELD

    def release_when_awaited() -> None:
        while not long_mode.sleeps_on("coherence_lock"):
            time.sleep(0)
        long_mode.release("coherence_lock")

    thread = threading.Thread(target=release_when_awaited)
    thread.start()
    long_mode.finish()
    thread.join()
    assert long_mode.load(LINE_SPLIT, 4) == 1
    assert long_mode.area.counters.exclusive_steps == 1


def test_a_split_access_to_what_another_holds_mails_it(long_mode: LongModeMachine) -> None:
    long_mode.boot("lock incl (%rsi); done", rsi=LINE_SPLIT)
    long_mode.holders[DATA // PAGE_SIZE] = 2
    long_mode.finish()
    assert long_mode.other.mailbox.tail == 1
    assert long_mode.load(LINE_SPLIT, 4) == 1


def test_an_exit_while_alone_lends_the_lock_and_keeps_the_others_still(long_mode: LongModeMachine) -> None:
    long_mode.boot("lock incl (%rsi); done", rsi=MMIO_BASE)
    seen = []
    for direction, reply in ((IoDirection.IN, 0), (IoDirection.OUT, 41)):
        last = long_mode.run(reply)
        seen.append((last.reason, last.direction, last.direction is direction))
        assert (long_mode.vm.exclusive, long_mode.vm.coherence_lock) == (1, LOCK_LENT)
    assert last.data == 42
    long_mode.finish()
    assert (long_mode.vm.exclusive, long_mode.vm.coherence_lock) == (0, LOCK_FREE)


def test_one_who_has_lent_the_lock_goes_on_when_it_is_back(long_mode: LongModeMachine) -> None:
    long_mode.boot("lock incl (%rsi); done", rsi=MMIO_BASE)
    long_mode.run_until(ExitReason.MMIO)
    long_mode.vm.coherence_lock = LOCK_CONTENDED
    seen: list[int] = []

    def give_back() -> None:
        while not long_mode.sleeps_on("coherence_lock"):
            time.sleep(0)
        seen.append(long_mode.area.mode)
        long_mode.release("coherence_lock", LOCK_LENT)

    thread = threading.Thread(target=give_back)
    thread.start()
    long_mode.run_until(ExitReason.MMIO, 41)
    thread.join()
    assert seen == [VcpuMode.OUTSIDE]
    long_mode.finish()


def test_a_reset_of_one_who_has_lent_the_lock_frees_it(long_mode: LongModeMachine) -> None:
    long_mode.boot("lock incl (%rsi); done", rsi=MMIO_BASE)
    long_mode.run_until(ExitReason.MMIO)
    long_mode.engine.reset(load_state=False)
    assert (long_mode.vm.exclusive, long_mode.vm.coherence_lock) == (0, LOCK_FREE)


@pytest.mark.parametrize("lock", ["", "lock "], ids=["plain", "locked"])
@pytest.mark.parametrize(
    ("found", "rax", "stored"),
    [(0x11223344, 0xDEADBEEF11223344, 0x55667788), (0x99, 0x99, 0x99)],
    ids=["equal", "different"],
)
@pytest.mark.parametrize("place", [DATA, CROSSING], ids=["in place", "alone"])
def test_a_comparison_of_32_bits_writes_the_accumulator_only_where_they_differ(
    long_mode: LongModeMachine, lock: str, found: int, rax: int, stored: int, place: int
) -> None:
    """SDM vol. 2, CMPXCHG: RAX's upper half is cleared with a value from memory, and else stays."""
    long_mode.boot(
        f"{lock}cmpxchgl %edx, (%rsi); setz %bl; done",
        rsi=place,
        rdx=0x55667788,
        rax=0xDEADBEEF11223344,
        rbx=0,
    )
    long_mode.store(place, found, 4)
    state = long_mode.finish()
    assert (state.rax, long_mode.load(place, 4)) == (rax, stored)
    assert state.rbx == (found == 0x11223344)
