"""The vCPU handle of the `unicorn` accelerator."""

import ctypes
import errno
import mmap
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from mpvm.abi.control_bits import (
    ActivityState,
    ExitCause,
    Interruptibility,
    InterruptionInformation,
    ProcessorBased,
)
from mpvm.abi.control_block import ControlBlock
from mpvm.abi.exits import ExitReason, ExtInt, IoDirection
from mpvm.abi.kvm import structs
from mpvm.abi.kvm.constants import GuestDebug, MpState, VcpuEventValid
from mpvm.abi.layout import MAX_CPUID_ENTRIES, PAGE_SIZE, CpuidEntry, Request, VcpuMode
from mpvm.cpu.features import WORD_SOURCES, CpuidRegister
from mpvm.cpu.models import feature_words
from mpvm.cpu.state import (
    APIC_BASE_ADDRESS,
    APIC_BASE_BSP,
    APIC_BASE_ENABLE,
    FXSAVE_FNINIT,
    reset_state,
    xsave_area,
)
from mpvm.hw.intc.message import DeliveryMode
from mpvm.kvm import msrs, registers
from mpvm.kvm.guest_debug import Debugger, step_over
from mpvm.kvm.handle import Handle, fail
from mpvm.kvm.runner import Runner
from mpvm.kvm.signals import WATCH
from mpvm.machine.apic_bus import LVT_DELIVERY_MODE_SHIFT, LVT_LINT0

if TYPE_CHECKING:
    from mpvm.kvm.vm import Vm

#: kvm_run, the data of port I/O, the coalesced ring (which stays empty).
MAPPING_BYTES: Final = 3 * PAGE_SIZE
PIO_PAGE: Final = PAGE_SIZE
_DEFAULT_SIGNATURE: Final = 0x600
_MAX_MSRS: Final = 256
_SIGSET: Final = range(1, 65)
_REGISTER_NAMES: Final = ("eax", "ebx", "ecx", "edx")
_VECTORS: Final = 256
_RFLAGS_IF: Final = 1 << 9
_GUEST_DEBUG: Final = sum(GuestDebug) - GuestDebug.BLOCKIRQ


class Vcpu(Handle):
    """Registers, events and `run`. `kvm_run` tells of an exit, `mapping` also has the data of port I/O."""

    def __init__(self, vm: "Vm", vcpu_id: int, runner: Callable[[int], Runner]) -> None:
        self._vm = vm
        self._area = vm.blocks.areas[vcpu_id]
        self._guest = self._area.control.guest
        self.mapping = mmap.mmap(-1, MAPPING_BYTES)
        self.kvm_run = structs.Run.from_buffer(self.mapping)
        # As the kernel's mutex of a vCPU: one call at a time.
        self._mutex = threading.RLock()
        self._changed = False
        self._debugger = Debugger()
        self._controls_changed = True
        self._has_reset = self._has_run = False
        self._waiting: ExitReason | None = None
        self._vector: int | None = None
        self._signalled = False
        self._signal_mask: frozenset[int] | None = None
        self._cpuid: list[structs.CpuidEntry2] = []
        self._apic_base = APIC_BASE_ADDRESS | APIC_BASE_ENABLE | (APIC_BASE_BSP if vcpu_id == 0 else 0)
        self._prepare(vcpu_id)
        self._runner = runner(vcpu_id)
        self._reset()

    def _prepare(self, vcpu_id: int) -> None:
        area = self._area
        has_apic = self._vm.irqchip is not None
        # Without local APICs there is none that waits for a SIPI.
        area.is_bsp = not has_apic or vcpu_id == 0
        for number, word in enumerate(feature_words(self._vm.model)):
            area.features[number] = word
        state = reset_state(_DEFAULT_SIGNATURE, bsp=vcpu_id == 0)
        state.xsave = xsave_area(FXSAVE_FNINIT)
        state.apic_base = self._apic_base if has_apic else 0
        state.store(self._guest)

    def _reset(self) -> None:
        """Power-on reset of the engine; the registers stay what they were set to."""
        state, mp_state = bytes(self._guest), self._area.mp_state
        self._runner.reset()
        ctypes.memmove(ctypes.addressof(self._guest), state, len(state))
        if self._has_reset:
            self._area.mp_state = mp_state
        if self._vm.irqchip is not None and self._area.is_bsp:
            # As KVM: the boot processor takes the 8259s' interrupts without being told to.
            self._area.lapic.regs[LVT_LINT0] = DeliveryMode.EXTINT << LVT_DELIVERY_MODE_SHIFT
        self._has_reset = self._changed = True

    @property
    def closed(self) -> bool:
        """Whether it is."""
        return self._closed

    def close(self) -> None:
        """Free it; `run` must not go on."""
        with self._mutex:
            if not self._closed:
                super().close()
                self._runner.close()
                self._vm.release()

    @contextmanager
    def _locked(self, call: str) -> Iterator[None]:
        with self._mutex:
            self.check_open(call)
            yield

    # --- Running ------------------------------------------------------------------------------------------

    def run(self) -> int:
        """Run guest code until an exit; its reason. `InterruptedError` when a signal or `kick` came."""
        with self._locked("RUN"):
            self._has_run = True
            self._answer()
            while True:
                self._want_window()
                reason = self._run_once()
                served = self._serve(ExitReason(reason))
                if served is not None:
                    self._tell(served)
                    return int(served)

    def _run_once(self) -> int:
        old = None
        if self._signal_mask is not None:
            old = signal.pthread_sigmask(signal.SIG_SETMASK, self._signal_mask)
        control = self._area.control
        try:
            with self._vm.entered(self), self._debugger.entered(self._guest), WATCH.running(self):
                load, self._changed = self._changed or self._debugger.owns_db, False
                controls, self._controls_changed = self._controls_changed, False
                if controls:
                    self._write_controls(control)
                return self._runner.run(load=load, controls=controls)
        finally:
            if old is not None:
                signal.pthread_sigmask(signal.SIG_SETMASK, old)

    def _write_controls(self, control: ControlBlock) -> None:
        """The execution controls of all who need some."""
        execution = control.execution
        execution.processor_based = execution.exception_bitmap = 0
        if self._vm.callbacks is not None:
            self._vm.callbacks.write_controls(execution)
            # Every access to a port exits anyway, in front of its instruction.
            execution.processor_based &= ~int(ProcessorBased.USE_IO_BITMAPS)
        if self._vm.irqchip is None:
            execution.processor_based |= ProcessorBased.HLT_EXITING
        self._debugger.write_controls(control)

    def controls_changed(self) -> None:
        """Have them written before the next entry; it does not run."""
        self._controls_changed = True

    def kick(self) -> None:
        """From another thread: end its `run` with EINTR, the one that goes on or the next one."""
        self.kvm_run.immediate_exit = 1
        self._vm.stop(self)

    def signalled(self) -> None:
        """A signal came to the thread that runs it."""
        self._signalled = True
        self._vm.stop(self)

    def ask_pause(self, wanted: bool) -> None:
        """Set or clear the request to come back between two instructions; the VM's lock is held."""
        self._area.request = Request.PAUSE if wanted else 0
        if wanted:
            self._runner.kick()

    def kick_inbox(self) -> None:
        """There is something in its inbox."""
        self._runner.kick()

    def _want_window(self) -> None:
        inbox = self._area.inbox
        if self._vector is not None or self.kvm_run.request_interrupt_window:
            inbox.extint = 1
            inbox.any = 1
        elif self._vm.irqchip is None:
            inbox.extint = 0

    def _serve(self, reason: ExitReason) -> ExitReason | None:
        """Serve what is not user space's (None), or describe the exit in `kvm_run`."""
        control = self._area.control
        about = control.exit
        if self._vm.callbacks is not None:
            answered = self._vm.callbacks.call(self._area.index, reason, control)
            if answered is not None:
                about.data = answered
                return None
        if about.cause == ExitCause.CONTROL:
            return self._serve_control(reason, control)
        match reason:
            case ExitReason.INTR:
                if self.kvm_run.immediate_exit or self._signalled:
                    self._signalled = False
                    self._tell(ExitReason.INTR)
                    raise InterruptedError(errno.EINTR, os.strerror(errno.EINTR), "KVM_RUN")
                return None
            case ExitReason.IO:
                return self._serve_io(about)
            case ExitReason.MMIO:
                return self._serve_mmio(about)
            case ExitReason.IRQ_WINDOW_OPEN:
                return self._serve_window(about)
            case ExitReason.IOAPIC_EOI:
                if self._vm.irqchip is not None:
                    self._vm.irqchip.eoi(about.guest_physical_address)
                return None
            case ExitReason.INTERNAL_ERROR:
                self.kvm_run.internal.suberror = 0
        return reason

    def _serve_control(self, reason: ExitReason, control: ControlBlock) -> ExitReason | None:
        """An exit that an execution control has asked for."""
        debugged = self._debugger.serve(reason, control, self.kvm_run.debug.arch)
        if debugged:
            # The next step begins here, whatever has run before.
            self._controls_changed = True
            return ExitReason.DEBUG
        if debugged is None and reason is ExitReason.HLT and self._vm.irqchip is None:
            # KVM's user space finds RIP behind the instruction; the control block's owner, at it.
            step_over(control)
            return reason
        return None

    def _serve_elsewhere(self, about: Any, *, pio: bool) -> bool:
        """Whether it was an interrupt controller's or an eventfd's."""
        write = about.direction == IoDirection.OUT
        address = about.port if pio else about.guest_physical_address
        if write and self._vm.ioeventfds.signal(pio=pio, address=address, size=about.size, data=about.data):
            return True
        chip = self._vm.irqchip
        if chip is None:
            return False
        answer = chip.serve(chip.ports if pio else chip.memory, address, about.size, write, about.data)
        if answer is None:
            return False
        about.data = answer
        return True

    def _serve_io(self, about: Any) -> ExitReason | None:
        if self._serve_elsewhere(about, pio=True):
            return None
        told = self.kvm_run.io
        told.direction, told.size, told.port, told.count = about.direction, about.size, about.port, 1
        told.data_offset = PIO_PAGE
        self.mapping[PIO_PAGE : PIO_PAGE + about.size] = about.data.to_bytes(8, "little")[: about.size]
        self._waiting = ExitReason.IO
        return ExitReason.IO

    def _serve_mmio(self, about: Any) -> ExitReason | None:
        if self._serve_elsewhere(about, pio=False):
            return None
        told = self.kvm_run.mmio
        told.phys_addr, told.len, told.is_write = about.guest_physical_address, about.size, about.direction
        told.data[:] = about.data.to_bytes(8, "little")
        self._waiting = ExitReason.MMIO
        return ExitReason.MMIO

    def _serve_window(self, about: Any) -> ExitReason | None:
        about.data = 0
        if self._vector is not None:
            about.data = ExtInt.VALID | self._vector
            self._vector = None
        elif self._vm.irqchip is not None:
            about.data = self._vm.irqchip.acknowledge()
        elif self.kvm_run.request_interrupt_window:
            self._waiting = ExitReason.IRQ_WINDOW_OPEN
            return ExitReason.IRQ_WINDOW_OPEN
        return None

    def _answer(self) -> None:
        """What user space has made of the last exit."""
        about, waiting = self._area.control.exit, self._waiting
        self._waiting = None
        if waiting is ExitReason.IO:
            about.data = int.from_bytes(self.mapping[PIO_PAGE : PIO_PAGE + about.size], "little")
        elif waiting is ExitReason.MMIO:
            about.data = int.from_bytes(bytes(self.kvm_run.mmio.data[: about.size]), "little")
        elif waiting is ExitReason.IRQ_WINDOW_OPEN and self._vector is not None:
            about.data = ExtInt.VALID | self._vector
            self._vector = None

    def _tell(self, reason: ExitReason) -> None:
        run = self.kvm_run
        run.exit_reason = reason
        run.if_flag = bool(self._guest.rflags & _RFLAGS_IF)
        run.ready_for_interrupt_injection = (
            self._vm.irqchip is None
            and run.if_flag
            and self._vector is None
            and not registers.shadow_of(self._guest)
        )
        run.cr8 = self._guest.cr8
        run.apic_base = self._base()

    def _base(self) -> int:
        return int(self._guest.apic_base) if self._vm.irqchip is not None else self._apic_base

    # --- Registers ----------------------------------------------------------------------------------------

    def get_regs(self) -> structs.Regs:
        """General registers, RIP, RFLAGS."""
        with self._locked("GET_REGS"):
            return registers.regs_of(self._guest)

    def set_regs(self, regs: structs.Regs) -> None:
        """Set them."""
        with self._locked("SET_REGS"):
            registers.load_regs(self._guest, regs)
            self._changed = True

    def get_sregs(self) -> structs.Sregs:
        """Segments, descriptor tables, control registers."""
        with self._locked("GET_SREGS"):
            sregs = registers.sregs_of(self._guest)
            sregs.apic_base = self._base()
            if self._vector is not None:
                sregs.interrupt_bitmap[self._vector // 64] = 1 << self._vector % 64
            return sregs

    def set_sregs(self, sregs: structs.Sregs) -> None:
        """Set them; EINVAL for what no CPU can be in."""
        with self._locked("SET_SREGS"):
            if not registers.sregs_valid(sregs):
                fail(errno.EINVAL, "SET_SREGS", "no CPU has these control registers at once")
            kept = self._guest.apic_base
            registers.load_sregs(self._guest, sregs)
            if self._vm.irqchip is None:
                self._apic_base, self._guest.apic_base = sregs.apic_base, kept
            bitmap = sum(word << 64 * at for at, word in enumerate(sregs.interrupt_bitmap))
            self._vector = bitmap.bit_length() - 1 if bitmap else self._vector
            self._changed = True

    def get_fpu(self) -> structs.Fpu:
        """x87 and SSE."""
        with self._locked("GET_FPU"):
            return registers.fpu_of(self._guest)

    def set_fpu(self, fpu: structs.Fpu) -> None:
        """Set them."""
        with self._locked("SET_FPU"):
            registers.load_fpu(self._guest, fpu)
            self._changed = True

    def get_xsave(self) -> structs.Xsave:
        """The XSAVE area."""
        with self._locked("GET_XSAVE"):
            return structs.Xsave.from_buffer_copy(bytes(self._guest.xsave))

    def set_xsave(self, xsave: structs.Xsave) -> None:
        """Set it."""
        with self._locked("SET_XSAVE"):
            registers.load_xsave(self._guest, xsave)
            self._changed = True

    def get_xcrs(self) -> dict[int, int]:
        """Extended control registers by number: XCR0."""
        with self._locked("GET_XCRS"):
            return {0: int(self._guest.xcr0)}

    def set_xcrs(self, values: Mapping[int, int]) -> None:
        """Set them; EINVAL without bit 0 of XCR0."""
        with self._locked("SET_XCRS"):
            if 0 in values:
                # x87 is always there (SDM vol. 1, 13.3); the engine has no AVX.
                if not values[0] & 1 or values[0] & ~3:
                    fail(errno.EINVAL, "SET_XCRS", "XCR0 is 1 or 3")
                self._guest.xcr0 = values[0]
                self._changed = True

    def get_debugregs(self) -> structs.Debugregs:
        """DR0 to DR3, DR6, DR7."""
        with self._locked("GET_DEBUGREGS"):
            found = structs.Debugregs(dr6=self._guest.dr[6], dr7=self._guest.dr[7])
            found.db[:] = self._guest.dr[:4]
            return found

    def set_debugregs(self, debugregs: structs.Debugregs) -> None:
        """Set them; EINVAL for flags, and for more than 32 bits in DR6 and DR7."""
        with self._locked("SET_DEBUGREGS"):
            if debugregs.flags or debugregs.dr6 >> 32 or debugregs.dr7 >> 32:
                fail(errno.EINVAL, "SET_DEBUGREGS", "no flags, and 32 bits of DR6 and DR7, are right")
            self._guest.dr[:4] = debugregs.db
            self._guest.dr[6], self._guest.dr[7] = debugregs.dr6, debugregs.dr7
            self._changed = True

    def get_msrs(self, indices: Sequence[int]) -> dict[int, int]:
        """Values by index; those from the first one on that is not there are missing."""
        with self._locked("GET_MSRS"):
            self._check_msrs("GET_MSRS", len(indices))
            found: dict[int, int] = {}
            for index in indices:
                value = msrs.read(self._guest, index)
                if value is None:
                    break
                found[index] = self._base() if index == msrs.APIC_BASE else value
            return found

    def set_msrs(self, values: Mapping[int, int]) -> int:
        """Set them in order up to the first one that is refused; how many are set."""
        with self._locked("SET_MSRS"):
            self._check_msrs("SET_MSRS", len(values))
            for done, (index, value) in enumerate(values.items()):
                if index == msrs.APIC_BASE and self._vm.irqchip is None:
                    self._apic_base = value
                elif not msrs.write(self._guest, index, value):
                    return done
                self._changed = True
            return len(values)

    def _check_msrs(self, call: str, count: int) -> None:
        if count >= _MAX_MSRS:
            fail(errno.E2BIG, call, f"less than {_MAX_MSRS} at once is right")

    # --- CPUID --------------------------------------------------------------------------------------------

    def get_cpuid2(self, room: int) -> list[structs.CpuidEntry2]:
        """The leaves as they were set; E2BIG when they are more than `room`."""
        with self._locked("GET_CPUID2"):
            if room < len(self._cpuid):
                fail(errno.E2BIG, "GET_CPUID2", f"there are {len(self._cpuid)} entries")
            return [structs.CpuidEntry2.from_buffer_copy(entry) for entry in self._cpuid]

    def set_cpuid2(self, entries: Sequence[structs.CpuidEntry2]) -> None:
        """What CPUID says, and which instructions there are; before the first `run`, or the same again."""
        call = "SET_CPUID2"
        with self._locked(call):
            if len(entries) > MAX_CPUID_ENTRIES:
                fail(errno.E2BIG, call, f"{MAX_CPUID_ENTRIES} entries at most are right")
            copies = [structs.CpuidEntry2.from_buffer_copy(entry) for entry in entries]
            if self._has_run:
                if list(map(bytes, copies)) != list(map(bytes, self._cpuid)):
                    fail(errno.EINVAL, call, "the vCPU has run")
                return
            self._cpuid = copies
            self._area.cpuid_count = len(copies)
            for number, entry in enumerate(copies):
                names = ("function", "index", "flags", *_REGISTER_NAMES)
                self._area.cpuid[number] = CpuidEntry(*(getattr(entry, name) for name in names))
            self._set_features()
            self._reset()

    def _set_features(self) -> None:
        for word, source in WORD_SOURCES.items():
            if isinstance(source, CpuidRegister):
                entry = next(
                    (
                        entry
                        for entry in self._cpuid
                        if entry.function == source.function
                        and (source.subleaf is None or entry.index == source.subleaf)
                    ),
                    None,
                )
                value = 0 if entry is None else getattr(entry, _REGISTER_NAMES[source.register])
                # What the engine lacks it can't be given.
                self._area.features[word] = value & feature_words(self._vm.model)[word]

    # --- Events -------------------------------------------------------------------------------------------

    def get_lapic(self) -> structs.LapicState:
        """The local APIC; EINVAL without irqchip."""
        with self._locked("GET_LAPIC"):
            self._check_lapic("GET_LAPIC")
            return structs.LapicState.from_buffer_copy(bytes(self._area.lapic.regs))

    def set_lapic(self, lapic: structs.LapicState) -> None:
        """Set it; EINVAL without irqchip."""
        with self._locked("SET_LAPIC"):
            self._check_lapic("SET_LAPIC")
            for at in range(len(self._area.lapic.regs)):
                self._area.lapic.regs[at] = int.from_bytes(bytes(lapic.regs[4 * at : 4 * at + 4]), "little")
            self._changed = True

    def _check_lapic(self, call: str) -> None:
        if self._vm.irqchip is None:
            fail(errno.EINVAL, call, "there is no irqchip")

    def get_vcpu_events(self) -> structs.VcpuEvents:
        """What is pending, in delivery or blocked."""
        with self._locked("GET_VCPU_EVENTS"):
            events = structs.VcpuEvents(flags=VcpuEventValid.SHADOW)
            events.interrupt.shadow = registers.shadow_of(self._guest)
            events.interrupt.injected = self._vector is not None
            events.interrupt.nr = self._vector or 0
            events.nmi.pending = self._area.inbox.nmi
            events.nmi.masked = bool(self._guest.interruptibility & Interruptibility.BLOCKING_BY_NMI)
            return events

    def set_vcpu_events(self, events: structs.VcpuEvents) -> None:
        """Set it; EINVAL for unknown flags, and for an exception in delivery, which never is here."""
        known = sum(VcpuEventValid) - VcpuEventValid.PAYLOAD - VcpuEventValid.TRIPLE_FAULT
        with self._locked("SET_VCPU_EVENTS"):
            if events.flags & ~known or events.exception.injected or events.exception.pending:
                fail(errno.EINVAL, "SET_VCPU_EVENTS", "no exception, and known flags, are right")
            self._vector = events.interrupt.nr if events.interrupt.injected else None
            if events.flags & VcpuEventValid.SHADOW:
                registers.load_shadow(self._guest, events.interrupt.shadow)
            if events.flags & VcpuEventValid.NMI_PENDING:
                self._area.inbox.nmi = self._area.inbox.any = events.nmi.pending
            self._guest.interruptibility &= ~Interruptibility.BLOCKING_BY_NMI
            if events.nmi.masked:
                self._guest.interruptibility |= Interruptibility.BLOCKING_BY_NMI
            self._changed = True

    def get_mp_state(self) -> int:
        """`MpState`."""
        with self._locked("GET_MP_STATE"):
            if self._area.mp_state == VcpuMode.WAIT_FOR_SIPI:
                return MpState.UNINITIALIZED
            halted = self._guest.activity_state == ActivityState.HLT
            return MpState.HALTED if halted else MpState.RUNNABLE

    def set_mp_state(self, state: int) -> None:
        """Set it; EINVAL for all but RUNNABLE without irqchip."""
        with self._locked("SET_MP_STATE"):
            known = (MpState.RUNNABLE, MpState.UNINITIALIZED, MpState.HALTED)
            if state not in known or (self._vm.irqchip is None and state != MpState.RUNNABLE):
                fail(errno.EINVAL, "SET_MP_STATE", "without irqchip RUNNABLE is right")
            waits = state == MpState.UNINITIALIZED
            self._area.mp_state = VcpuMode.WAIT_FOR_SIPI if waits else VcpuMode.IN_GUEST
            self._guest.activity_state = (
                ActivityState.HLT if state == MpState.HALTED else ActivityState.ACTIVE
            )
            self._changed = True

    def interrupt(self, vector: int) -> None:
        """Deliver an external interrupt as soon as interrupts are enabled; ENXIO with irqchip."""
        with self._locked("INTERRUPT"):
            if not 0 <= vector < _VECTORS:
                fail(errno.EINVAL, "INTERRUPT", "vectors are 0 to 255")
            if self._vm.irqchip is not None:
                fail(errno.ENXIO, "INTERRUPT", "the irqchip delivers interrupts")
            self._vector = vector

    def nmi(self) -> None:
        """Deliver an NMI as soon as it is not blocked."""
        with self._locked("NMI"):
            self._area.inbox.nmi = self._area.inbox.any = 1

    def set_signal_mask(self, blocked: Iterable[int] | None) -> None:
        """The signals that are blocked while in `run`, by number; None: as outside of it."""
        with self._locked("SET_SIGNAL_MASK"):
            self._signal_mask = None if blocked is None else frozenset(n for n in blocked if n in _SIGSET)

    def set_guest_debug(self, control: int, debugreg: Sequence[int] = ()) -> None:
        """Single step and breakpoints (`GuestDebug`), which exit with DEBUG; `debugreg`: DR0 to DR7.

        EBUSY for an event to inject while another one is in delivery, EINVAL for flags that are not there.
        """
        call = "SET_GUEST_DEBUG"
        with self._locked(call):
            if control & ~_GUEST_DEBUG:
                fail(errno.EINVAL, call, f"flags {control & ~_GUEST_DEBUG:#x} are unknown")
            block = self._area.control
            injects = control & (GuestDebug.INJECT_DB | GuestDebug.INJECT_BP)
            if injects and block.entry.interruption_information & InterruptionInformation.VALID:
                fail(errno.EBUSY, call, "an exception is pending")
            self._debugger.set(control, debugreg, block)
            self._controls_changed = self._changed = True

    def get_tsc_khz(self) -> int:
        """The guest TSC's rate."""
        with self._locked("GET_TSC_KHZ"):
            return int(self._vm.blocks.page.tsc_khz)

    def error(self) -> str:
        """What an INTERNAL_ERROR exit was about."""
        return self._runner.error()
