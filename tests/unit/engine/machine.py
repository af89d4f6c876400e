"""One engine in the test's process, over memory that nobody else sees.

The VM block has areas for two vCPUs and only the first one runs: tests play the second by reading and
writing its area, as another worker would.
"""

import ctypes
import mmap
import os
import signal
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from mpvm.abi import layout
from mpvm.abi.control_bits import Answer, ExitCause
from mpvm.abi.exits import ExitReason, IoDirection
from mpvm.accel.unicorn import UnicornAccelerator
from mpvm.cpu.cpuid import cpuid_entries
from mpvm.cpu.models import feature_words
from mpvm.cpu.resolve import resolve_model
from mpvm.cpu.state import GPR_NAMES, CpuState
from mpvm.cpu.topology import single_socket
from tests.unit.engine.assembler import Program, assemble
from workers.unicorn.vcpu import Vcpu

RAM_BYTES = 16 << 20
SMP = 2
TSC_KHZ = 2_000_000
EVENT_PORT, MARK_PORT, DONE_PORT = 0xF1, 0xF2, 0xF4
HANG_SECONDS = 20.0
A20_OPEN, A20_CLOSED = 0xFFFFFFFF, 0xFFFFFFFF & ~(1 << 20)
_SYS_FUTEX, _FUTEX_WAKE = 202, 1
# What is not RAM below 4 GiB: nobody's registers.
MMIO_BASE = 0xD0000000
APIC_BASE = 0xFEE00000


class Exit(NamedTuple):
    """What an exit was about."""

    reason: ExitReason
    direction: IoDirection
    address: int
    size: int
    data: int


class Event(NamedTuple):
    """What the generic handlers have recorded of an exception or interrupt."""

    vector: int
    error_code: int
    rip: int
    cs: int
    rflags: int
    rsp: int
    ss: int
    cr2: int
    handler_rsp: int


class Machine:
    """A vCPU with its memory. `boot` of a subclass starts a program on it."""

    def __init__(
        self,
        model: str = "max",
        a20_mask: int = A20_OPEN,
        ram_block: mmap.mmap | None = None,
        ram_address: int | None = None,
    ) -> None:
        """`ram_address` is where engines have RAM, without it where `ram_block` is mapped here."""
        self.vm_block = mmap.mmap(-1, layout.vm_block_size(SMP, RAM_BYTES))
        self.ram_block = ram_block or mmap.mmap(-1, RAM_BYTES)
        self._ram_address = ram_address or address_of(self.ram_block)
        self.ram = memoryview(self.ram_block)
        self.vm = layout.VmPage.from_buffer(self.vm_block)
        self.areas = [
            layout.VcpuArea.from_buffer(self.vm_block, layout.VCPU_OFFSET + i * layout.VCPU_STRIDE)
            for i in range(SMP)
        ]
        self.area, self.other = self.areas
        pages = RAM_BYTES // layout.PAGE_SIZE
        words = ctypes.c_uint64 * pages
        self.holders = words.from_buffer(self.vm_block, layout.holders_offset(SMP))
        self.writers = words.from_buffer(self.vm_block, layout.writers_offset(SMP, RAM_BYTES))
        self._describe_vm(a20_mask)
        self._describe_vcpus(model)
        self.doorbell = os.eventfd(0, os.EFD_NONBLOCK)
        self.engine = self.another_engine()
        self.program = Program(0, b"", {})
        self._hung = False
        self._thread, self._task = threading.get_ident(), threading.get_native_id()
        self._watchdog: threading.Timer | None = None
        self.watch()

    def watch(self) -> None:
        """Allow the guest HANG_SECONDS from now on."""
        if self._watchdog is not None:
            self._watchdog.cancel()
        self._watchdog = threading.Timer(HANG_SECONDS, self._break_hang)
        self._watchdog.daemon = True
        self._watchdog.start()

    def _describe_vm(self, a20_mask: int) -> None:
        vm = self.vm
        vm.magic, vm.version, vm.smp = layout.ABI_MAGIC, layout.ABI_VERSION, SMP
        vm.vm_block_size = layout.vm_block_size(SMP, RAM_BYTES)
        vm.vcpu_stride, vm.vcpu_offset = layout.VCPU_STRIDE, layout.VCPU_OFFSET
        vm.holders_offset = layout.holders_offset(SMP)
        vm.writers_offset = layout.writers_offset(SMP, RAM_BYTES)
        vm.dirty_offset = layout.dirty_offset(SMP, RAM_BYTES)
        vm.page_count, vm.ram_block_size = RAM_BYTES // layout.PAGE_SIZE, RAM_BYTES
        vm.a20_mask = a20_mask
        vm.backend_count = 1
        vm.backend[0] = layout.MemoryBackend(offset=0, size=RAM_BYTES)
        vm.present = (1 << SMP) - 1
        vm.slot_count = 2
        vm.slot[0] = layout.MemorySlot(gpa=0, size=0xA0000, offset=0)
        vm.slot[1] = layout.MemorySlot(gpa=0xC0000, size=RAM_BYTES - 0xC0000, offset=0xC0000)

    def _describe_vcpus(self, model: str) -> None:
        cpu = resolve_model(model, UnicornAccelerator())
        for index, area in enumerate(self.areas):
            area.index = area.apic_id = index
            area.lapic.regs[0x20 // 4] = index << 24
            area.is_bsp = index == 0
            for number, word in enumerate(feature_words(cpu)):
                area.features[number] = word
            entries = cpuid_entries(cpu, single_socket(SMP), index, TSC_KHZ)
            area.cpuid_count = len(entries)
            for number, entry in enumerate(entries):
                area.cpuid[number] = layout.CpuidEntry(*entry)

    # --- Memory ---------------------------------------------------------------------------------------

    def write(self, gpa: int, data: bytes) -> None:
        self.ram[gpa : gpa + len(data)] = data

    def read(self, gpa: int, size: int) -> bytes:
        return bytes(self.ram[gpa : gpa + size])

    def load(self, gpa: int, size: int) -> int:
        """The little-endian number of `size` bytes at `gpa`."""
        return int.from_bytes(self.read(gpa, size), "little")

    def store(self, gpa: int, value: int, size: int) -> None:
        self.write(gpa, value.to_bytes(size, "little"))

    def place(self, source: str, bits: int, gpa: int) -> Program:
        """Assemble `source` into guest memory."""
        program = assemble(source, bits, gpa)
        self.write(gpa, program.code)
        return program

    def label(self, name: str) -> int:
        """The address of a label of the booted program."""
        return self.program.labels[name]

    # --- Running --------------------------------------------------------------------------------------

    def start(self, state: CpuState) -> None:
        """Power-on reset, then `state`; each program has its own time."""
        self.watch()
        self.engine.reset(load_state=False)
        state.store(self.area.control.guest)
        self.engine.reset(load_state=True)

    def another_engine(self) -> Vcpu:
        """A new engine for the first vCPU."""
        return Vcpu(address_of(self.vm_block), self._ram_address, 0, self.doorbell)

    def move(self, new: Vcpu | None = None) -> None:
        """Have another engine, a new one by default, go on from what the present one has saved."""
        self.engine.close()
        self.engine = new or self.another_engine()
        self.engine.load_state()

    def run(self, reply: int = 0) -> Exit:
        """Answer the last exit with `reply` and run until the next one."""
        self.area.control.exit.data = reply
        reason = ExitReason(self.engine.run())
        assert not self._hung, f"the guest hangs; {self.registers()}"
        about = self.area.control.exit
        address = about.port if reason is ExitReason.IO else about.guest_physical_address
        return Exit(reason, IoDirection(about.direction), address, about.size, about.data)

    def run_until(self, reason: ExitReason, reply: int = 0) -> Exit:
        """Run until the next exit, which has to be a `reason`."""
        last = self.run(reply)
        assert last.reason is reason, self._unexpected(last)
        return last

    def apply(self, **controls: int) -> None:
        """Write execution controls and have them taken over."""
        for name, value in controls.items():
            setattr(self.area.control.execution, name, value)
        self.engine.apply_controls()

    def run_to_control(self, reason: ExitReason, reply: int = 0) -> CpuState:
        """Run until the next exit, which has to be a control's `reason`; the registers there."""
        last = self.run(reply)
        assert last.reason is reason, self._unexpected(last)
        assert self.area.control.exit.cause == ExitCause.CONTROL
        return CpuState.fetch(self.area.control.guest)

    def answer(self, state: CpuState | None = None, *, done: bool = False) -> None:
        """How the last exit is to be answered: with these registers, and whether the event is dealt with."""
        if state is not None:
            state.store(self.area.control.guest)
        self.area.control.exit.answer = (0 if state is None else Answer.STATE) | (Answer.DONE if done else 0)

    def run_to_port(self, port: int, reply: int = 0) -> int:
        """Run until the next exit, which has to be a write to `port`; what is written."""
        last = self.run(reply)
        assert (last.reason, last.direction) == (ExitReason.IO, IoDirection.OUT), self._unexpected(last)
        assert last.address == port, self._unexpected(last)
        return last.data

    def mark(self, reply: int = 0) -> int:
        """Run until the program writes to the MARK port; what it writes."""
        return self.run_to_port(MARK_PORT, reply)

    def finish(self, reply: int = 0) -> CpuState:
        """Run until the program writes to the DONE port; the registers then."""
        self.run_to_port(DONE_PORT, reply)
        return self.pause()

    def pause(self) -> CpuState:
        """Stop between two instructions as the coordinator does; the registers there."""
        self.area.request = layout.Request.PAUSE
        last = self.run()
        self.area.request = 0
        assert last.reason is ExitReason.INTR, self._unexpected(last)
        return CpuState.fetch(self.area.control.guest)

    def kick(self) -> None:
        """What another process does after it has left something for this vCPU."""
        signal.pthread_kill(self._thread, signal.SIGUSR1)

    def raise_attention(self) -> None:
        """What another vCPU's process does after it has left something for this one: a store."""
        ctypes.c_uint32.from_address(ctypes.addressof(self.area) + self.area.attention_at).value = 1

    def interrupt(self, *vectors: int, level: bool = False) -> None:
        """Put interrupts into the inbox as a sender does."""
        for vector in vectors:
            self.area.inbox.vector[vector] = 2 if level else 1
        self.area.inbox.any = 1
        self.kick()

    def nmi(self) -> None:
        """Put an NMI into the inbox as a sender does."""
        self.area.inbox.nmi = 1
        self.area.inbox.any = 1
        self.kick()

    def release(self, field: str, value: int = 0) -> None:
        """Set a futex word of the VM page and wake who waits for it, as another worker does."""
        setattr(self.vm, field, value)
        word = ctypes.c_void_p(self._word(field))
        ctypes.CDLL(None).syscall(_SYS_FUTEX, word, _FUTEX_WAKE, ctypes.c_int(SMP), None, None, 0)

    def sleeps_on(self, field: str) -> bool:
        """Whether the vCPU waits for a futex word of the VM page."""
        call = Path(f"/proc/self/task/{self._task}/syscall").read_text().split()
        return call[:2] == [str(_SYS_FUTEX), hex(self._word(field))]

    def _word(self, field: str) -> int:
        return int(ctypes.addressof(self.vm) + getattr(layout.VmPage, field).offset)

    def exits(self, reason: ExitReason) -> int:
        return int(self.area.counters.exits[reason])

    def registers(self) -> str:
        """The registers as the engine has them, for messages."""
        state = CpuState.fetch(self.area.control.guest)
        names: Iterable[str] = (*GPR_NAMES, "rip", "rflags", "cr0", "cr2", "cr3", "cr4")
        values = ", ".join(f"{name} {getattr(state, name):#x}" for name in names)
        return f"{values}, cs {state.cs.selector:#x}, {self.engine.error()}"

    def _unexpected(self, last: Exit) -> str:
        note = ""
        if last.reason is ExitReason.IO and last.address == EVENT_PORT:
            note = f"{self.last_event()} "
        return f"{last} {note}at {self.registers()}"

    def last_event(self) -> Event:
        raise NotImplementedError

    def event(self, reply: int = 0) -> Event:
        """Run until a handler has recorded an event."""
        self.run_to_port(EVENT_PORT, reply)
        return self.last_event()

    def _break_hang(self) -> None:
        """A test must never hang the suite: the guest and every wait of the engine leaves at this."""
        self._hung = True
        self.area.request = layout.Request.PAUSE | layout.Request.STOP
        self.kick()
        self.release("coherence_lock")
        self.release("exclusive")

    def close(self) -> None:
        if self._watchdog is not None:
            self._watchdog.cancel()
            self._watchdog.join()
        self.engine.close()
        os.close(self.doorbell)


def address_of(block: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(block))
