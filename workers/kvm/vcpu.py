"""A vCPU on `/dev/kvm`: what `workers.vcpu` drives.

One VM with one vCPU, since KVM ties a VM to the process that made it; RAM is shared with the others. No
interrupt controller is in the kernel: the local APIC is the one of `workers/engine/lapic.c`, in shared
memory, so that IPIs, the timer and HLT are as between engines. A kick is a signal; its handler sets
`immediate_exit`, so that one that comes on the way into the guest is not lost.
"""

import ctypes
import signal
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Final

from mpvm.abi import entry_checks, layout
from mpvm.abi.control_bits import ActivityState, Answer, ExitCause, InterruptionInformation
from mpvm.abi.entry_checks import EntryCheck
from mpvm.abi.errors import StartError
from mpvm.abi.exits import ExitReason, IoDirection
from mpvm.abi.kvm import constants
from mpvm.abi.kvm.constants import Cap, GuestDebug, MsrExitReason, MsrFilter
from mpvm.abi.kvm.system import System
from mpvm.abi.layout import Startup, VcpuArea, VcpuMode, VmPage
from mpvm.abi.log import LogItem
from workers.kvm import access, controls, cpuid, library, msrs, state
from workers.kvm.access import Access
from workers.kvm.coalesced import Coalesced
from workers.kvm.controls import Controls
from workers.kvm.events import Events, Offered
from workers.kvm.memory import Memory
from workers.kvm.msrs import Msrs
from workers.symbols import Symbols

#: Opened once, at import, as the engine's.
_core = library.load()

VERSION: Final = f"KVM, API {constants.API_VERSION}"

#: The coordinator's kick, and the engine core's own (kick.c).
_KICK_SIGNALS: Final = {signal.SIGUSR1, signal.SIGRTMIN + 8}
#: Four pages below 4 GiB that Intel hosts need for real mode, below what firmware may have.
_IDENTITY_MAP, _TSS = 0xFEFFC000, 0xFEFFD000
NO_TSC_OFFSET: Final = "accelerator kvm has no USE_TSC_OFFSETTING here: the host's KVM keeps no TSC offset"
#: RDMSR and WRMSR, without prefixes.
_MSR_BYTES: Final = 2
_MCG_CTL_P, _MC_BANKS = 1 << 8, 10


class Vcpu:
    """One VM and its vCPU over the VM block and the RAM block, both as addresses in this process."""

    def __init__(self, vm_address: int, ram_address: int, index: int, doorbell: int) -> None:
        self._page = VmPage.from_address(vm_address)
        self._area = VcpuArea.from_address(vm_address + layout.VCPU_OFFSET + index * layout.VCPU_STRIDE)
        self._exit = self._area.control.exit
        self._counters = self._area.counters
        try:
            self._open(ram_address)
        except OSError as error:
            raise StartError(f"vCPU {index}: {error.filename or 'KVM'}: {error.strerror}") from error
        why = ctypes.c_char_p()
        self._apic = _core.apic_create(vm_address, index, doorbell, ctypes.byref(why))
        if not self._apic:
            raise StartError(f"vCPU {index}: {(why.value or b'no reason given').decode()}")
        run_address = ctypes.addressof(self._run)
        _core.apic_set_immediate_exit(self._apic, run_address + type(self._run).immediate_exit.offset)
        self._value = ctypes.c_uint64()
        self._error = ""
        self._halted = False
        #: An exit's instruction is completed by the next entry.
        self._unsettled = False
        self._controls = Controls()
        self._failed_check = EntryCheck.NONE
        self._refusal = ""
        #: What KVM has said of the state that it was to load last.
        self._bad_state = ""
        #: One instruction runs in an open interrupt window whose exit was answered.
        self._passing = False
        #: The MSR's access runs again, with registers that its exit's answer has changed, and does not exit.
        self._answered_msr = False
        control = self._area.control
        self._msrs = Msrs(_core, self._apic, self._vcpu, control, self._follow_tsc_adjust)
        self._events = Events(_core, self._apic, self._vcpu, self._area)
        self._accesses: Iterator[Access] = iter(())
        self._answer: Callable[[int], None] | None = None

    def _open(self, ram_address: int) -> None:
        self._system = System.open()
        self._vm = self._system.create_vm()
        self._vm.set_identity_map_addr(_IDENTITY_MAP)
        self._vm.set_tss_addr(_TSS)
        self._vm.enable_cap(
            Cap.X86_USER_SPACE_MSR, MsrExitReason.INVAL | MsrExitReason.UNKNOWN | MsrExitReason.FILTER
        )
        msrs.set_filter(self._vm, None)
        self._memory = Memory(self._vm, self._page, ram_address)
        self._vcpu = self._vm.create_vcpu(self._area.index)
        self._run = self._vcpu.kvm_run
        self._vcpu.setup_mce(_MCG_CTL_P | _MC_BANKS)
        # While in the guest, only a kick ends the run; all else waits for the next exit.
        self._vcpu.set_signal_mask(signal.valid_signals() - _KICK_SIGNALS - {signal.SIGKILL, signal.SIGSTOP})
        self._coalesced = Coalesced(self._vm, self._vcpu, self._page, self._area)

    @cached_property
    def _registers(self) -> state.Registers:
        """Made with the CPU model, which stands in the area when the machine is there; KVM wants it once."""
        supported = self._system.supported_cpuid()
        entries = cpuid.filtered(self._area.cpuid[: self._area.cpuid_count], supported)
        self._vcpu.set_cpuid2(entries)
        return state.Registers(self._vcpu, self._area.control, entries)

    def apply_controls(self) -> None:
        """Take over all controls of the control block; what is wrong or KVM can't do makes `run` fail."""
        if not self._admits():
            return
        before, self._controls = self._controls, controls.taken(self._area.control.execution)
        self._coalesced.allow(self._controls.ports is None)
        if self._controls.msrs != before.msrs:
            msrs.set_filter(self._vm, self._controls.msrs)
        self._passing = False
        self._follow_step()
        self._msrs.tsc_offset = self._controls.tsc_offset
        self._follow_tsc_adjust()

    def _admits(self) -> bool:
        """Whether an entry with this control block would succeed."""
        self._refusal = ""
        self._failed_check = entry_checks.failed_check(self._area.control)
        if not self._failed_check and (why := controls.refused(self._area.control)) is not None:
            self._refuse(why)
        if not self._failed_check and self._bad_state:
            self._refuse(self._bad_state)
        return not self._failed_check

    def _refuse(self, why: str) -> None:
        self._failed_check, self._refusal = EntryCheck.UNSUPPORTED, why

    def _follow_step(self) -> None:
        step = self._controls.step or self._passing
        self._vcpu.set_guest_debug(GuestDebug.ENABLE | GuestDebug.SINGLESTEP if step else GuestDebug(0))

    def log(self, fd: int, mask: int) -> None:
        """Refuse: the kernel delivers interrupts and does not tell."""
        names = ", ".join(item.name.lower() for item in LogItem if item & mask and item.name)
        raise StartError(f"-d {names}: accelerator kvm does not see these, unicorn does")

    def write_perf_map(self, fd: int, symbols: Symbols) -> None:
        """Refuse: no code is translated."""
        raise StartError("the perf map is of translated code, accelerator kvm has none: unicorn is right")

    def reset(self, *, load_state: bool) -> None:
        """Power-on reset; the boot processor then takes over the control block's guest state if asked."""
        guest = self._area.control.guest
        apic_base = guest.apic_base
        self._forget_exit()
        self._coalesced.start(self.kick)
        _core.apic_reset(self._apic, False)
        self._area.mp_state = VcpuMode.IN_GUEST if self._area.is_bsp else VcpuMode.WAIT_FOR_SIPI
        self._registers.power_on(guest.apic_base)
        self._follow_tsc_adjust()
        if load_state and self._area.is_bsp:
            guest.apic_base = apic_base
            self.load_state()

    def leave_firmware(self) -> None:
        """See `Accelerator`; the MSRs that count are the MTRRs."""
        _core.apic_leave_firmware(self._apic)
        if not self._area.is_bsp:
            self._registers.load_memory_types()

    def run(self) -> int:
        """Run the guest until the next exit; its `ExitReason`."""
        if self._failed_check:
            return self._fail_entry(self._failed_check, self._refusal)
        if (place := self._msrs.load()) != 0:
            self._exit.qualification = place
            self._exit.msr_index = self._area.control.entry.msr_load[place - 1].index
            return self._fail_entry(EntryCheck.MSR_LOAD)
        _core.apic_enter(self._apic)
        try:
            reason = self._take_answer() or self._run_until_exit()
        except OSError as error:
            self._error = f"{error.filename}: {error.strerror}"
            reason = ExitReason.INTERNAL_ERROR
        finally:
            _core.apic_leave(self._apic)
        self._msrs.store()
        self._exit.reason = reason
        self._counters.exits[reason] += 1
        return reason

    def _fail_entry(self, check: EntryCheck, why: str = "") -> int:
        self._error = why or entry_checks.describe(check)
        self._exit.reason, self._exit.failed_check = ExitReason.FAIL_ENTRY, check
        self._counters.exits[ExitReason.FAIL_ENTRY] += 1
        return ExitReason.FAIL_ENTRY

    def _take_answer(self) -> int:
        """What the owner says of the exit before; 0, or the reason why it can't be."""
        answered = Answer(self._exit.answer) if self._exit.cause == ExitCause.CONTROL else Answer(0)
        self._exit.cause, self._exit.answer = ExitCause.MACHINE, 0
        answer, self._answer = self._answer, None
        reason = self._exit.reason
        if answered:
            if reason == ExitReason.IO and self._exit.port == self._page.state_port:
                # As QEMU does it: KVM ends the instruction with the registers that it has then.
                self._registers.load_general()
            elif reason == ExitReason.IO:
                why = "accelerator kvm takes no registers in a port's exit: KVM is within the instruction"
                return self._fail_entry(EntryCheck.UNSUPPORTED, why)
            else:
                self.load_state()
            if self._failed_check:
                return self._fail_entry(self._failed_check, self._refusal)
            if reason in (ExitReason.X86_RDMSR, ExitReason.X86_WRMSR):
                self._answered_msr, answer = not answered & Answer.DONE, None
        if answer is not None and not answered & Answer.DONE:
            answer(self._exit.data)
        return self._end_of_interrupt()

    def kick(self) -> None:
        """From another thread: make `run` look at the vCPU's requests and its inbox."""
        _core.engine_kick(self._apic)

    def save_state(self) -> None:
        """Write all architectural registers to the control block."""
        guest = self._area.control.guest
        self._events.take_back(self._registers)
        self._registers.save()
        guest.cr8 = _core.apic_tpr(self._apic) >> 4
        guest.tsc_adjust = _core.apic_tsc_adjust(self._apic)
        if self._area.mp_state == VcpuMode.WAIT_FOR_SIPI:
            guest.activity_state = ActivityState.WAIT_FOR_SIPI
        else:
            guest.activity_state = ActivityState.HLT if self._halted else ActivityState.ACTIVE

    def load_state(self) -> None:
        """Take over all architectural registers from the control block."""
        guest = self._area.control.guest
        self._bad_state = ""
        self._forget_exit()
        if not self._admits():
            return
        try:
            msr = self._registers.load()
            if msr is not None:
                self._bad_state = f"KVM refuses the state: MSR {msr:#x}"
        except OSError as error:
            self._bad_state = f"KVM refuses the state: {error.filename}: {error.strerror}"
        if self._bad_state:
            self._refuse(self._bad_state)
            return
        # CR8 is the upper half of the local APIC's register, whose lower half stays.
        if _core.apic_tpr(self._apic) >> 4 != guest.cr8:
            _core.apic_set_tpr(self._apic, guest.cr8 << 4)
        _core.apic_set_tsc_adjust(self._apic, guest.tsc_adjust)
        self._follow_tsc_adjust()
        self._halted = guest.activity_state == ActivityState.HLT
        self._area.mp_state = (
            VcpuMode.WAIT_FOR_SIPI
            if guest.activity_state == ActivityState.WAIT_FOR_SIPI
            else VcpuMode.IN_GUEST
        )

    def error(self) -> str:
        """What an INTERNAL_ERROR or FAIL_ENTRY exit was about."""
        return self._error

    def close(self) -> None:
        """Free it."""
        self._forget_exit()
        self._coalesced.stop()
        _core.apic_destroy(self._apic)
        self._apic = None
        del self._events, self._run
        self._vcpu.close()
        self._vm.close()
        self._system.close()

    # --- The loop ---------------------------------------------------------------------------------

    def _run_until_exit(self) -> int:
        """Everything that the worker serves itself happens in here."""
        while True:
            for one in self._accesses:
                if reason := self._access(one):
                    return reason
            self._memory.update(self._mark_dirty)
            go_on = _core.apic_attend(self._apic)
            if not go_on and not self._unsettled:
                if self._area.inbox.startup & Startup.INIT:
                    self._events.take_init(self._registers)
                    self._halted = False
                    continue
                self.save_state()
                self._memory.take_dirty_log(self._mark_dirty)
                return ExitReason.INTR
            if self._area.mp_state == VcpuMode.WAIT_FOR_SIPI:
                self._events.wait_for_sipi()
                continue
            if self._area.control.entry.interruption_information & InterruptionInformation.VALID:
                self._halted = False
            if self._halted:
                self._halted = not self._events.wait_halted()
                continue
            if go_on:
                if reason := self._offer_interrupts():
                    return reason
            else:
                # Complete the instruction, then look again.
                self._run.immediate_exit = 1
            if reason := self._enter():
                return reason

    def _offer_interrupts(self) -> int:
        """Give KVM what it can take now; 0, or the reason of an exit that comes first."""
        offered = self._events.offer(window=self._controls.window and not self._passing)
        if offered is Offered.WINDOW:
            self._answer = self._pass_window
            return self._by_control(ExitReason.IRQ_WINDOW_OPEN)
        if offered is Offered.EXTINT:
            self._answer = self._events.acknowledged
            return int(ExitReason.IRQ_WINDOW_OPEN)
        return 0

    def _pass_window(self, _data: int) -> None:
        """The next instruction runs with the window open; then it exits again."""
        self._passing = True
        self._follow_step()

    def _enter(self) -> int:
        """Into the guest and out again; 0, or the reason of an exit that is not served here."""
        cr8 = _core.apic_tpr(self._apic) >> 4
        self._run.cr8 = cr8
        try:
            reason = self._vcpu.run()
        except InterruptedError:
            reason = ExitReason.INTR
        self._unsettled = False
        if self._run.cr8 != cr8:
            _core.apic_set_tpr(self._apic, self._run.cr8 << 4)
        self._coalesced.drain(self._post)
        return self._serve(reason)

    def _serve(self, reason: int) -> int:
        run = self._run
        if reason == ExitReason.IO:
            self._unsettled = True
            self._accesses = access.of_port(run)
        elif reason == ExitReason.MMIO:
            self._unsettled = True
            self._accesses = access.of_memory(run)
        elif reason in (ExitReason.X86_RDMSR, ExitReason.X86_WRMSR):
            self._unsettled = True
            return self._msr(reason)
        elif reason == ExitReason.HLT:
            if self._controls.hlt:
                self._answer = self._halt
                return self._by_control(ExitReason.HLT)
            self._counters.exits[reason] += 1
            self._halt()
        elif reason == ExitReason.DEBUG and (self._controls.step or self._passing):
            if self._passing:
                self._passing = False
                self._follow_step()
            if self._controls.step:
                return self._by_control(ExitReason.MONITOR_TRAP_FLAG)
        elif reason in (ExitReason.INTR, ExitReason.IRQ_WINDOW_OPEN, ExitReason.SET_TPR):
            pass
        elif reason == ExitReason.SHUTDOWN:
            self.save_state()
            return reason
        elif reason == ExitReason.FAIL_ENTRY:
            failure = run.fail_entry.hardware_entry_failure_reason
            self._error = f"the hardware refuses the guest's state, reason {failure:#x}"
            return reason
        else:
            self._error = self._describe(reason)
            return ExitReason.INTERNAL_ERROR
        return 0

    def _by_control(self, reason: ExitReason, instruction_length: int = 0) -> int:
        """An exit that a control asks for."""
        self.save_state()
        self._exit.cause, self._exit.answer = ExitCause.CONTROL, 0
        self._exit.qualification, self._exit.instruction_length = 0, instruction_length
        return int(reason)

    def _halt(self, _data: int = 0) -> None:
        self._counters.halts += 1
        self._halted = True

    def _describe(self, reason: int) -> str:
        rip = self._vcpu.get_regs().rip
        if reason != ExitReason.INTERNAL_ERROR:
            return f"KVM: exit {reason} at RIP {rip:#x}, which is not served"
        internal = self._run.internal
        data = " ".join(f"{word:#x}" for word in internal.data[: internal.ndata])
        return f"KVM: internal error {internal.suberror} at RIP {rip:#x}, data {data or 'none'}"

    # --- Ports, memory, MSRs ------------------------------------------------------------------------

    def _access(self, one: Access) -> int:
        """Serve an access here, or make it an exit: its reason."""
        mapping = self._vcpu.mapping
        place = slice(one.place, one.place + one.size)
        if one.direction == IoDirection.OUT:
            data = int.from_bytes(mapping[place], "little")
            if self._write_here(one, data):
                return self._end_of_interrupt()
            return self._ask(one.reason, one.direction, one.address, one.size, data)

        def answer(data: int) -> None:
            mapping[place] = (data & (1 << 8 * one.size) - 1).to_bytes(one.size, "little")

        if self._read_here(one):
            answer(self._value.value)
            return 0
        self._answer = answer
        return self._ask(one.reason, one.direction, one.address, one.size, 0)

    def _end_of_interrupt(self) -> int:
        """The exit for the end of a level-triggered interrupt, if the access was one; else 0."""
        vector = _core.apic_owed_eoi(self._apic)
        return self._ask(ExitReason.IOAPIC_EOI, IoDirection.OUT, vector, 1, 0) if vector >= 0 else 0

    def _exits_with_state(self, port: int, size: int) -> bool:
        return self._controls.exits(port, size) or port == self._page.state_port != 0

    def _read_here(self, one: Access) -> bool:
        value = ctypes.byref(self._value)
        if one.reason == ExitReason.IO and self._exits_with_state(one.address, one.size):
            return False
        if one.reason == ExitReason.MMIO:
            return bool(_core.apic_mmio_read(self._apic, one.address, value))
        return bool(_core.apic_port_read(self._apic, one.address, one.size, value))

    def _write_here(self, one: Access, data: int) -> bool:
        if one.reason == ExitReason.IO and self._exits_with_state(one.address, one.size):
            return False
        if one.reason == ExitReason.MMIO:
            return bool(_core.apic_mmio_write(self._apic, one.address, one.size, data))
        return bool(_core.apic_port_write(self._apic, one.address, one.size, data))

    def _ask(self, reason: ExitReason, direction: int, address: int, size: int, data: int) -> int:
        exit_ = self._exit
        exit_.direction, exit_.size, exit_.count, exit_.data = direction, size, 1, data
        exit_.guest_physical_address = address
        exit_.port = address & 0xFFFF
        if reason == ExitReason.IO and self._exits_with_state(address, size):
            return self._by_control(reason)
        return int(reason)

    def _post(self, port: int, size: int, data: int) -> None:
        """A write that KVM has coalesced; the ring has room again when the coordinator has looked at it."""
        while not _core.apic_port_write(self._apic, port, size, data):
            _core.apic_leave(self._apic)
            _core.apic_enter(self._apic)

    def _mark_dirty(self, page: int) -> None:
        _core.apic_dirty(self._apic, page)

    def _msr(self, reason: int) -> int:
        """Serve an access to an MSR here, or make it an exit: its reason."""
        msr = self._run.msr
        kind = MsrFilter.READ if reason == ExitReason.X86_RDMSR else MsrFilter.WRITE
        # What KVM has refused by itself is no MSR of its own.
        ask_kvm = msr.reason == MsrExitReason.FILTER

        def serve(_data: int = 0) -> None:
            if kind is MsrFilter.READ:
                value = self._msrs.read(msr.index, ask_kvm=ask_kvm)
                msr.data, done = value or 0, value is not None
            else:
                done = self._msrs.write(msr.index, msr.data, ask_kvm=ask_kvm)
            # An error is #GP.
            msr.error = not done

        if msrs.exits(self._controls.msrs, msr.index, kind) and not self._answered_msr:
            self._answer = serve
            self._exit.msr_index, self._exit.data = msr.index, msr.data
            return self._by_control(ExitReason(reason), _MSR_BYTES)
        self._answered_msr = False
        self._counters.exits[reason] += 1
        serve()
        return self._end_of_interrupt()

    def _follow_tsc_adjust(self) -> None:
        """All vCPUs' TSCs are the host's plus the VM's offset, plus what the guest has made of its own.

        And what the control block adds: then KVM has to keep it, which not every host's does.
        """
        offset = self._page.tsc_offset + _core.apic_tsc_adjust(self._apic) + self._controls.tsc_offset
        offset &= (1 << 64) - 1
        self._vcpu.set_attribute(constants.VCPU_TSC_CTRL, constants.VCPU_TSC_OFFSET, offset)
        if self._controls.tsc_offset:
            kept = self._vcpu.get_attribute(constants.VCPU_TSC_CTRL, constants.VCPU_TSC_OFFSET)
            if kept != offset:
                self._refuse(NO_TSC_OFFSET)

    def _forget_exit(self) -> None:
        """Let KVM finish the instruction that it is in the middle of: registers are set anew."""
        while self._unsettled:
            self._run.immediate_exit = 1
            try:
                self._vcpu.run()
            except InterruptedError:
                self._unsettled = False
        self._accesses = iter(())
        self._answer = None
        self._halted = False
        self._run.ready_for_interrupt_injection = 0
