"""The page map and the mailboxes (docs/coherence.md), the test being the other vCPU."""

import threading
import time

import pytest

from mpvm.abi.exits import ExitReason
from mpvm.abi.layout import MAILBOX_ENTRIES, PAGE_SIZE, MailKind, Request, VcpuMode
from mpvm.coordinator.dma import DmaEngine
from tests.unit.engine.long_mode import DATA, LongModeMachine
from tests.unit.engine.machine import DONE_PORT

OWN, OTHER = 1, 2
PAGE = DATA // PAGE_SIZE
CODE = b"\xb8\x01\0\0\0\xc3"  # movl $1, %eax; ret
HOLE = 0xA0000  # nobody's registers after RAM
STORE = f"movl $7, {DATA:#x}"
CALL = f"movl ${DATA:#x}, %eax; call *%rax"


def mail(machine: LongModeMachine) -> list[tuple[int, int]]:
    """What waits in the other vCPU's mailbox."""
    box = machine.other.mailbox
    entries = [box.mail[i % MAILBOX_ENTRIES] for i in range(box.head, box.tail)]
    return [(entry.kind, entry.page) for entry in entries]


def post(machine: LongModeMachine, kind: MailKind, page: int = PAGE) -> None:
    """Mail to the vCPU as the holder of the coherence lock sends it."""
    box = machine.area.mailbox
    box.mail[box.tail % MAILBOX_ENTRIES].kind = kind
    box.mail[box.tail % MAILBOX_ENTRIES].page = page
    box.tail += 1


def test_a_store_sets_the_writer_bit_of_its_page_only(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{STORE}; done")
    long_mode.finish()
    assert long_mode.writers[PAGE] == OWN
    assert (long_mode.writers[PAGE - 1], long_mode.writers[PAGE + 1], long_mode.holders[PAGE]) == (0, 0, 0)


def test_a_load_sets_no_bit(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"movl {DATA:#x}, %eax; done")
    long_mode.finish()
    assert (long_mode.writers[PAGE], long_mode.holders[PAGE]) == (0, 0)


def test_running_code_sets_the_holder_bit_of_its_page(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{CALL}; done")
    long_mode.write(DATA, CODE)
    long_mode.finish()
    assert (long_mode.holders[PAGE], long_mode.writers[PAGE]) == (OWN, 0)


def test_a_block_across_two_pages_holds_both(long_mode: LongModeMachine) -> None:
    long_mode.boot("call *%rsi; done", rsi=DATA + PAGE_SIZE - 2)
    long_mode.write(DATA + PAGE_SIZE - 2, CODE)
    long_mode.finish()
    assert (long_mode.holders[PAGE], long_mode.holders[PAGE + 1]) == (OWN, OWN)


def test_marking_a_page_table_entry_is_a_store_to_its_page(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"movl {DATA:#x}, %eax; done")
    table = long_mode.entry(DATA) // PAGE_SIZE
    long_mode.holders[table] = OTHER
    long_mode.finish()
    assert (MailKind.DROP_CODE, table) in mail(long_mode)
    assert long_mode.holders[table] == 0


@pytest.mark.parametrize(
    "store",
    [STORE, f"lock incl {DATA:#x}", f"movups %xmm0, {DATA:#x}", f"pushq {DATA + 8:#x}; popq {DATA:#x}"],
)
def test_a_store_to_what_another_holds_mails_drop_code_and_takes_its_bit(
    long_mode: LongModeMachine, store: str
) -> None:
    long_mode.boot(f"{store}; done")
    long_mode.holders[PAGE] = OTHER
    long_mode.finish()
    assert mail(long_mode) == [(MailKind.DROP_CODE, PAGE)]
    assert (long_mode.holders[PAGE], long_mode.writers[PAGE]) == (0, OWN)
    assert long_mode.vm.coherence_lock == 0


def test_a_store_to_what_nobody_holds_mails_nobody(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{STORE}; done")
    long_mode.writers[PAGE] = OTHER
    long_mode.finish()
    assert mail(long_mode) == []
    assert long_mode.writers[PAGE] == OWN | OTHER


def test_translating_what_another_may_write_mails_watch_writes_and_takes_its_bit(
    long_mode: LongModeMachine,
) -> None:
    long_mode.boot(f"{CALL}; done")
    long_mode.write(DATA, CODE)
    long_mode.writers[PAGE] = OTHER
    long_mode.finish()
    assert mail(long_mode) == [(MailKind.WATCH_WRITES, PAGE)]
    assert (long_mode.writers[PAGE], long_mode.holders[PAGE]) == (0, OWN)
    assert long_mode.vm.coherence_lock == 0


def test_both_pages_of_a_block_are_asked_for(long_mode: LongModeMachine) -> None:
    long_mode.boot("call *%rsi; done", rsi=DATA + PAGE_SIZE - 2)
    long_mode.write(DATA + PAGE_SIZE - 2, CODE)
    long_mode.writers[PAGE] = long_mode.writers[PAGE + 1] = OTHER
    long_mode.finish()
    assert sorted(mail(long_mode)) == [(MailKind.WATCH_WRITES, PAGE), (MailKind.WATCH_WRITES, PAGE + 1)]


def test_many_vcpus_are_all_mailed_at_their_own_box(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{STORE}; movl $7, {DATA + PAGE_SIZE:#x}; done")
    long_mode.holders[PAGE] = long_mode.holders[PAGE + 1] = OTHER
    long_mode.finish()
    assert mail(long_mode) == [(MailKind.DROP_CODE, PAGE), (MailKind.DROP_CODE, PAGE + 1)]
    assert long_mode.area.mailbox.tail == 0


@pytest.mark.parametrize("mode", [VcpuMode.OUTSIDE, VcpuMode.HALTED, VcpuMode.WAIT_FOR_SIPI, VcpuMode.PAUSED])
def test_one_outside_the_guest_is_not_waited_for(long_mode: LongModeMachine, mode: VcpuMode) -> None:
    long_mode.other.mode = mode
    long_mode.boot(f"{STORE}; done")
    long_mode.holders[PAGE] = OTHER
    long_mode.finish()
    assert mail(long_mode) == [(MailKind.DROP_CODE, PAGE)]


@pytest.mark.parametrize(("waiting", "overflow"), [(MAILBOX_ENTRIES - 1, 0), (MAILBOX_ENTRIES, 1)])
def test_mail_to_a_full_box_sets_its_overflow(
    long_mode: LongModeMachine, waiting: int, overflow: int
) -> None:
    box = long_mode.other.mailbox
    box.head, box.tail = 100, 100 + waiting
    long_mode.boot(f"{STORE}; done")
    long_mode.holders[PAGE] = OTHER
    long_mode.finish()
    assert (box.overflow, box.tail) == (overflow, 100 + MAILBOX_ENTRIES)
    assert long_mode.holders[PAGE] == 0


def test_mail_counts_on_past_the_end_of_32_bits(long_mode: LongModeMachine) -> None:
    box = long_mode.other.mailbox
    box.head = box.tail = 0xFFFFFFFF
    long_mode.boot(f"{STORE}; done")
    long_mode.holders[PAGE] = OTHER
    long_mode.finish()
    assert (box.tail, box.mail[MAILBOX_ENTRIES - 1].page) == (0, PAGE)


def run_changed(machine: LongModeMachine) -> tuple[int, int]:
    """RAX of a function before and after the test has changed it through the host's memory."""
    machine.boot(f"{CALL}; movl %eax, %ebx; mark; {CALL}; done")
    machine.write(DATA, CODE)
    machine.mark()
    machine.write(DATA, CODE.replace(b"\x01", b"\x02"))
    return 1, 2


def test_drop_code_makes_changed_code_run(long_mode: LongModeMachine) -> None:
    want = run_changed(long_mode)
    post(long_mode, MailKind.DROP_CODE)
    state = long_mode.finish()
    assert (state.rbx, state.rax) == want
    assert long_mode.area.mailbox.head == long_mode.area.mailbox.tail == 1
    assert long_mode.area.counters.code_drops == 1


def test_code_stays_when_nobody_mails(long_mode: LongModeMachine) -> None:
    run_changed(long_mode)
    state = long_mode.finish()
    assert (state.rbx, state.rax) == (1, 1), "the protocol is what makes the change seen"


def test_drop_code_takes_the_own_holder_bit(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{CALL}; mark; jmp 1f; 1: done")
    long_mode.write(DATA, CODE)
    long_mode.mark()
    assert long_mode.holders[PAGE] == OWN
    post(long_mode, MailKind.DROP_CODE)
    long_mode.finish()
    assert long_mode.holders[PAGE] == 0


def test_code_that_reaches_into_registers_is_dropped_though_their_exit_came_while_it_was_translated(
    long_mode: LongModeMachine,
) -> None:
    start = HOLE - 2
    long_mode.boot("call *%rsi; movl %eax, %ebx; call *%rsi; done", rsi=start)
    long_mode.write(start, CODE[:2])
    last = long_mode.run_until(ExitReason.MMIO)
    long_mode.store(start + 1, 2, 1)
    post(long_mode, MailKind.DROP_CODE, start // PAGE_SIZE)
    while last.reason is ExitReason.MMIO:
        at = last.address - start
        last = long_mode.run(int.from_bytes(CODE[at : at + last.size], "little"))
    assert (last.address, long_mode.pause().rax) == (DONE_PORT, 2)


def test_overflow_drops_all_code(long_mode: LongModeMachine) -> None:
    want = run_changed(long_mode)
    long_mode.area.mailbox.overflow = 1
    state = long_mode.finish()
    assert (state.rbx, state.rax) == want
    assert long_mode.area.mailbox.overflow == 0


def test_overflow_makes_all_stores_ask_again(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{STORE}; mark; jmp 1f; 1: {STORE}; done")
    long_mode.mark()
    long_mode.area.mailbox.overflow = 1
    long_mode.holders[PAGE] = OTHER
    long_mode.finish()
    assert mail(long_mode) == [(MailKind.DROP_CODE, PAGE)]


def test_a_store_does_not_ask_twice(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{STORE}; mark; jmp 1f; 1: {STORE}; done")
    long_mode.mark()
    long_mode.holders[PAGE] = OTHER
    long_mode.finish()
    assert mail(long_mode) == [], "only WATCH_WRITES makes it ask again"


def test_watch_writes_makes_the_next_store_ask(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{STORE}; mark; jmp 1f; 1: {STORE}; done")
    long_mode.mark()
    post(long_mode, MailKind.WATCH_WRITES)
    long_mode.holders[PAGE] = OTHER
    long_mode.finish()
    assert mail(long_mode) == [(MailKind.DROP_CODE, PAGE)]
    assert long_mode.area.counters.write_watches == 1


def test_watch_writes_takes_the_own_writer_bit(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{STORE}; mark; jmp 1f; 1: done")
    long_mode.mark()
    assert long_mode.writers[PAGE] == OWN
    post(long_mode, MailKind.WATCH_WRITES)
    long_mode.finish()
    assert long_mode.writers[PAGE] == 0


def test_translating_a_page_that_one_writes_oneself_makes_ones_stores_ask(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"movl $0xc3, {DATA:#x}; mark; {CALL}; mark; done")
    long_mode.mark()
    assert (long_mode.writers[PAGE], long_mode.holders[PAGE]) == (OWN, 0)
    long_mode.mark()
    assert (long_mode.writers[PAGE] & OWN, long_mode.holders[PAGE]) == (0, OWN)
    long_mode.finish()


def test_mail_is_read_while_a_program_runs_without_exits(long_mode: LongModeMachine) -> None:
    # A handler's exit is where the test gets in: what it mails is read before the loop goes on.
    long_mode.boot(f"{CALL}; movl %eax, %ebx; mark; 1: {CALL}; cmpl $2, %eax; jne 1b; done")
    long_mode.write(DATA, CODE)
    long_mode.mark()
    long_mode.write(DATA, CODE.replace(b"\x01", b"\x02"))
    post(long_mode, MailKind.DROP_CODE)
    assert long_mode.finish().rax == 2


def test_a_reset_forgets_mail_and_bits(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{STORE}; done")
    long_mode.finish()
    post(long_mode, MailKind.DROP_CODE)
    long_mode.writers[PAGE] |= OTHER
    long_mode.engine.reset(load_state=False)
    assert long_mode.area.mailbox.head == long_mode.area.mailbox.tail
    assert long_mode.writers[PAGE] == OTHER
    assert not any(word & OWN for word in (*long_mode.writers, *long_mode.holders))


def test_the_lock_of_another_is_waited_for_outside(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{STORE}; done")
    long_mode.holders[PAGE] = OTHER
    long_mode.vm.coherence_lock = 1
    seen: list[int] = []

    def release_when_contended() -> None:
        while long_mode.vm.coherence_lock != 2:
            time.sleep(0)
        seen.append(long_mode.area.mode)
        seen.append(long_mode.load(DATA, 4))
        long_mode.release("coherence_lock")

    thread = threading.Thread(target=release_when_contended)
    thread.start()
    long_mode.finish()
    thread.join()
    assert seen == [VcpuMode.OUTSIDE, 0]
    assert mail(long_mode) == [(MailKind.DROP_CODE, PAGE)]
    assert long_mode.load(DATA, 4) == 7


def test_mail_that_comes_while_the_lock_is_waited_for_is_read_and_the_claim_made_again(
    long_mode: LongModeMachine,
) -> None:
    long_mode.boot(f"{STORE}; mark; {STORE}; done")
    long_mode.mark()
    post(long_mode, MailKind.WATCH_WRITES)
    long_mode.holders[PAGE] = OTHER
    long_mode.vm.coherence_lock = 1

    def mail_when_contended() -> None:
        while long_mode.vm.coherence_lock != 2:
            time.sleep(0)
        post(long_mode, MailKind.WATCH_WRITES)
        long_mode.writers[PAGE] &= ~OWN
        long_mode.release("coherence_lock")

    thread = threading.Thread(target=mail_when_contended)
    thread.start()
    long_mode.finish()
    thread.join()
    assert long_mode.writers[PAGE] == OWN
    assert long_mode.area.mailbox.head == 2


def test_stop_ends_a_wait_for_the_lock_of_one_that_has_died(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{STORE}; done")
    long_mode.holders[PAGE] = OTHER
    long_mode.vm.coherence_lock = 1
    over = threading.Event()

    def stop_when_contended() -> None:
        while long_mode.vm.coherence_lock != 2:
            time.sleep(0)
        long_mode.area.request = Request.STOP
        while not over.wait(0.001):
            long_mode.kick()

    thread = threading.Thread(target=stop_when_contended)
    thread.start()
    try:
        assert long_mode.run().reason in (ExitReason.INTR, ExitReason.IO), "it has left the wait"
    finally:
        over.set()
        thread.join()


def test_translating_from_a_page_that_a_device_stores_to_waits_for_the_lock(
    long_mode: LongModeMachine,
) -> None:
    long_mode.boot(f"{CALL}; done")
    long_mode.write(DATA, CODE)
    long_mode.vm.dma_page, long_mode.vm.coherence_lock = PAGE + 1, 1
    seen: list[int] = []

    def store_when_contended() -> None:
        while long_mode.vm.coherence_lock != 2:
            time.sleep(0)
        seen.append(long_mode.area.mode)
        long_mode.holders[PAGE] = 0
        long_mode.write(DATA, CODE.replace(b"\x01", b"\x02"))
        long_mode.vm.dma_page = 0
        long_mode.release("coherence_lock")

    thread = threading.Thread(target=store_when_contended)
    thread.start()
    state = long_mode.finish()
    thread.join()
    assert seen == [VcpuMode.OUTSIDE]
    assert (state.rax, long_mode.holders[PAGE]) == (2, OWN), "its bit is set again under the lock"


def test_translating_from_other_pages_than_a_device_stores_to_waits_for_nobody(
    long_mode: LongModeMachine,
) -> None:
    long_mode.boot(f"{CALL}; done")
    long_mode.write(DATA, CODE)
    long_mode.vm.dma_page, long_mode.vm.coherence_lock = PAGE + 2, 1
    assert long_mode.finish().rax == 1
    assert long_mode.vm.coherence_lock == 1


def test_code_that_a_device_stores_while_it_runs_runs_next(long_mode: LongModeMachine) -> None:
    vm_block = memoryview(long_mode.vm_block)
    dma = DmaEngine(vm_block, long_mode.ram, long_mode.areas, lambda: True, limit_seconds=10)
    long_mode.boot(f"1: {CALL}; movl %eax, {DATA + PAGE_SIZE:#x}; cmpl $100, %eax; jne 1b; done")
    long_mode.write(DATA, CODE)

    def store() -> None:
        for value in range(1, 101):
            while long_mode.load(DATA + PAGE_SIZE, 4) != value - 1 and value > 1:
                time.sleep(0)
            dma.store(DATA + 1, bytes([value]))

    thread = threading.Thread(target=store)
    thread.start()
    long_mode.finish()
    thread.join()
    assert long_mode.load(DATA + PAGE_SIZE, 4) == 100
    assert long_mode.area.counters.code_drops >= 99


def test_an_engine_that_goes_gives_its_bits_back_while_the_vm_runs(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{STORE}; done")
    long_mode.finish()
    long_mode.vm.runnable |= OWN | OTHER
    long_mode.holders[PAGE] |= OTHER
    assert long_mode.writers[PAGE] == OWN
    long_mode.engine.close()
    assert not any(word & OWN for word in (*long_mode.holders, *long_mode.writers))
    assert (long_mode.holders[PAGE], long_mode.vm.runnable) == (OTHER, OTHER)
