"""`mpvm.kvm` runs guests as KVM does: the same exits, registers and interrupts, on the kernel's own, too."""

import os
import signal
import threading
import time
from typing import Any

import pytest

from mpvm.kvm import ExitReason, MemFlag, structs
from tests.system.kvm_api import CODE, PAGE, forms, guest

LOOP = "eb fe"


def _port_data(vcpu: Any) -> int:
    io = vcpu.kvm_run.io
    return int.from_bytes(vcpu.mapping[io.data_offset : io.data_offset + io.size], "little")


@forms()
def test_a_port_exit_says_what_is_written_and_takes_what_is_read(form: str) -> None:
    # mov $0x1234, %ax; out %ax, $0x10; in $0x20, %al; hlt
    with guest(form, "b8 34 12 e7 10 e4 20 f4") as made:
        assert made.vcpu.run() == ExitReason.IO
        io = made.vcpu.kvm_run.io
        assert (io.direction, io.size, io.port, io.count, _port_data(made.vcpu)) == (1, 2, 0x10, 1, 0x1234)
        assert made.vcpu.run() == ExitReason.IO
        io = made.vcpu.kvm_run.io
        assert (io.direction, io.size, io.port) == (0, 1, 0x20)
        made.vcpu.mapping[io.data_offset] = 0x5A
        assert made.vcpu.run() == ExitReason.HLT
        regs = made.vcpu.get_regs()
        assert (regs.rax, regs.rip) == (0x125A, CODE + 8)


@forms()
def test_reentering_with_immediate_exit_completes_the_instruction(form: str) -> None:
    # in $0x20, %al; inc %al; hlt
    with guest(form, "e4 20 fe c0 f4") as made:
        assert made.vcpu.run() == ExitReason.IO
        made.vcpu.mapping[made.vcpu.kvm_run.io.data_offset] = 0x40
        made.vcpu.kvm_run.immediate_exit = 1
        with pytest.raises(InterruptedError):
            made.vcpu.run()
        regs = made.vcpu.get_regs()
        assert (regs.rax & 0xFF, regs.rip) == (0x40, CODE + 2)
        made.vcpu.kvm_run.immediate_exit = 0
        assert made.vcpu.run() == ExitReason.HLT
        assert made.vcpu.get_regs().rax & 0xFF == 0x41


@forms()
def test_memory_of_no_slot_is_a_device(form: str) -> None:
    # mov $0x2000, %ax; mov %ax, %ds; mov 4, %bl; mov %bx, 8; hlt
    with guest(form, "b8 00 20 8e d8 8a 1e 04 00 89 1e 08 00 f4") as made:
        assert made.vcpu.run() == ExitReason.MMIO
        mmio = made.vcpu.kvm_run.mmio
        assert (mmio.phys_addr, mmio.len, mmio.is_write) == (0x20004, 1, 0)
        mmio.data[0] = 0x77
        assert made.vcpu.run() == ExitReason.MMIO
        mmio = made.vcpu.kvm_run.mmio
        assert (mmio.phys_addr, mmio.len, mmio.is_write) == (0x20008, 2, 1)
        assert bytes(mmio.data[:2]) == b"\x77\0"
        assert made.vcpu.run() == ExitReason.HLT


@forms()
def test_a_store_to_a_read_only_slot_is_a_device_s(form: str) -> None:
    # mov $0x2000, %ax; mov %ax, %ds; mov 0, %bl; mov %bl, 1; hlt
    with guest(form, "b8 00 20 8e d8 8a 1e 00 00 88 1e 01 00 f4") as made:
        rom = made.vm.allocate_memory(PAGE)
        rom.write(0, b"\xab\xcd")
        made.vm.set_user_memory_region(1, MemFlag.READONLY, 0x20000, PAGE, rom.address)
        assert made.vcpu.run() == ExitReason.MMIO
        mmio = made.vcpu.kvm_run.mmio
        assert (mmio.phys_addr, mmio.is_write, mmio.data[0]) == (0x20001, 1, 0xAB)
        assert made.vcpu.run() == ExitReason.HLT
        assert rom.read(0, 2) == b"\xab\xcd"


@forms()
def test_a_triple_fault_is_a_shutdown(form: str) -> None:
    # ud2, in protected mode, without an IDT
    with guest(form, "0f 0b") as made:
        sregs = made.vcpu.get_sregs()
        flat = structs.Segment(limit=0xFFFFFFFF, selector=8, type=11, present=1, db=1, s=1, g=1)
        sregs.cs, sregs.cr0, sregs.idt.limit = flat, sregs.cr0 | 1, 0
        made.vcpu.set_sregs(sregs)
        assert made.vcpu.run() == ExitReason.SHUTDOWN


@forms()
def test_registers_are_what_they_were_set_to(form: str) -> None:
    with guest(form) as made:
        regs = structs.Regs(*range(0x1111, 0x1111 + len(structs.Regs._fields_)))
        regs.rip, regs.rflags = CODE, 2
        made.vcpu.set_regs(regs)
        assert made.vcpu.run() == ExitReason.HLT
        regs.rip += 1
        assert bytes(made.vcpu.get_regs()) == bytes(regs)
        fpu = made.vcpu.get_fpu()
        fpu.xmm[3][:] = bytes(range(16))
        made.vcpu.set_fpu(fpu)
        made.vcpu.set_regs(structs.Regs(rip=CODE, rflags=2))
        assert made.vcpu.run() == ExitReason.HLT
        assert bytes(made.vcpu.get_fpu().xmm[3]) == bytes(range(16))


@forms()
def test_registers_that_are_changed_at_an_exit_hold(form: str) -> None:
    # out %al, $0x10; hlt; out %al, $0x11; hlt
    with guest(form, "e6 10 f4 e6 11 f4") as made:
        assert made.vcpu.run() == ExitReason.IO
        regs = made.vcpu.get_regs()
        regs.rip, regs.rax = CODE + 3, 0x99
        made.vcpu.set_regs(regs)
        assert made.vcpu.run() == ExitReason.IO
        assert (made.vcpu.kvm_run.io.port, _port_data(made.vcpu)) == (0x11, 0x99)


@forms()
def test_an_injected_interrupt_waits_for_its_window(form: str) -> None:
    # hlt; sti; loop: jmp loop; and the handler of vector 0x21: out %al, $0x10; iret
    with guest(form, "f4 fb eb fe") as made:
        made.memory.write(0x21 * 4, (0x3000).to_bytes(4, "little"))
        made.memory.write(0x3000, bytes.fromhex("e6 10 cf"))
        assert made.vcpu.run() == ExitReason.HLT
        assert not made.vcpu.kvm_run.ready_for_interrupt_injection
        made.vcpu.kvm_run.request_interrupt_window = 1
        assert made.vcpu.run() == ExitReason.IRQ_WINDOW_OPEN
        assert made.vcpu.kvm_run.ready_for_interrupt_injection
        assert made.vcpu.kvm_run.if_flag
        made.vcpu.kvm_run.request_interrupt_window = 0
        made.vcpu.interrupt(0x21)
        assert made.vcpu.run() == ExitReason.IO
        assert made.vcpu.kvm_run.io.port == 0x10


@forms()
def test_a_kick_ends_a_run_that_would_not(form: str) -> None:
    with guest(form, LOOP) as made:
        ended: list[BaseException] = []

        def run() -> None:
            try:
                made.vcpu.run()
            except InterruptedError as error:
                ended.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        made.vcpu.kick()
        thread.join()
        assert ended
        assert made.vcpu.get_regs().rip == CODE
        made.vcpu.kvm_run.immediate_exit = 0
        made.memory.write(CODE, b"\xf4")


@forms("unicorn", "processes")
def test_a_signal_of_the_main_thread_ends_its_run(form: str) -> None:
    class Told(Exception):  # noqa: N818
        pass

    def tell(_number: int, _frame: object) -> None:
        raise Told

    with guest(form, LOOP) as made:
        before = signal.signal(signal.SIGALRM, tell)
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        try:
            with pytest.raises(Told):
                made.vcpu.run()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert made.vcpu.get_regs().rip == CODE


@forms()
def test_slots_come_and_go_while_another_vcpu_runs(form: str) -> None:
    """The second vCPU stores to a page for ever; the page is taken away under it."""
    # mov $0x2000, %ax; mov %ax, %ds; inc: incw 0; jmp inc
    with guest(form) as made:
        made.memory.write(0x3000, bytes.fromhex("b8 00 20 8e d8 ff 06 00 00 eb fa"))
        pages = [made.vm.allocate_memory(PAGE) for _ in range(2)]
        made.vm.set_user_memory_region(1, 0, 0x20000, PAGE, pages[0].address)
        second = made.add_vcpu(1, rip=0x3000)
        thread = threading.Thread(target=_run_until_a_device, args=(second,))
        thread.start()
        _wait_until_changed(pages[0])
        made.vm.set_user_memory_region(1, 0, 0, 0, 0)
        thread.join()
        assert second.kvm_run.exit_reason == ExitReason.MMIO
        left = pages[0].read(0, 2)
        made.vm.set_user_memory_region(1, 0, 0x20000, PAGE, pages[1].address)
        assert pages[0].read(0, 2) == left


def _run_until_a_device(vcpu: Any) -> None:
    while vcpu.run() != ExitReason.MMIO:
        pass


def _wait_until_changed(memory: Any) -> None:
    before, deadline = memory.read(0, 2), time.monotonic() + 60
    while memory.read(0, 2) == before:
        assert time.monotonic() < deadline, "the guest does not store"


@forms()
def test_an_ioeventfd_takes_a_write_in_the_place_of_an_exit(form: str) -> None:
    # mov $7, %al; out %al, $0x10; mov $8, %al; out %al, $0x10; hlt
    with guest(form, "b0 07 e6 10 b0 08 e6 10 f4") as made:
        event = os.eventfd(0, os.EFD_NONBLOCK)
        made.vm.ioeventfd(event, 0x10, 1, flags=2, datamatch=7)
        assert made.vcpu.run() == ExitReason.IO
        assert _port_data(made.vcpu) == 8
        assert os.eventfd_read(event) == 1
        os.close(event)


_PIC_SET_UP = ((0x11, 0x20), (0x20, 0x21), (0x04, 0x21), (0x01, 0x21), (0xEF, 0x21))


@pytest.mark.parametrize("by", ["line", "irqfd"])
@forms()
def test_the_irqchip_delivers_what_a_line_or_an_irqfd_raises(form: str, by: str) -> None:
    """The 8259 is set up for vectors from 0x20 on; the handler of IRQ 4 writes to port 0x10."""
    code = "".join(f"b0 {value:02x} e6 {port:02x} " for value, port in _PIC_SET_UP)
    # out %al, $0x11; sti; halted: hlt; jmp halted
    with guest(form, code + "e6 11 fb f4 eb fd", irqchip=True) as made:
        made.memory.write(0x24 * 4, (0x3000).to_bytes(4, "little"))
        # out %al, $0x10; mov $0x20, %al; out %al, $0x20; iret
        made.memory.write(0x3000, bytes.fromhex("e6 10 b0 20 e6 20 cf"))
        event = os.eventfd(0)
        made.vm.irqfd(event, 4)
        assert made.vcpu.run() == ExitReason.IO
        if by == "line":
            made.vm.irq_line(4, 1)
            made.vm.irq_line(4, 0)
        else:
            os.eventfd_write(event, 1)
        assert made.vcpu.run() == ExitReason.IO
        assert made.vcpu.kvm_run.io.port == 0x10
        made.vm.irqfd(event, 4, 1)
        os.close(event)
