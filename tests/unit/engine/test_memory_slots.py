"""Memory slots that come, change and go while a vCPU exists; read-only ones; the dirty log; HLT exits."""

import ctypes
import mmap
import signal
import threading
import time

from mpvm.abi import layout
from mpvm.abi.control_bits import Answer, ProcessorBased
from mpvm.abi.core import open_core
from mpvm.abi.exits import ExitReason, IoDirection
from tests.unit.engine.machine import SMP, Machine
from tests.unit.engine.real_mode import RealModeMachine
from workers.unicorn.vcpu import Vcpu

HOLE = 0xA0000
PAGE = layout.PAGE_SIZE

# Reads the first word of the hole for ever; each mark tells it.
READER = """
    movw $0xa000, %ax
    movw %ax, %ds
again:
    movw 0, %ax
    mark
    jmp again
"""


def change_slots(machine: Machine, *slots: layout.MemorySlot) -> None:
    for number, slot in enumerate(slots):
        machine.vm.slot[number] = slot
    machine.vm.slot_count = len(slots)
    machine.vm.memory_generation += 1


def low(flags: int = 0) -> layout.MemorySlot:
    return layout.MemorySlot(gpa=0, size=HOLE, offset=0, flags=flags)


def in_hole(offset: int = 0x200000, flags: int = 0, size: int = PAGE) -> layout.MemorySlot:
    return layout.MemorySlot(gpa=HOLE, size=size, offset=offset, flags=flags)


def read_log(machine: Machine, first: int = 0, count: int = HOLE // PAGE) -> set[int]:
    """The pages in the dirty log, which is empty afterwards."""
    function = open_core().engine_dirty_log
    function.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint32, ctypes.c_void_p, ctypes.c_uint64]
    function.restype = ctypes.c_bool
    bitmap = ctypes.create_string_buffer(-(-count // 8))
    assert function(ctypes.addressof(machine.vm), first, count, bitmap, 10**9)
    return {first + n for n in range(count) if bitmap.raw[n // 8] >> n % 8 & 1}


def test_a_slot_is_there_from_the_run_after_it_was_added(real_mode: RealModeMachine) -> None:
    real_mode.boot(READER)
    assert real_mode.run_until(ExitReason.MMIO).address == HOLE
    real_mode.mark(reply=0x1111)
    real_mode.store(0x200000, 0x2222, 2)
    change_slots(real_mode, low(), in_hole())
    real_mode.mark()
    assert real_mode.pause().rax & 0xFFFF == 0x2222


def test_a_slot_that_is_deleted_is_nobodys(real_mode: RealModeMachine) -> None:
    real_mode.boot(READER)
    change_slots(real_mode, low(), in_hole())
    real_mode.mark()
    change_slots(real_mode, low())
    last = real_mode.run_until(ExitReason.MMIO)
    assert (last.address, last.size, last.direction) == (HOLE, 2, IoDirection.IN)


def test_a_slot_may_have_memory_of_its_own(real_mode: RealModeMachine) -> None:
    first, second = mmap.mmap(-1, PAGE), mmap.mmap(-1, PAGE)
    first[:2], second[:2] = b"\x01\x00", b"\x02\x00"
    real_mode.boot(READER)
    real_mode.vm.backend[0].size -= PAGE
    offset = real_mode.vm.backend[0].size
    real_mode.vm.backend_count = 2
    for memory, value in ((first, 1), (second, 2)):
        host = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        real_mode.vm.backend[1] = layout.MemoryBackend(offset=offset, size=PAGE, host=host)
        change_slots(real_mode, low(), in_hole(offset))
        real_mode.mark()
        assert real_mode.pause().rax & 0xFFFF == value


def test_code_of_a_slot_that_is_exchanged_runs_no_more(real_mode: RealModeMachine) -> None:
    real_mode.boot(f"again: lcall ${HOLE >> 4:#x}, $0\nmark\njmp again")
    for offset, code in ((0x200000, "b80100cb"), (0x300000, "b80200cb")):
        real_mode.write(offset, bytes.fromhex(code))  # mov $n, %ax; lret
    for offset, value in ((0x200000, 1), (0x300000, 2), (0x200000, 1)):
        change_slots(real_mode, low(), in_hole(offset))
        real_mode.mark()
        assert real_mode.pause().rax & 0xFFFF == value


def test_loads_of_a_read_only_slot_are_ram_and_stores_are_exits(real_mode: RealModeMachine) -> None:
    real_mode.boot(
        f"""
        movw ${HOLE >> 4:#x}, %ax
        movw %ax, %ds
        movw 0, %bx
        movw $0x1234, 2
        movw 2, %cx
        incw 0
        movw 0, %dx
        done
        """
    )
    real_mode.write(0x200000, bytes.fromhex("aabbccdd"))
    change_slots(real_mode, low(), in_hole(flags=layout.SlotFlag.READONLY))
    last = real_mode.run_until(ExitReason.MMIO)
    assert (last.address, last.size, last.direction, last.data) == (HOLE + 2, 2, IoDirection.OUT, 0x1234)
    last = real_mode.run_until(ExitReason.MMIO)
    assert (last.address, last.direction, last.data) == (HOLE, IoDirection.OUT, 0xBBAB)
    state = real_mode.finish()
    assert (state.rbx & 0xFFFF, state.rcx & 0xFFFF, state.rdx & 0xFFFF) == (0xBBAA, 0xDDCC, 0xBBAA)
    assert real_mode.read(0x200000, 4) == bytes.fromhex("aabbccdd")


def test_the_dirty_log_has_the_pages_that_were_stored_to(real_mode: RealModeMachine) -> None:
    real_mode.boot(
        """
        movb %al, 0x2000
        movb %al, 0x2008
        movb 0x4000, %al
        mark
        movb %al, 0x2000
        mark
        movb 0x2000, %al
        done
        """
    )
    change_slots(real_mode, low(layout.SlotFlag.LOG_DIRTY_PAGES))
    real_mode.vm.dirty_logging = 1
    real_mode.mark()
    assert read_log(real_mode) == {2}
    real_mode.mark()
    assert read_log(real_mode) == {2}, "the page is let through no more once it has been reported"
    real_mode.finish()
    assert read_log(real_mode) == set()


def test_a_store_by_a_device_is_in_the_dirty_log(real_mode: RealModeMachine) -> None:
    real_mode.vm.dirty_logging = 1
    write = open_core().engine_dma_write
    pointer, u64 = ctypes.c_void_p, ctypes.c_uint64
    write.argtypes = [pointer, pointer, u64, ctypes.c_char_p, u64, u64]
    ram = ctypes.addressof(ctypes.c_char.from_buffer(real_mode.ram_block))
    write(ctypes.addressof(real_mode.vm), ram, 0x3FFE, b"abcd", 4, 10**9)
    assert read_log(real_mode) == {3, 4}


def test_who_stores_again_while_the_log_is_read_stays_a_writer(real_mode: RealModeMachine) -> None:
    """The test is the second vCPU: it answers for the one page, and claims both before the reader goes on."""
    other, bit = real_mode.other, 2
    log = (ctypes.c_uint64 * 1).from_buffer(real_mode.vm_block, real_mode.vm.dirty_offset)
    log[0] = 1 << 2 | 1 << 3
    real_mode.writers[2] = bit
    other.mode, other.attention_at = layout.VcpuMode.IN_GUEST, layout.VcpuArea.attention_at.offset

    def answer() -> None:
        while not other.mailbox.awaited:
            time.sleep(0)
        real_mode.writers[2] = real_mode.writers[3] = bit
        other.mailbox.head = other.mailbox.tail
        other.mailbox.answered += 1

    thread = threading.Thread(target=answer)
    thread.start()
    assert read_log(real_mode) == {2, 3}
    thread.join()
    assert (real_mode.writers[2], real_mode.writers[3]) == (bit, bit)


def test_without_logging_nothing_is_marked(real_mode: RealModeMachine) -> None:
    real_mode.boot("movb %al, 0x2000\ndone")
    real_mode.finish()
    assert read_log(real_mode) == set()


def test_halt_exits_when_its_execution_control_says_so(real_mode: RealModeMachine) -> None:
    real_mode.boot("hlt\nafter: nop\nmark")
    real_mode.apply(processor_based=ProcessorBased.HLT_EXITING)
    real_mode.run_until(ExitReason.HLT)
    assert real_mode.area.control.guest.rip == real_mode.label("after") - 1
    assert real_mode.exits(ExitReason.HLT) == 1
    real_mode.area.control.guest.rip += real_mode.area.control.exit.instruction_length
    real_mode.area.control.exit.answer = Answer.STATE | Answer.DONE
    real_mode.mark()


def test_several_engines_of_a_process_run_each_in_its_thread(real_mode: RealModeMachine) -> None:
    """The second vCPU is started by a SIPI, both count in one word, and a kick ends its halt."""
    counted = 200_000
    loop = f"movl ${counted}, %ecx\n{{0}}: lock incl 0x800\ndecl %ecx\njnz {{0}}\n"
    real_mode.place(loop.format("b") + "movb $1, 0x810\nstop: hlt\njmp stop", 16, 0x8000)
    real_mode.boot(loop.format("a") + "wait: testb $1, 0x810\njz wait\ndone")
    second = Vcpu(
        ctypes.addressof(real_mode.vm), ctypes.addressof(ctypes.c_char.from_buffer(real_mode.ram_block)), 1, 0
    )
    real_mode.other.inbox.startup = layout.Startup.SIPI | 0x08
    second.reset(load_state=False)
    thread = threading.Thread(target=second.run)
    thread.start()
    real_mode.finish()
    real_mode.other.request = layout.Request.STOP
    second.kick()
    thread.join()
    second.close()
    assert real_mode.load(0x800, 4) == SMP * counted


def test_a_signal_to_a_thread_that_makes_another_engine_finds_one_that_can_take_it(
    real_mode: RealModeMachine,
) -> None:
    """The timer of a vCPU that the thread has run before may run out then."""
    me, over = threading.get_ident(), threading.Event()

    def signals() -> None:
        while not over.wait(0.0001):
            signal.pthread_kill(me, signal.SIGRTMIN + 8)

    thread = threading.Thread(target=signals)
    thread.start()
    try:
        second = Vcpu(
            ctypes.addressof(real_mode.vm),
            ctypes.addressof(ctypes.c_char.from_buffer(real_mode.ram_block)),
            1,
            0,
        )
        second.close()
    finally:
        over.set()
        thread.join()
