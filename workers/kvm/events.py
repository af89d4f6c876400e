"""Events of a vCPU on KVM: what KVM is given of those in the local APIC and the inbox, what it gives back.

No interrupt controller is in the kernel: KVM takes one interrupt at a time, when the guest can take it.
"""

import ctypes
from enum import Enum, auto
from typing import Any, Final

from mpvm.abi.control_bits import InterruptionInformation
from mpvm.abi.exits import ExtInt
from mpvm.abi.kvm.vcpu import Vcpu
from mpvm.abi.layout import Startup, VcpuArea, VcpuMode
from workers.kvm import state

_RFLAGS_IF: Final = 1 << 9


class Offered(Enum):
    """What comes before the guest is entered: an exit for its open window, or for a vector of the 8259s."""

    NOTHING = auto()
    WINDOW = auto()
    EXTINT = auto()


class Events:
    """Events between KVM's `vcpu`, whose area is `area`, and its local APIC, `apic` of the library `core`."""

    def __init__(self, core: ctypes.CDLL, apic: Any, vcpu: Vcpu, area: VcpuArea) -> None:
        self._core = core
        self._apic = apic
        self._vcpu = vcpu
        self._run = vcpu.kvm_run
        self._area = area
        self._counters = area.counters
        #: Of the interrupt that KVM was given last, if the 8259s have sent it.
        self._acknowledged_vector = -1

    def offer(self, *, window: bool) -> Offered:
        """Give KVM what it can take now, and ask for the moment when it can take the rest.

        `window`: an open interrupt window is to exit.
        """
        inbox, run = self._area.inbox, self._run
        if self._area.control.entry.interruption_information & InterruptionInformation.VALID:
            injected = state.inject(self._vcpu, self._area.control.entry)
            self._acknowledged_vector = -1 if injected is None else injected
            run.ready_for_interrupt_injection = 0
        elif window and run.ready_for_interrupt_injection:
            return Offered.WINDOW
        if nmis := inbox.nmi:
            inbox.nmi = 0
            self._counters.nmis += nmis
            for _ in range(nmis):
                self._vcpu.nmi()
            # It goes first, and what KVM_INTERRUPT has given counts as in delivery.
            run.ready_for_interrupt_injection = 0
        vector = self._core.apic_pending(self._apic)
        extint = self._core.apic_extint_pending(self._apic)
        run.request_interrupt_window = window
        if vector < 0 and not extint:
            return Offered.NOTHING
        if not run.ready_for_interrupt_injection:
            run.request_interrupt_window = 1
            return Offered.NOTHING
        if extint:
            inbox.extint = 0
            return Offered.EXTINT
        self._core.apic_accept(self._apic, vector)
        self.interrupt(vector)
        return Offered.NOTHING

    def acknowledged(self, answer: int) -> None:
        """What the 8259s say to `Offered.EXTINT`, as `ExtInt`."""
        if answer & ExtInt.VALID:
            self._counters.interrupts += 1
            self.interrupt(answer & 0xFF)
            self._acknowledged_vector = answer & 0xFF

    def interrupt(self, vector: int) -> None:
        """Have KVM deliver `vector`, which the guest can take."""
        self._vcpu.interrupt(vector)
        self._acknowledged_vector = -1
        # Until the kernel says so again; the next one waits for its window.
        self._run.ready_for_interrupt_injection = 0

    def take_back(self, registers: state.Registers) -> None:
        """What KVM was given and has not delivered waits in the local APIC and the inbox again."""
        nmi, vector = registers.take_back()
        if nmi:
            self._counters.nmis -= 1
            self._area.inbox.nmi = self._area.inbox.any = 1
        if vector is None:
            return
        self._run.ready_for_interrupt_injection = 0
        if vector == self._acknowledged_vector:
            # The 8259s have forgotten it.
            self._area.control.entry.interruption_information = InterruptionInformation.VALID | vector
        else:
            self._core.apic_give_back(self._apic, vector)

    def wait_halted(self) -> bool:
        """Wait for what ends a HLT; False if something else has to be looked at first."""
        takes_nmi = not self._vcpu.get_vcpu_events().nmi.masked
        takes_interrupts = bool(self._vcpu.get_regs().rflags & _RFLAGS_IF)
        self._core.apic_wait(self._apic, takes_interrupts, takes_nmi)
        inbox = self._area.inbox
        if self._area.request or inbox.startup & Startup.INIT:
            return False
        # Nothing holds off what a HLT has waited for.
        self._run.ready_for_interrupt_injection = takes_interrupts
        return True

    def wait_for_sipi(self) -> None:
        """Wait for the SIPI that starts an application processor, and begin where it says."""
        self._core.apic_wait(self._apic, False, False)
        if self._area.request:
            return
        startup = self._core.apic_take_startup(self._apic)
        if not startup & Startup.SIPI:
            return
        vector = startup & 0xFF
        sregs = self._vcpu.get_sregs()
        sregs.cs.selector, sregs.cs.base = vector << 8, vector << 12
        self._vcpu.set_sregs(sregs)
        regs = self._vcpu.get_regs()
        regs.rip = 0
        self._vcpu.set_regs(regs)
        self._area.mp_state = VcpuMode.IN_GUEST

    def take_init(self, registers: state.Registers) -> None:
        """The INIT that has come."""
        self._core.apic_reset(self._apic, True)
        registers.init(self._area.control.guest.apic_base)
        self._run.ready_for_interrupt_injection = 0
        self._core.apic_init_done(self._apic)
