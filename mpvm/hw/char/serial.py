"""16550A UART (National Semiconductor PC16550D data sheet; section numbers are its).

The line is infinitely fast: a byte written to THR is with the chardev at once, so THRE and TEMT always
read 1. Only the receiver's character time-out knows the baud rate. The modem inputs CTS, DSR and DCD are
asserted, as with a null modem whose peer is on; RI is not.
"""

from collections import deque
from enum import IntFlag
from typing import Any, Final

from mpvm.abi.errors import ConfigError
from mpvm.hw.bus import IsaDevice
from mpvm.hw.char.chardev import NullChardev, chardev_property
from mpvm.hw.clock import NS_PER_SECOND
from mpvm.memory.region import Region, ShadowRegister
from mpvm.qom import properties
from mpvm.qom.type_info import register_type

CRYSTAL_HZ = 1_843_200
BAUD_DIVIDER = 16
FIFO_SIZE = 16
TIMEOUT_CHARACTERS = 4
TRIGGER_LEVELS = (1, 4, 8, 14)
REGISTERS = 8

# Register offsets (table II); 0 and 1 are DLL and DLM while LCR.DLAB is set
RBR = THR = DLL = 0
IER = DLM = 1
IIR = FCR = 2
LCR = 3
MCR = 4
LSR = 5
MSR = 6
SCR = 7


class Ier(IntFlag):
    """Interrupt Enable Register (8.5)."""

    ERBFI = 0x01
    ETBEI = 0x02
    ELSI = 0x04
    EDSSI = 0x08


class Fcr(IntFlag):
    """FIFO Control Register (8.4)."""

    FIFO_ENABLE = 0x01
    RCVR_RESET = 0x02
    XMIT_RESET = 0x04
    DMA_MODE = 0x08
    TRIGGER = 0xC0


class Lcr(IntFlag):
    """Line Control Register (8.1)."""

    WLS = 0x03
    STB = 0x04
    PEN = 0x08
    DLAB = 0x80


class Mcr(IntFlag):
    """Modem Control Register (8.7)."""

    DTR = 0x01
    RTS = 0x02
    OUT1 = 0x04
    OUT2 = 0x08
    LOOP = 0x10


class Lsr(IntFlag):
    """Line Status Register (8.3)."""

    DR = 0x01
    OE = 0x02
    PE = 0x04
    FE = 0x08
    BI = 0x10
    THRE = 0x20
    TEMT = 0x40
    FIFO_ERROR = 0x80


class Msr(IntFlag):
    """Modem Status Register (8.8)."""

    DCTS = 0x01
    DDSR = 0x02
    TERI = 0x04
    DDCD = 0x08
    CTS = 0x10
    DSR = 0x20
    RI = 0x40
    DCD = 0x80


# Interrupt identification (table IV), highest priority first
IIR_LINE_STATUS = 0x06
IIR_RECEIVED_DATA = 0x04
IIR_CHARACTER_TIMEOUT = 0x0C
IIR_THR_EMPTY = 0x02
IIR_MODEM_STATUS = 0x00
IIR_NONE = 0x01
IIR_FIFOS_ENABLED = 0xC0

_IER_MASK = 0x0F
_MCR_MASK = 0x1F
_CHARACTER_ERRORS = Lsr.PE | Lsr.FE | Lsr.BI
_MSR_DELTAS = 0x0F
_PEER_LINES = int(Msr.CTS | Msr.DSR | Msr.DCD)
# loopback wires each modem output to a modem input (8.7)
_LOOP_WIRES = (
    (Mcr.RTS, Msr.CTS),
    (Mcr.DTR, Msr.DSR),
    (Mcr.OUT1, Msr.RI),
    (Mcr.OUT2, Msr.DCD),
)
# RI's delta bit knows only one edge, the end of a ring
_DELTAS = ((Msr.CTS, Msr.DCTS), (Msr.DSR, Msr.DDSR), (Msr.DCD, Msr.DDCD))

# COM1 to COM4: base port and ISA interrupt.
UARTS: Final = ((0x3F8, 4), (0x2F8, 3), (0x3E8, 4), (0x2E8, 3))
# A property that is not given (QEMU's -1).
ANY: Final = 0xFFFFFFFF

# What firmware leaves behind: 9600 baud, 8 data bits, no parity. No reset touches the divisor.
_POWER_ON_DIVISOR = 12
_POWER_ON_LCR = 0x03


@register_type("isa-serial", description="16550A UART")
class Uart16550A(IsaDevice):
    """A 16550A at `iobase` on the ISA bus, its INTR pin gated by OUT2 as on the PC's serial card.

    THR, DLL, IER, DLM, LCR and SCR are posted. FCR and MCR are not: they change what LSR reads
    (receiver reset, loopback), and LSR is a shadowed read, which must not overtake them. LSR is
    shadowed only while reading it has no side effect and no posted write changes it: without an error
    to clear, and outside loopback.
    """

    user_creatable = True

    index = properties.uint32(ANY, "which of COM1 to COM4 it is, from 0 on; the next one")
    iobase = properties.uint32(ANY, "first of its 8 ports; where its index has them")
    irq = properties.uint32(ANY, "ISA interrupt; which its index has")
    chardev = chardev_property("where the line goes")

    def _find_place(self) -> None:
        """What is not given follows from the index, and that from how many UARTs there are already."""
        cls = type(self)
        others = sum(isinstance(each, cls) for each in self.parent_bus.devices if each is not self)
        index = others if self.index == ANY else self.index
        if index < len(UARTS):
            base, irq = UARTS[index]
        elif self.index == ANY and ANY not in (self.iobase, self.irq):
            base, irq = self.iobase, self.irq
        else:
            raise ConfigError(f"isa-serial.index: {index} is out of range, 0 to {len(UARTS) - 1} is right")
        for prop, value in ((cls.index, index), (cls.iobase, base), (cls.irq, irq)):
            if prop.get(self) == ANY:
                self.property_values[prop.name] = value

    def realize(self) -> None:
        """Take the line, and power on."""
        self._find_place()
        self._clock = clock = self.wiring.system.clock
        self._irq = self.wiring.line(self.irq)
        self._chardev = self.chardev or NullChardev()
        self._lsr_shadow = ShadowRegister()
        self._timeout_timer = clock.timer(self._timed_out)
        self._thr_timer = clock.timer(self._thr_emptied)
        self._region = Region(
            f"uart-{self.iobase:x}",
            REGISTERS,
            self._read,
            self._write,
            posted=frozenset((THR, IER, LCR, SCR)),
            shadows={LSR: self._lsr_shadow},
            strings={THR: self._write_string},
        )
        # characters with the PE, FE and BI that belong to them
        self._fifo: deque[tuple[int, int]] = deque()
        self._power_on()
        self._update()
        self._chardev.connect(self.receive, self.room, self.receive_break)

    def unrealize(self) -> None:
        """INTR goes low, no timer runs, and the chardev is nobody's."""
        self._chardev.disconnect()
        self._power_on()
        self._update()

    def ports(self) -> list[tuple[int, Region]]:
        """Where the registers are."""
        return [(self.iobase, self._region)]

    def reset_enter(self) -> None:
        """Registers as firmware leaves them at 9600 baud 8N1."""
        self._power_on()

    def reset_hold(self) -> None:
        """INTR low."""
        self._update()

    def reset_exit(self) -> None:
        """Waiting input flows in again."""
        self._chardev.room_available()

    def _power_on(self) -> None:
        self._fifo.clear()
        self._rbr = 0
        self._divisor = _POWER_ON_DIVISOR
        self._ier = 0
        self._fcr = 0
        self._lcr = _POWER_ON_LCR
        self._mcr = 0
        self._scr = 0
        self._lines = _PEER_LINES
        self._deltas = 0
        self._errors = 0
        self._timeout = False
        self._thr_empty_interrupt = False
        self._thr_settling = False
        self._timeout_timer.cancel()
        self._thr_timer.cancel()

    # -- the receiver ------------------------------------------------------------------------------

    def room(self) -> int:
        """Characters that the receiver can take without an overrun; none in loopback, where SIN is cut."""
        if self._mcr & Mcr.LOOP:
            return 0
        return max(0, self._capacity() - len(self._fifo))

    def receive(self, data: bytes) -> None:
        """Characters arrive on SIN. Beyond `room()` they overrun; in loopback they are lost."""
        if self._mcr & Mcr.LOOP:
            return
        for character in data:
            self._shift_in(character, 0)
        self._update()

    def receive_break(self) -> None:
        """SIN is held spacing for a whole character: one zero character that carries BI (8.3)."""
        if not self._mcr & Mcr.LOOP:
            self._shift_in(0, Lsr.BI)
            self._update()

    def _capacity(self) -> int:
        return FIFO_SIZE if self._fcr & Fcr.FIFO_ENABLE else 1

    def _shift_in(self, character: int, errors: int) -> None:
        if len(self._fifo) >= self._capacity():
            self._errors |= Lsr.OE
            if self._fcr & Fcr.FIFO_ENABLE:
                return
            self._fifo.clear()
        self._fifo.append((character, errors))
        if len(self._fifo) == 1:
            self._reveal_errors()
        if not self._timeout:
            self._restart_timeout()

    def _reveal_errors(self) -> None:
        # LSR shows a character's errors when it comes to the top of the FIFO (8.3)
        if self._fifo:
            character, errors = self._fifo[0]
            self._errors |= errors
            self._fifo[0] = (character, 0)

    def _pop(self) -> int:
        self._timeout = False
        if self._fifo:
            self._rbr = self._fifo.popleft()[0]
            self._reveal_errors()
        self._restart_timeout()
        self._update()
        self._chardev.room_available()
        return self._rbr

    def _clear_receiver(self) -> None:
        self._fifo.clear()
        self._timeout = False
        self._timeout_timer.cancel()

    def _character_ns(self) -> int:
        data_bits = 5 + (self._lcr & Lcr.WLS)
        # start bit, data, parity; stop bits are 1, or 2, or 1.5 with 5 data bits
        half_bits = 2 * (1 + data_bits) + (2 if self._lcr & Lcr.PEN else 0)
        half_bits += (3 if data_bits == 5 else 4) if self._lcr & Lcr.STB else 2
        # the divisor counts down: 0 is the longest count
        divisor = self._divisor or 0x10000
        return half_bits * BAUD_DIVIDER * divisor * NS_PER_SECOND // (2 * CRYSTAL_HZ)

    def _restart_timeout(self) -> None:
        if self._fifo and self._fcr & Fcr.FIFO_ENABLE:
            self._timeout_timer.arm(self._clock.now() + TIMEOUT_CHARACTERS * self._character_ns())
        else:
            self._timeout_timer.cancel()

    def _timed_out(self) -> None:
        self._timeout = True
        self._update()

    # -- the transmitter ---------------------------------------------------------------------------

    def _write_string(self, data: bytes) -> None:
        """What writing each byte of `data` to offset 0 does."""
        if self._lcr & Lcr.DLAB:
            self._write_register(THR, data[-1])
        else:
            self._transmit(data)

    def _transmit(self, characters: bytes) -> None:
        if self._mcr & Mcr.LOOP:
            for character in characters:
                self._shift_in(character & ((1 << 5 + (self._lcr & Lcr.WLS)) - 1), 0)
        else:
            self._chardev.write(characters)
        self._thr_empty_interrupt = True
        # Writing THR takes the interrupt back and its emptying raises it anew: the line must show an
        # edge. It rises when timers run next, so that a burst of posted bytes makes one edge, not one each.
        if self._ier & Ier.ETBEI:
            self._thr_settling = True
            self._thr_timer.arm(self._clock.now())
        if self._ier or self._mcr & Mcr.LOOP:
            self._update()

    def _thr_emptied(self) -> None:
        self._thr_settling = False
        self._update()

    # -- interrupts and status ---------------------------------------------------------------------

    def _interrupt(self, thr_empty: bool) -> int:
        """The interrupt of the highest priority, as IIR shows it (table IV)."""
        if self._errors and self._ier & Ier.ELSI:
            return IIR_LINE_STATUS
        if self._ier & Ier.ERBFI:
            fifo_enabled = self._fcr & Fcr.FIFO_ENABLE
            trigger = TRIGGER_LEVELS[self._fcr >> 6] if fifo_enabled else 1
            if len(self._fifo) >= trigger:
                return IIR_RECEIVED_DATA
            if self._timeout:
                return IIR_CHARACTER_TIMEOUT
        if thr_empty and self._ier & Ier.ETBEI:
            return IIR_THR_EMPTY
        if self._deltas and self._ier & Ier.EDSSI:
            return IIR_MODEM_STATUS
        return IIR_NONE

    def _update(self) -> None:
        """Drive INTR through OUT2's gate and publish LSR after any change."""
        thr_empty = self._thr_empty_interrupt and not self._thr_settling
        # In loopback the OUT2 pin is inactive, yet 8.7 has interrupts "fully operational": as in the
        # chips that hold the gate inside, it is the bit that gates.
        gate = self._mcr & Mcr.OUT2
        self._irq.set(1 if gate and self._interrupt(thr_empty) != IIR_NONE else 0)
        if self._errors or self._mcr & Mcr.LOOP:
            self._lsr_shadow.set_synchronous()
        else:
            self._lsr_shadow.set_constant(self._lsr())

    def _lsr(self) -> int:
        value = self._errors | Lsr.THRE | Lsr.TEMT
        if self._fifo:
            value |= Lsr.DR
        if self._fcr & Fcr.FIFO_ENABLE and (
            self._errors & _CHARACTER_ERRORS or any(errors for _, errors in self._fifo)
        ):
            value |= Lsr.FIFO_ERROR
        return int(value)

    def _set_modem_lines(self) -> None:
        if self._mcr & Mcr.LOOP:
            lines = sum(int(status) for control, status in _LOOP_WIRES if self._mcr & control)
        else:
            lines = _PEER_LINES
        changed = lines ^ self._lines
        for line, delta in _DELTAS:
            if changed & line:
                self._deltas |= delta
        if changed & Msr.RI and not lines & Msr.RI:
            self._deltas |= Msr.TERI
        self._lines = lines

    # -- registers ---------------------------------------------------------------------------------

    def _read(self, offset: int, size: int) -> int:
        if size == 1:
            return self._read_register(offset)
        # the bus splits a wider access to an 8-bit card
        return sum(self._read_register(offset + i) << 8 * i for i in range(size))

    def _write(self, offset: int, size: int, value: int) -> None:
        for i in range(size):
            self._write_register(offset + i, value >> 8 * i & 0xFF)

    def _read_register(self, offset: int) -> int:
        if offset == LSR:
            value = self._lsr()
            if self._errors:
                self._errors = 0
                self._update()
            return value
        if offset <= DLM and self._lcr & Lcr.DLAB:
            return self._divisor >> 8 * offset & 0xFF
        if offset == RBR:
            return self._pop()
        if offset == IIR:
            return self._read_iir()
        if offset == MSR:
            value = self._lines | self._deltas
            self._deltas = 0
            self._update()
            return value
        return {IER: self._ier, LCR: self._lcr, MCR: self._mcr, SCR: self._scr}[offset]

    def _read_iir(self) -> int:
        value = self._interrupt(self._thr_empty_interrupt)
        if value == IIR_THR_EMPTY:
            self._thr_empty_interrupt = False
            self._thr_settling = False
            self._thr_timer.cancel()
            self._update()
        return value | IIR_FIFOS_ENABLED if self._fcr & Fcr.FIFO_ENABLE else value

    def _write_register(self, offset: int, value: int) -> None:
        if offset <= DLM and self._lcr & Lcr.DLAB:
            shift = 8 * offset
            self._divisor = self._divisor & ~(0xFF << shift) | value << shift
        elif offset == THR:
            self._transmit(bytes((value,)))
        elif offset == IER:
            self._write_ier(value & _IER_MASK)
        elif offset == FCR:
            self._write_fcr(value)
        elif offset == LCR:
            self._lcr = value
        elif offset == MCR:
            self._mcr = value & _MCR_MASK
            self._set_modem_lines()
            self._update()
            # leaving loopback reconnects SIN
            self._chardev.room_available()
        elif offset == SCR:
            self._scr = value
        # LSR is for factory tests (8.3) and MSR is read-only: nothing a program may write

    def _write_ier(self, value: int) -> None:
        # THR is empty, so enabling its interrupt raises it, even when it was identified before
        if value & ~self._ier & Ier.ETBEI:
            self._thr_empty_interrupt = True
            self._thr_settling = False
        self._ier = value
        self._update()

    def _write_fcr(self, value: int) -> None:
        enabled = value & Fcr.FIFO_ENABLE
        if (value ^ self._fcr) & Fcr.FIFO_ENABLE:
            # either change of mode clears both FIFOs, and the first transmitter interrupt after it is
            # immediate (8.4, 8.6)
            self._clear_receiver()
            self._thr_empty_interrupt = True
        elif enabled and value & Fcr.RCVR_RESET:
            self._clear_receiver()
        # the other bits are only programmed together with FIFO_ENABLE; the reset bits clear themselves
        self._fcr = value & (Fcr.FIFO_ENABLE | Fcr.DMA_MODE | Fcr.TRIGGER) if enabled else 0
        self._update()
        self._chardev.room_available()

    # -- state -------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Registers, receiver FIFO as [character, errors] pairs, time left to the time-out in ns."""
        deadline = self._timeout_timer.deadline
        return {
            "fifo": [list(entry) for entry in self._fifo],
            "rbr": self._rbr,
            "divisor": self._divisor,
            "ier": self._ier,
            "fcr": self._fcr,
            "lcr": self._lcr,
            "mcr": self._mcr,
            "scr": self._scr,
            "lines": self._lines,
            "deltas": int(self._deltas),
            "errors": int(self._errors),
            "timeout": self._timeout,
            "timeout_in_ns": None if deadline is None else deadline - self._clock.now(),
            "thr_empty_interrupt": self._thr_empty_interrupt,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take over `state`, drive the IRQ line and publish LSR to match."""
        self._fifo = deque((int(character), int(errors)) for character, errors in state["fifo"])
        self._rbr = state["rbr"]
        self._divisor = state["divisor"]
        self._ier = state["ier"]
        self._fcr = state["fcr"]
        self._lcr = state["lcr"]
        self._mcr = state["mcr"]
        self._scr = state["scr"]
        self._lines = state["lines"]
        self._deltas = state["deltas"]
        self._errors = state["errors"]
        self._timeout = state["timeout"]
        self._thr_empty_interrupt = state["thr_empty_interrupt"]
        self._thr_settling = False
        self._thr_timer.cancel()
        if state["timeout_in_ns"] is None:
            self._timeout_timer.cancel()
        else:
            self._timeout_timer.arm(self._clock.now() + state["timeout_in_ns"])
        self._update()
        self._chardev.room_available()
