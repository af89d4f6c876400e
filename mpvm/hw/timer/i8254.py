"""The 8254 programmable interval timer (Intel 8254 data sheet, order 231164) and its port 0x61.

Everything is computed in CLK pulses since the clock's zero, an exact integer: `Counter` goes from
one access to the next in one step, whatever lies between, and nothing drifts.
"""

import copy
from collections.abc import Callable
from typing import Any, ClassVar

from mpvm.hw.bus import IsaDevice
from mpvm.hw.clock import NS_PER_SECOND
from mpvm.memory.region import Region
from mpvm.qom import properties
from mpvm.qom.type_info import register_type

CLOCK_HZ = 1193182

PIT_PORT = 0x40
CONTROL_WORD = 3
READ_BACK = 3  # in place of a counter's number

# Control word: access (RW1, RW0), read-back command, status byte.
LATCH = 0
LSB = 1
MSB = 2
READ_BACK_NO_COUNT = 0x20
READ_BACK_NO_STATUS = 0x10
STATUS_OUT = 0x80
STATUS_NULL_COUNT = 0x40

# Modes, by the data sheet's titles.
INTERRUPT_ON_TERMINAL_COUNT = 0
ONE_SHOT = 1
RATE_GENERATOR = 2
SQUARE_WAVE = 3
SOFTWARE_STROBE = 4
HARDWARE_STROBE = 5

PERIODIC = frozenset({RATE_GENERATOR, SQUARE_WAVE})
STROBES = frozenset({SOFTWARE_STROBE, HARDWARE_STROBE})
# A low gate stops these; the rising edge of the gate (re)loads those.
GATED = frozenset({INTERRUPT_ON_TERMINAL_COUNT, RATE_GENERATOR, SQUARE_WAVE, SOFTWARE_STROBE})
TRIGGERED = frozenset({ONE_SHOT, RATE_GENERATOR, SQUARE_WAVE, HARDWARE_STROBE})

# Port 0x61, "NMI status and control" (PIIX3, order 290550).
SPEAKER_PORT = 0x61
TIMER_2_GATE = 0x01
SPEAKER_WRITABLE = 0x0F
REFRESH_TOGGLE = 0x10
TIMER_2_OUT = 0x20
REFRESH_PULSES = 18  # DRAM refresh every 15.085 us

# Control word and count of each counter as a PC's firmware leaves them.
POWER_ON = ((0x36, 0), (0x54, REFRESH_PULSES), (0xB6, 0))


def _from_bcd(value: int) -> int:
    return sum((value >> 4 * digit & 0xF) * 10**digit for digit in range(4))


def _to_bcd(value: int) -> int:
    return sum(value // 10**digit % 10 << 4 * digit for digit in range(4))


class Counter:
    """One counter. `advance` brings it to a CLK pulse; all else acts between two pulses.

    `cr` is the count register, `ce` the counting element. In modes 2 and 3 `ce` runs from the count
    to its reload; in the others it wraps at `modulus` as the chip does.
    """

    _STATE = (
        "control",
        "gate",
        "out",
        "cr",
        "ce",
        "odd",
        "written",
        "counting",
        "load_next",
        "null_count",
        "strobe_due",
        "held_lsb",
        "msb_is_next",
        "count_latch",
        "status_latch",
    )

    def __init__(self, pulse: int = 0) -> None:
        self.pulse = pulse
        self.gate = 1
        self.ce = 0
        self.write_control(0x30)

    def write_control(self, value: int) -> None:
        """A control word (its counter select taken off): mode, access, BCD; stops the counter."""
        self.control = value & 0x3F
        self.out = int(self.mode != INTERRUPT_ON_TERMINAL_COUNT)
        self.cr = 0
        self.odd = 0
        self.written = False  # a count since this control word
        self.counting = False  # CE was loaded, and no first byte of a mode 0 count stopped it
        self.load_next = False  # the next CLK pulse loads CE
        self.null_count = True
        self.strobe_due = False
        self.held_lsb: int | None = None
        self.msb_is_next = False
        self.count_latch: int | None = None
        self.status_latch: int | None = None

    @property
    def mode(self) -> int:
        """0 to 5; the high bit of modes 2 and 3 is a don't care."""
        mode = self.control >> 1 & 7
        return mode & 3 if mode > HARDWARE_STROBE else mode

    @property
    def access(self) -> int:
        """`LSB`, `MSB`, or 3 for both."""
        return self.control >> 4

    @property
    def modulus(self) -> int:
        """What a count of 0 stands for."""
        return 10_000 if self.control & 1 else 0x1_0000

    @property
    def running(self) -> bool:
        """Does a CLK pulse count?"""
        return self.counting and bool(self.gate or self.mode not in GATED)

    # -- the bus side

    def write(self, value: int) -> None:
        """A byte of a count."""
        if self.access == LSB:
            self._write_count(value)
        elif self.access == MSB:
            self._write_count(value << 8)
        elif self.held_lsb is None:
            self.held_lsb = value
            if self.mode == INTERRUPT_ON_TERMINAL_COUNT:
                self.counting = self.load_next = False
                self.out = 0
        else:
            count, self.held_lsb = self.held_lsb | value << 8, None
            self._write_count(count)

    def _write_count(self, count: int) -> None:
        count = _from_bcd(count) if self.control & 1 else count
        # The data sheet's illegal count of 1 in a periodic mode acts as the least legal one.
        self.cr = max(count % self.modulus or self.modulus, 2 if self.mode in PERIODIC else 1)
        self.written = True
        self.null_count = True
        if self.mode == INTERRUPT_ON_TERMINAL_COUNT:
            self.out = 0
        if self.mode in PERIODIC:
            self.load_next |= not self.counting
        elif self.mode not in TRIGGERED:
            self.load_next = True

    def read(self) -> int:
        """A byte of the latched status, the latched count or the running count, in that order."""
        if self.status_latch is not None:
            status, self.status_latch = self.status_latch, None
            return status
        count = self._count() if self.count_latch is None else self.count_latch
        last = self.access in (LSB, MSB) or self.msb_is_next
        high = self.access == MSB or self.msb_is_next
        self.msb_is_next = not last
        if last:
            self.count_latch = None
        return count >> 8 if high else count & 0xFF

    def _count(self) -> int:
        count = self.ce % self.modulus
        return _to_bcd(count) if self.control & 1 else count

    def latch_count(self) -> None:
        """Hold the count until it is read; a second latch before that changes nothing."""
        if self.count_latch is None:
            self.count_latch = self._count()

    def latch_status(self) -> None:
        """Hold the status byte until it is read."""
        if self.status_latch is None:
            self.status_latch = (
                self.control | (STATUS_OUT if self.out else 0) | (STATUS_NULL_COUNT if self.null_count else 0)
            )

    def set_gate(self, gate: int) -> None:
        """Drive GATE: a rising edge triggers, a low level stops, as the mode has it."""
        if gate and not self.gate and self.mode in TRIGGERED:
            self.load_next = self.written
        if not gate and self.mode in PERIODIC:
            self.out = 1
        self.gate = gate

    # -- the CLK side

    def advance(self, pulse: int) -> bool:
        """Go on to `pulse`; true when OUT has risen on the way."""
        pulses, self.pulse = pulse - self.pulse, pulse
        if not pulses:
            return False
        rose = False
        if self.mode in STROBES and not self.out:
            self.out = 1
            rose = True
        if self.load_next:
            self._load()
            pulses -= 1
        if pulses and self.running:
            rose |= self._COUNT[self.mode](self, pulses)
        return rose

    def _load(self) -> None:
        """CR to CE. In mode 3 an odd count loses its one, which the high half makes up for."""
        self.load_next = False
        self.null_count = False
        self.counting = True
        self.strobe_due = True
        self.odd = self.cr & 1 if self.mode == SQUARE_WAVE else 0
        self.ce = self.cr - self.odd
        if self.mode == ONE_SHOT:
            self.out = 0

    def _count_to_level(self, pulses: int) -> bool:
        """Modes 0 and 1: OUT goes high at zero and stays there; CE wraps."""
        expired = pulses >= (self.ce or self.modulus)
        self.ce = (self.ce - pulses) % self.modulus
        rose = expired and not self.out
        self.out |= expired
        return rose

    def _count_to_strobe(self, pulses: int) -> bool:
        """Modes 4 and 5: OUT is low for the one pulse at zero; CE wraps."""
        left = self.ce or self.modulus
        self.ce = (self.ce - pulses) % self.modulus
        if not self.strobe_due or pulses < left:
            return False
        self.strobe_due = False
        self.out = int(pulses > left)
        return bool(self.out)

    def _count_rate(self, pulses: int) -> bool:
        """Mode 2: OUT is low while CE is 1; the pulse after that reloads."""
        reloads = pulses >= self.ce
        if reloads:
            pulses -= self.ce
            self._load()
            pulses %= self.ce
        self.ce -= pulses
        self.out = int(self.ce != 1)
        return reloads

    def _count_square(self, pulses: int) -> bool:
        """Mode 3: CE goes down by two; OUT turns over and CE is reloaded at the end of each half."""
        rose = False
        if pulses >= self._half_left():
            pulses -= self._half_left()
            rose = self._turn_over()
            rose |= pulses >= self.cr
            pulses %= self.cr
            if pulses >= self._half_left():
                pulses -= self._half_left()
                rose |= self._turn_over()
        self.ce -= 2 * pulses
        return rose

    def _half_left(self) -> int:
        return self.ce // 2 + (self.odd & self.out)

    def _turn_over(self) -> bool:
        self.out ^= 1
        self._load()
        return bool(self.out)

    def next_rise(self) -> int | None:
        """The CLK pulse of OUT's next rising edge, None while nothing is under way to one."""
        if self.mode in STROBES and not self.out:
            return self.pulse + 1
        if self.load_next:
            loaded = copy.copy(self)
            loaded.advance(self.pulse + 1)
            return loaded.next_rise()
        if not self.running:
            return None
        if self.mode == RATE_GENERATOR:
            return self.pulse + self.ce
        if self.mode == SQUARE_WAVE:
            return self.pulse + self._half_left() + (self.cr // 2 if self.out else 0)
        left = self.pulse + (self.ce or self.modulus)
        if self.mode in STROBES:
            return left + 1 if self.strobe_due else None
        return None if self.out else left

    _COUNT: ClassVar[tuple[Callable[["Counter", int], bool], ...]] = (
        _count_to_level,
        _count_to_level,
        _count_rate,
        _count_square,
        _count_to_strobe,
        _count_to_strobe,
    )

    def state(self) -> dict[str, Any]:
        """All of the counter but the pulse it stands at."""
        return {name: getattr(self, name) for name in self._STATE}

    def load(self, state: dict[str, Any], pulse: int) -> None:
        """Take over what `state` returned, as of `pulse`."""
        for name in self._STATE:
            setattr(self, name, state[name])
        self.pulse = pulse


@register_type("isa-pit", description="8254 interval timer and port 0x61")
class Pit(IsaDevice):
    """Three counters: 0 drives `irq` (ISA interrupt 0), 1 was the DRAM refresh, 2 is the speaker's.

    `irq` gets every rising edge of OUT 0. It falls just before the next one, not when a periodic OUT
    falls, so that the 8259A keeps the request of a vCPU that comes late. Edges that passed while
    nobody looked are one edge: the timer goes on at the first one after now.
    """

    iobase = properties.uint32(PIT_PORT, "first of its 4 ports")
    irq = properties.uint32(0, "ISA interrupt")

    def realize(self) -> None:
        """Take the line, and count."""
        self._clock = self.wiring.system.clock
        self._irq = self.wiring.line(self.irq)
        self._timer = self._clock.timer(self._update)
        # Added to now * CLOCK_HZ: the part of a pulse that a loaded state brought along.
        self._phase = 0
        self.reset()

    def ports(self) -> list[tuple[int, Region]]:
        """The PIT and port 0x61. Nothing is posted: a count runs from the instruction that wrote it."""
        return [
            (self.iobase, Region("pit", 4, self._read, self._write)),
            (SPEAKER_PORT, Region("speaker", 1, self._read_speaker, self._write_speaker)),
        ]

    def reset_enter(self) -> None:
        """What a PC's firmware leaves: 18.2 Hz on IRQ 0, refresh, an idle speaker."""
        pulse = self._pulse()
        self._speaker = 0
        self._counters = [Counter(pulse) for _ in POWER_ON]
        for counter, (control, count) in zip(self._counters, POWER_ON, strict=True):
            counter.write_control(control)
            counter.write(count & 0xFF)
            if counter.access not in (LSB, MSB):
                counter.write(count >> 8)
        self._counters[2].set_gate(0)

    def reset_hold(self) -> None:
        """IRQ 0 low."""
        self._irq.lower()

    def reset_exit(self) -> None:
        """Wait for the next edge."""
        self._arm()

    def _pulse(self) -> int:
        """CLK pulses until now."""
        return (self._clock.now() * CLOCK_HZ + self._phase) // NS_PER_SECOND

    def _counter(self, index: int) -> Counter:
        """Counter `index`, brought to now."""
        if index == 0:
            self._update()
        else:
            self._counters[index].advance(self._pulse())
        return self._counters[index]

    def _update(self) -> None:
        """Bring counter 0 to now, hand on an edge and wait for the next."""
        if self._counters[0].advance(self._pulse()):
            self._edge()
        self._arm()

    def _edge(self) -> None:
        self._irq.lower()
        self._irq.raise_()

    def _arm(self) -> None:
        pulse = self._counters[0].next_rise()
        if pulse is None:
            self._timer.cancel()
            return
        deadline = -((self._phase - pulse * NS_PER_SECOND) // CLOCK_HZ)
        if deadline != self._timer.deadline:
            self._timer.arm(deadline)

    def _read(self, offset: int, size: int) -> int:
        return sum(self._read_byte(offset + i) << 8 * i for i in range(size))

    def _read_byte(self, offset: int) -> int:
        # The control word register cannot be read: the data bus floats.
        return 0xFF if offset == CONTROL_WORD else self._counter(offset).read()

    def _write(self, offset: int, size: int, value: int) -> None:
        for i in range(size):
            self._write_byte(offset + i, value >> 8 * i & 0xFF)

    def _write_byte(self, offset: int, value: int) -> None:
        index = value >> 6 if offset == CONTROL_WORD else offset
        if index == READ_BACK:
            self._read_back(value)
            return
        counter = self._counter(index)
        out = counter.out
        if offset != CONTROL_WORD:
            counter.write(value)
        elif value >> 4 & 3 == LATCH:
            counter.latch_count()
        else:
            counter.write_control(value)
        if index == 0:
            if counter.out < out:
                self._irq.lower()
            elif counter.out > out:
                self._edge()
            self._arm()

    def _read_back(self, value: int) -> None:
        for index in range(len(self._counters)):
            if value >> 1 + index & 1:
                counter = self._counter(index)
                if not value & READ_BACK_NO_COUNT:
                    counter.latch_count()
                if not value & READ_BACK_NO_STATUS:
                    counter.latch_status()

    def _read_speaker(self, _offset: int, _size: int) -> int:
        refresh = REFRESH_TOGGLE if self._pulse() // REFRESH_PULSES & 1 else 0
        out = TIMER_2_OUT if self._counter(2).out else 0
        return self._speaker | refresh | out

    def _write_speaker(self, _offset: int, _size: int, value: int) -> None:
        self._speaker = value & SPEAKER_WRITABLE
        self._counter(2).set_gate(value & TIMER_2_GATE)

    def state(self) -> dict[str, Any]:
        """The counters as of now, the part of a pulse that has passed, port 0x61 and the line."""
        self._update()
        counters = [self._counter(index).state() for index in range(len(self._counters))]
        return {
            "counters": counters,
            "phase": (self._clock.now() * CLOCK_HZ + self._phase) % NS_PER_SECOND,
            "speaker": self._speaker,
            "irq": self._irq.level,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on at now where `state` was taken; pulses go on counting from there."""
        self._phase = state["phase"] - self._clock.now() * CLOCK_HZ % NS_PER_SECOND
        pulse = self._pulse()
        for counter, saved in zip(self._counters, state["counters"], strict=True):
            counter.load(saved, pulse)
        self._speaker = state["speaker"]
        self._irq.set(state["irq"])
        self._arm()
