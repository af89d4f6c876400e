"""The MC146818A real-time clock with 128 bytes of CMOS RAM (Motorola data sheet ADI-1026).

As in a PC: a 32.768 kHz time base, the century at 0x32, index and data at ports 0x70 and 0x71. The
registers are the truth, as on the chip: an update cycle counts them on, a write sets them. What a
write does to the time is kept as an offset to the wall clock, and a wall clock that jumps takes the
registers with it at the next update. Not as on the chip: the day of the week follows the date at
every update, as guests commonly set the date alone.
"""

import datetime
import time
from collections.abc import Callable, Mapping
from typing import Any

from mpvm.abi.errors import DeviceError
from mpvm.hw.bus import IsaDevice
from mpvm.hw.clock import NS_PER_SECOND
from mpvm.hw.system import WakeupReason
from mpvm.memory.region import Region
from mpvm.qom import properties
from mpvm.qom.type_info import register_type

RTC_PORT = 0x70
RAM_SIZE = 128
TIME_BASE_HZ = 32768

SECONDS = 0x00
SECONDS_ALARM = 0x01
MINUTES = 0x02
MINUTES_ALARM = 0x03
HOURS = 0x04
HOURS_ALARM = 0x05
DAY_OF_WEEK = 0x06  # Sunday is 1
DAY_OF_MONTH = 0x07
MONTH = 0x08
YEAR = 0x09
REGISTER_A = 0x0A
REGISTER_B = 0x0B
REGISTER_C = 0x0C
REGISTER_D = 0x0D
CENTURY = 0x32  # FADT's CENTURY

TIME_REGISTERS = frozenset({SECONDS, MINUTES, HOURS, DAY_OF_MONTH, MONTH, YEAR, CENTURY})
CLOCK_REGISTERS = frozenset({*range(REGISTER_D + 1), CENTURY})

A_UIP = 0x80
A_DV = 0x70
A_DV_RESET = 0x60  # 11x holds the divider chain in reset
A_RS = 0x0F
B_SET = 0x80
B_PIE = 0x40
B_AIE = 0x20
B_UIE = 0x10
B_SQWE = 0x08
B_DM_BINARY = 0x04
B_24_HOURS = 0x02
C_IRQF = 0x80
C_PF = 0x40
C_AF = 0x20
C_UF = 0x10
D_VRT = 0x80

HOURS_PM = 0x80
ALARM_DONT_CARE = 0xC0

# Data sheet, table 5: UIP comes t_BUC before an update cycle, which takes t_UC.
UIP_NS = 244_000 + 1_984_000
SECONDS_PER_DAY = 86400
# With lost_tick_policy=slew: interrupts that are remembered, and how many come without a pause.
LOST_MAX = 4096
CAUGHT_UP_IN_A_ROW = 20
_EPOCH = datetime.date(1970, 1, 1)

A_POWER_ON = 0x26  # 32.768 kHz, periodic rate 1024 Hz
B_POWER_ON = B_24_HOURS


@register_type("mc146818rtc", description="real-time clock with CMOS RAM")
class Rtc(IsaDevice):
    """Its line is level-held until register C is read.

    The wall clock tells Unix seconds; where it tells fractions, the seconds begin when the wall clock's do.
    """

    iobase = properties.uint16(RTC_PORT, "index port; the data port follows")
    irq = properties.uint8(8, "ISA interrupt")
    lost_tick_policy = properties.enum(
        ("discard", "slew"), "discard", "periodic interrupts that come too fast", name="lost_tick_policy"
    )

    def realize(self) -> None:
        """Take the line, and the time of the wall clock."""
        system = self.wiring.system
        self._clock = clock = system.clock
        self._irq = self.wiring.line(self.irq)
        self._wall_clock = wall_clock = system.wall_clock
        self._timer = clock.timer(self._settle)
        self._index = 0
        self._ram = bytearray(RAM_SIZE)
        self._ram[REGISTER_A] = A_POWER_ON
        self._ram[REGISTER_B] = B_POWER_ON
        self._ram[REGISTER_D] = D_VRT
        wall = wall_clock()
        self._second = int(wall)  # what the time registers say
        self._offset = 0  # seconds ahead of the wall clock
        # The divider chain stands at now + _phase, in ns; the time is its seconds + _base.
        self._phase = int((wall - int(wall)) * NS_PER_SECOND) - clock.now()
        self._base = self._second
        self._count = self._time_base()
        # Periodic interrupts that the guest has not seen and shall see yet, and how many it has got of
        # these in a row.
        self._lost = self._caught_up = 0
        self._store_time()

    def set_cmos_data(self, cmos: Mapping[int, int]) -> None:
        """Set RAM bytes (mc146818rtc_set_cmos_data); `DeviceError` for the clock's own and beyond."""
        for address, value in cmos.items():
            if not 0 <= address < RAM_SIZE or address in CLOCK_REGISTERS or not 0 <= value <= 0xFF:
                raise DeviceError(
                    f"mc146818rtc: CMOS byte {address:#x} can't be set to {value:#x};"
                    " bytes at 0xe to 0x7f but 0x32 can, to 0 to 0xff"
                )
            self._ram[address] = value

    def ports(self) -> list[tuple[int, Region]]:
        """Index and data. The index is posted: only a synchronous data access makes use of it."""
        return [(self.iobase, Region("rtc", 2, self._read, self._write, posted=frozenset({0})))]

    def reset_enter(self) -> None:
        """The RESET pin: no interrupt enabled or flagged. Time, RAM and modes are on the battery."""
        self._sync()
        self._index = 0
        self._ram[REGISTER_B] &= ~(B_PIE | B_AIE | B_UIE | B_SQWE) & 0xFF
        self._ram[REGISTER_C] = 0
        self._lost = self._caught_up = 0

    def reset_hold(self) -> None:
        """The line goes low."""
        self._settle()

    # -- the divider chain

    def _divider(self) -> int:
        """Where the divider chain stands, in ns."""
        return self._clock.now() + self._phase

    def _time_base(self) -> int:
        """The divider chain in periods of the time base."""
        return self._divider() * TIME_BASE_HZ // NS_PER_SECOND

    @property
    def _divider_reset(self) -> bool:
        return self._ram[REGISTER_A] & A_DV_RESET == A_DV_RESET

    @property
    def _halted(self) -> bool:
        """Is there no update cycle?"""
        return bool(self._ram[REGISTER_B] & B_SET) or self._divider_reset

    @property
    def _period(self) -> int:
        """The periodic interrupt's period in those of the time base, 0 when it is off (table 4)."""
        rate = self._ram[REGISTER_A] & A_RS
        if self._divider_reset or not rate:
            return 0
        return 1 << (rate + 7 if rate <= 2 else rate) - 1

    # -- the time registers

    def _decode(self, value: int) -> int:
        return value if self._ram[REGISTER_B] & B_DM_BINARY else (value >> 4) * 10 + (value & 0xF)

    def _encode(self, value: int) -> int:
        return value if self._ram[REGISTER_B] & B_DM_BINARY else value // 10 << 4 | value % 10

    def _encode_hour(self, hour: int) -> int:
        if self._ram[REGISTER_B] & B_24_HOURS:
            return self._encode(hour)
        return self._encode((hour + 11) % 12 + 1) | (HOURS_PM if hour >= 12 else 0)

    def _decode_hour(self, value: int) -> int:
        if self._ram[REGISTER_B] & B_24_HOURS:
            return self._decode(value)
        return self._decode(value & ~HOURS_PM) % 12 + (12 if value & HOURS_PM else 0)

    def _registered_second(self) -> int:
        """The time registers as Unix seconds; what is out of range carries over."""
        ram = self._ram
        years, month = divmod(self._decode(ram[MONTH]) - 1, 12)
        year = self._decode(ram[CENTURY]) * 100 + self._decode(ram[YEAR]) + years
        first = (datetime.date(min(max(year, 1), 9999), month + 1, 1) - _EPOCH).days * SECONDS_PER_DAY
        days = self._decode(ram[DAY_OF_MONTH]) - 1
        minutes = self._decode_hour(ram[HOURS]) * 60 + self._decode(ram[MINUTES])
        return first + days * SECONDS_PER_DAY + minutes * 60 + self._decode(ram[SECONDS])

    def _store_time(self) -> None:
        """`_second` to the time registers and the day of the week."""
        now = time.gmtime(self._second)
        ram = self._ram
        ram[SECONDS] = self._encode(now.tm_sec)
        ram[MINUTES] = self._encode(now.tm_min)
        ram[HOURS] = self._encode_hour(now.tm_hour)
        ram[DAY_OF_WEEK] = self._encode((now.tm_wday + 1) % 7 + 1)
        ram[DAY_OF_MONTH] = self._encode(now.tm_mday)
        ram[MONTH] = self._encode(now.tm_mon)
        ram[YEAR] = self._encode(now.tm_year % 100)
        ram[CENTURY] = self._encode(now.tm_year // 100 % 100)

    def _take_time(self) -> None:
        """The time registers were set: go on from there, with the divider chain as it is."""
        self._second = self._registered_second()
        self._base = self._second - self._divider() // NS_PER_SECOND
        self._offset = self._second - int(self._wall_clock())

    # -- what passes by itself

    def _sync(self) -> None:
        """Do the periodic edges and update cycles up to now."""
        if not self._divider_reset:
            count, period = self._time_base(), self._period
            if period and (edges := count // period - self._count // period):
                self._note_lost(edges if self._ram[REGISTER_C] & C_PF else edges - 1)
                self._ram[REGISTER_C] |= C_PF
            self._count = count
        if not self._halted:
            second = self._divider() // NS_PER_SECOND + self._base
            if second != self._second:
                self._update_cycles(second)

    def _note_lost(self, edges: int) -> None:
        """So many periods have ended while their flag was set already: one interrupt is seen for all."""
        if self.lost_tick_policy == "slew" and self._ram[REGISTER_B] & B_PIE:
            self._lost = min(self._lost + edges, LOST_MAX)

    def _catch_up(self) -> None:
        """The guest has taken an interrupt: the next one that was lost comes at once, a few in a row."""
        if self._lost and self._ram[REGISTER_B] & B_PIE and self._caught_up < CAUGHT_UP_IN_A_ROW:
            self._lost -= 1
            self._caught_up += 1
            self._ram[REGISTER_C] |= C_PF
            self._settle()
        else:
            self._caught_up = 0

    def _update_cycles(self, second: int) -> None:
        """Count the registers on to `second`, or to where a wall clock that jumped wants them."""
        wall = int(self._wall_clock()) + self._offset
        # The two may turn over at different moments of a second, so one apart is no jump.
        if abs(second - wall) > 1:
            self._base += wall - second
            second = wall
        if self._alarm_between(self._second, second):
            self._ram[REGISTER_C] |= C_AF
        self._ram[REGISTER_C] |= C_UF
        self._second = second
        self._store_time()

    def _alarm_between(self, before: int, second: int) -> bool:
        """Was there an alarm after `before` and up to `second`? Going back, only `second` counts."""
        before = before if before < second else second - 1
        day, start = divmod(before + 1, SECONDS_PER_DAY)
        last = second - day * SECONDS_PER_DAY
        hours = self._alarm_values(HOURS_ALARM, 24, self._encode_hour)
        minutes = self._alarm_values(MINUTES_ALARM, 60, self._encode)
        seconds = self._alarm_values(SECONDS_ALARM, 60, self._encode)
        if not (hours and minutes and seconds):
            return False
        first = _first_at_or_after(start, hours, minutes, seconds)
        if first is None:
            first = _first_at_or_after(0, hours, minutes, seconds)
            assert first is not None
            first += SECONDS_PER_DAY
        return first <= last

    def _alarm_values(self, register: int, count: int, encode: Callable[[int], int]) -> list[int]:
        """The values of a time register that match its alarm register, byte for byte as on the chip."""
        alarm = self._ram[register]
        if alarm >= ALARM_DONT_CARE:
            return list(range(count))
        return [value for value in range(count) if encode(value) == alarm]

    def _settle(self) -> None:
        """Catch up with the clock, drive the line and wait for the next flag that would drive it."""
        self._sync()
        flags, enables = self._ram[REGISTER_C], self._ram[REGISTER_B]
        asserted = flags & enables & (C_PF | C_AF | C_UF)
        self._ram[REGISTER_C] = flags & ~C_IRQF | (C_IRQF if asserted else 0)
        self._irq.set(int(bool(asserted)))
        if asserted & C_AF:
            self.wiring.system.wakeup(WakeupReason.RTC)
        deadline = self._next_deadline(enables & ~flags)
        if deadline is None:
            self._timer.cancel()
        elif deadline != self._timer.deadline:
            self._timer.arm(deadline)

    def _next_deadline(self, awaited: int) -> int | None:
        """When a flag of `awaited` may be set next, in ns of the clock."""
        deadlines = []
        period = self._period
        if awaited & B_PIE and period:
            edge = (self._count // period + 1) * period
            deadlines.append(-(-edge * NS_PER_SECOND // TIME_BASE_HZ) - self._phase)
        if awaited & (B_UIE | B_AIE) and not self._halted:
            deadlines.append((self._divider() // NS_PER_SECOND + 1) * NS_PER_SECOND - self._phase)
        return min(deadlines, default=None)

    # -- the bus side

    def _read(self, offset: int, size: int) -> int:
        return sum(self._read_byte(offset + i) << 8 * i for i in range(size))

    def _read_byte(self, offset: int) -> int:
        # The index port can only be written.
        if offset == 0:
            return 0xFF
        self._settle()
        value = self._ram[self._index]
        if self._index == REGISTER_A and self._update_in_progress():
            value |= A_UIP
        elif self._index == REGISTER_C:
            self._ram[REGISTER_C] = 0
            # The line goes low before it may rise again.
            self._settle()
            if value & C_PF:
                self._catch_up()
        return value

    def _update_in_progress(self) -> bool:
        return not self._halted and NS_PER_SECOND - self._divider() % NS_PER_SECOND <= UIP_NS

    def _write(self, offset: int, size: int, value: int) -> None:
        for i in range(size):
            self._write_byte(offset + i, value >> 8 * i & 0xFF)

    def _write_byte(self, offset: int, value: int) -> None:
        if offset == 0:
            # Bit 7 is the PC's NMI mask; no device of ours raises NMI.
            self._index = value & 0x7F
            return
        self._sync()
        if self._index == REGISTER_A:
            self._write_register_a(value)
        elif self._index == REGISTER_B:
            self._write_register_b(value)
        elif self._index not in (REGISTER_C, REGISTER_D):
            self._ram[self._index] = value
            if self._index in TIME_REGISTERS:
                self._take_time()
        self._settle()

    def _write_register_a(self, value: int) -> None:
        was_reset = self._divider_reset
        self._ram[REGISTER_A] = value & ~A_UIP
        if was_reset and not self._divider_reset:
            # The first update cycle comes half a second after the divider chain is let go.
            self._phase = NS_PER_SECOND // 2 - self._clock.now()
            self._count = self._time_base()
            self._take_time()

    def _write_register_b(self, value: int) -> None:
        before = self._ram[REGISTER_B]
        was_halted = self._halted
        if value & ~before & B_SET:
            value &= ~B_UIE
        self._ram[REGISTER_B] = value
        if was_halted and not self._halted:
            self._take_time()
        elif not was_halted and (before ^ value) & (B_DM_BINARY | B_24_HOURS) and not value & B_SET:
            # The data sheet wants the registers set anew; until then they show the same time.
            self._store_time()

    # -- state

    def state(self) -> dict[str, Any]:
        """RAM and registers, the offset to the wall clock, where the divider chain stands, the line."""
        self._settle()
        return {
            "ram": bytes(self._ram),
            "index": self._index,
            "second": self._second,
            "offset": self._offset,
            "divider": self._divider() % NS_PER_SECOND,
            "irq": self._irq.level,
            "lost": self._lost,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned; the time is that offset to this host's wall clock now."""
        self._ram[:] = state["ram"]
        self._index = state["index"]
        self._second = state["second"]
        self._offset = state["offset"]
        self._lost = state.get("lost", 0)
        self._phase = state["divider"] - self._clock.now()
        self._count = self._time_base()
        wall = int(self._wall_clock()) + self._offset
        # As in an update cycle: one second apart may be the same moment.
        self._base = self._second if abs(wall - self._second) <= 1 else wall
        self._settle()


def _first_at_or_after(start: int, hours: list[int], minutes: list[int], seconds: list[int]) -> int | None:
    """The first second of the day, not before `start`, that the (sorted) values make."""
    for hour in hours:
        if hour * 3600 + 3599 < start:
            continue
        for minute in minutes:
            of_day = hour * 3600 + minute * 60
            if of_day + 59 < start:
                continue
            for second in seconds:
                if of_day + second >= start:
                    return of_day + second
    return None
