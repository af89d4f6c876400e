"""High precision event timers (IA-PC HPET specification 1.0a; section numbers are its).

A main counter that counts up at 100 MHz, and timers that compare it with a value of their own.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from mpvm.abi.errors import ConfigError
from mpvm.hw.acpi.tables import HPET_BASE
from mpvm.hw.bus import SysBusDevice
from mpvm.hw.clock import NS_PER_SECOND, Clock
from mpvm.hw.device import IrqLine
from mpvm.hw.intc.message import InterruptMessage, msi_message
from mpvm.memory.region import Region, ShadowRegister
from mpvm.qom import properties
from mpvm.qom.type_info import register_type

HPET_SIZE: Final = 0x400

PERIOD_NS: Final = 10
COUNTER_HZ: Final = NS_PER_SECOND // PERIOD_NS
_FS_PER_NS: Final = 1_000_000
MIN_TIMERS: Final = 3
MAX_TIMERS: Final = 32

# Registers (2.3.1), each of 64 bits; a timer's begin at `TIMERS` + n * `TIMER_STRIDE`.
CAPABILITIES, CONFIGURATION, STATUS, COUNTER = 0x000, 0x010, 0x020, 0x0F0
TIMERS, TIMER_STRIDE = 0x100, 0x20
TIMER_CONFIGURATION, TIMER_COMPARATOR, TIMER_FSB_ROUTE = 0x00, 0x08, 0x10

_MASK_32: Final = (1 << 32) - 1
_MASK_64: Final = (1 << 64) - 1
# More than ten years: no run sees that match, and no timer of the host takes it.
_FOREVER_TICKS: Final = 1 << 55
# Vendor 8086h, legacy replacement, a 64-bit counter, revision 1 (2.3.4).
_CAPABILITIES: Final = 0x8086A001
_TIMER_COUNT_SHIFT: Final = 8


class Config:
    """General configuration (2.3.5). Numbers: every start would have to make an enumeration."""

    ENABLE: Final = 1 << 0
    LEGACY: Final = 1 << 1


class TimerConfig:
    """A timer's configuration and capabilities (2.3.8)."""

    LEVEL: Final = 1 << 1
    ENABLE: Final = 1 << 2
    PERIODIC: Final = 1 << 3
    PERIODIC_CAP: Final = 1 << 4
    SIZE_CAP: Final = 1 << 5
    VALUE_SET: Final = 1 << 6
    MODE_32: Final = 1 << 8
    FSB_ENABLE: Final = 1 << 14
    FSB_CAP: Final = 1 << 15


_ROUTE_SHIFT: Final = 9
_ROUTE_MASK: Final = 0x1F << _ROUTE_SHIFT
_ROUTES_SHIFT: Final = 32
_TIMER_WRITABLE: Final = (
    TimerConfig.LEVEL
    | TimerConfig.ENABLE
    | TimerConfig.PERIODIC
    | TimerConfig.VALUE_SET
    | TimerConfig.MODE_32
    | TimerConfig.FSB_ENABLE
    | _ROUTE_MASK
)
# With legacy replacement, timers 0 and 1 are the ISA interrupts of the PIT and the RTC (2.4.1.1).
LEGACY_ROUTES: Final = (0, 8)


class HpetTimer:
    """One timer. `fire` drives its interrupt, `ticks` is the main counter."""

    _STATE = ("config", "comparator", "period", "fsb_route", "wrap_is_next")

    def __init__(
        self, clock: Clock, ticks: Callable[[], int], fire: Callable[[], None], capabilities: int
    ) -> None:
        self._ticks = ticks
        self._fire = fire
        self._capabilities = capabilities
        self._timer = clock.timer(self._expire)
        self._clock = clock
        self.reset()

    def reset(self) -> None:
        """Off, and its comparator at the end of time."""
        self._timer.cancel()
        self.config = self._capabilities
        self.comparator = _MASK_64
        self.period = 0
        self.fsb_route = 0
        self.wrap_is_next = False

    @property
    def periodic(self) -> bool:
        """Whether each match moves the comparator on by the period."""
        return bool(self.config & TimerConfig.PERIODIC)

    @property
    def mask(self) -> int:
        """The bits that are compared."""
        return _MASK_32 if self.config & TimerConfig.MODE_32 else _MASK_64

    def write_config(self, value: int) -> None:
        """Take what may be written. A route that it has not got is not taken (2.3.8, Tn_INT_ROUTE_CNF)."""
        routes = self.config >> _ROUTES_SHIFT
        writable = _TIMER_WRITABLE
        if not self.config & TimerConfig.FSB_CAP:
            writable &= ~TimerConfig.FSB_ENABLE
        if not routes >> ((value & _ROUTE_MASK) >> _ROUTE_SHIFT) & 1:
            writable &= ~_ROUTE_MASK
        self.config = self.config & ~writable | value & writable
        self.comparator &= self.mask
        self.period &= self.mask

    def write_comparator(self, shift: int, value: int, written: int) -> None:
        """Write the bits `written` << `shift`: what is compared, of a periodic timer the period (2.3.9)."""
        value, bits = value << shift & self.mask, written << shift & self.mask
        if not self.periodic or self.config & TimerConfig.VALUE_SET:
            self.comparator = self.comparator & ~bits | value
        if self.periodic:
            self.period = self.period & ~bits | value
        self.config &= ~TimerConfig.VALUE_SET

    def start(self) -> None:
        """Wait for the next match. One that was missed by less than half the range is now.

        What a guest adds to the counter may be in the past by the time it is written. A 32-bit timer that is
        not periodic matches at the counter's wrap, too (2.3.9.2.2).
        """
        now = self._ticks()
        remaining = self._until(now)
        self.wrap_is_next = False
        if self.mask == _MASK_32 and not self.periodic:
            to_wrap = _MASK_32 - (now & _MASK_32)
            if to_wrap < remaining:
                remaining, self.wrap_is_next = to_wrap, True
        self._wait(remaining)

    def stop(self) -> None:
        """Wait for nothing."""
        self._timer.cancel()

    def _until(self, now: int) -> int:
        """Ticks from `now` to the match, at least 1; a comparator as after reset was not passed."""
        remaining = self.comparator - now & self.mask
        passed = remaining > self.mask >> 1 and self.comparator != _MASK_64
        return 1 if passed else max(remaining, 1)

    def _wait(self, ticks: int) -> None:
        if ticks < _FOREVER_TICKS:
            self._timer.arm(self._clock.now() + ticks * PERIOD_NS)
        else:
            self._timer.cancel()

    def _expire(self) -> None:
        now = self._ticks()
        if self.periodic and self.period:
            behind = now - self.comparator & self.mask
            if behind <= self.mask >> 1:
                # Those that passed while nobody looked are one.
                self.comparator = self.comparator + (behind // self.period + 1) * self.period & self.mask
            self._wait(self._until(now))
        elif self.wrap_is_next:
            self.wrap_is_next = False
            self._wait(self._until(now))
        self._fire()

    def state(self) -> dict[str, Any]:
        """Registers."""
        return {name: getattr(self, name) for name in self._STATE}

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned."""
        for name in self._STATE:
            setattr(self, name, state[name])


@register_type("hpet", description="high precision event timers")
class Hpet(SysBusDevice):
    """The event timer block at `HPET_BASE`.

    `set_legacy(on)`, the board's, takes the PIT and the RTC off their interrupts; `deliver` sends a message
    (FSB interrupts, with `msi`). Accesses are of 4 or 8 bytes at a multiple of their width; writes are
    synchronous, and the main counter is a shadowed read.
    """

    timers = properties.uint8(MIN_TIMERS, "how many timers, 3 to 32")
    msi = properties.boolean(False, "on/off")
    hpet_intcap = properties.uint32(0, "which of GSIs 0 to 31 a timer can be routed to", name="hpet-intcap")

    set_legacy: Callable[[bool], None]
    deliver: Callable[[InterruptMessage], None]

    def realize(self) -> None:
        """Take lines as they are needed; the counter stands."""
        count = self.timers
        if not MIN_TIMERS <= count <= MAX_TIMERS:
            raise ConfigError(f"hpet.timers: {count} is out of range, {MIN_TIMERS} to {MAX_TIMERS} is right")
        self._clock = self.wiring.system.clock
        capabilities = self.hpet_intcap << _ROUTES_SHIFT | TimerConfig.PERIODIC_CAP | TimerConfig.SIZE_CAP
        if self.msi:
            capabilities |= TimerConfig.FSB_CAP
        self._timers = [
            HpetTimer(self._clock, self._ticks, partial(self._interrupt, n), capabilities)
            for n in range(count)
        ]
        self._lines: dict[tuple[int, int], IrqLine] = {}
        self._shadow = ShadowRegister()
        self._config = self._status = self._base_ticks = self._base_ns = 0
        self._region = Region("hpet", HPET_SIZE, self._read, self._write, shadows={COUNTER: self._shadow})
        self._publish()

    @property
    def block_id(self) -> int:
        """The low half of the capabilities, which the ACPI table repeats."""
        return _CAPABILITIES | (len(self._timers) - 1) << _TIMER_COUNT_SHIFT

    def memory(self) -> list[tuple[int, Region]]:
        """Where the registers are."""
        return [(HPET_BASE, self._region)]

    def reset_enter(self) -> None:
        """The counter stands at 0, all timers off (2.3.4 to 2.3.9, defaults)."""
        self._config = self._status = self._base_ticks = 0
        for timer in self._timers:
            timer.reset()
        self._publish()

    def reset_hold(self) -> None:
        """No interrupt, and the PIT and the RTC have theirs."""
        for line in self._lines.values():
            line.lower()
        self.set_legacy(False)

    # -- the main counter --------------------------------------------------------------------------

    def _ticks(self) -> int:
        """The main counter now."""
        return self._shadow.read(self._clock.now())

    def _publish(self) -> None:
        """It counts, or stands, at `_base_ticks` from now on."""
        self._base_ns = self._clock.now()
        if self._config & Config.ENABLE:
            self._shadow.set_counter(self._base_ticks, self._base_ns, COUNTER_HZ, _MASK_64)
        else:
            self._shadow.set_constant(self._base_ticks)

    # -- interrupts --------------------------------------------------------------------------------

    def _route(self, number: int) -> int:
        if self._config & Config.LEGACY and number < len(LEGACY_ROUTES):
            return LEGACY_ROUTES[number]
        return (self._timers[number].config & _ROUTE_MASK) >> _ROUTE_SHIFT

    def _line(self, number: int) -> IrqLine:
        route = self._route(number)
        if (number, route) not in self._lines:
            self._lines[number, route] = self.wiring.gsi(route)
        return self._lines[number, route]

    def _interrupt(self, number: int) -> None:
        """Timer `number` has matched."""
        timer = self._timers[number]
        if not timer.config & TimerConfig.ENABLE or not self._config & Config.ENABLE:
            return
        if timer.config & TimerConfig.FSB_ENABLE:
            self.deliver(msi_message(timer.fsb_route >> 32, timer.fsb_route & _MASK_32))
        elif timer.config & TimerConfig.LEVEL:
            self._status |= 1 << number
            self._line(number).raise_()
        else:
            self._line(number).pulse()

    def _withdraw(self, number: int) -> None:
        self._status &= ~(1 << number)
        for (which, _), line in self._lines.items():
            if which == number:
                line.lower()

    # -- registers ---------------------------------------------------------------------------------

    def _register(self, offset: int) -> int:
        """The 64 bits at `offset`, a multiple of 8; 0 where there is none."""
        if offset >= TIMERS:
            number, register = divmod(offset - TIMERS, TIMER_STRIDE)
            if number >= len(self._timers):
                return 0
            timer = self._timers[number]
            found = {
                TIMER_CONFIGURATION: timer.config,
                TIMER_COMPARATOR: timer.comparator,
                TIMER_FSB_ROUTE: timer.fsb_route,
            }
            return int(found.get(register, 0))
        if offset == COUNTER:
            return self._ticks()
        return {
            CAPABILITIES: PERIOD_NS * _FS_PER_NS << 32 | self.block_id,
            CONFIGURATION: self._config,
            STATUS: self._status,
        }.get(offset, 0)

    def _read(self, offset: int, size: int) -> int:
        if size < 4 or offset % size:
            return 0
        return self._register(offset & ~7) >> 8 * (offset & 7) & (1 << 8 * size) - 1

    def _write(self, offset: int, size: int, value: int) -> None:
        if size < 4 or offset % size:
            return
        register, shift = offset & ~7, 8 * (offset & 7)
        written = (1 << 8 * size) - 1
        whole = self._register(register) & ~(written << shift) | value << shift
        if register >= TIMERS:
            number, of_timer = divmod(register - TIMERS, TIMER_STRIDE)
            if number < len(self._timers):
                self._write_timer(number, of_timer, shift, value, written, whole)
        elif register == CONFIGURATION:
            self._write_config(whole)
        elif register == STATUS:
            for number in range(len(self._timers)):
                if value << shift >> number & 1:
                    self._withdraw(number)
        elif register == COUNTER:
            self._base_ticks = whole
            self._publish()
            self._restart()

    def _write_timer(
        self, number: int, register: int, shift: int, value: int, written: int, whole: int
    ) -> None:
        timer = self._timers[number]
        running = bool(self._config & Config.ENABLE)
        if register == TIMER_CONFIGURATION:
            before = timer.config
            timer.write_config(whole)
            changed = before ^ timer.config
            if changed & (TimerConfig.LEVEL | TimerConfig.FSB_ENABLE | TimerConfig.ENABLE | _ROUTE_MASK):
                self._withdraw(number)
            if running and changed & (TimerConfig.ENABLE | TimerConfig.MODE_32 | TimerConfig.PERIODIC):
                self._run(timer)
        elif register == TIMER_COMPARATOR:
            timer.write_comparator(shift, value, written)
            if running:
                self._run(timer)
        elif register == TIMER_FSB_ROUTE:
            timer.fsb_route = whole

    def _run(self, timer: HpetTimer) -> None:
        """A timer that interrupts, or whose comparator moves, waits for its match."""
        if timer.config & TimerConfig.ENABLE or (timer.periodic and timer.period):
            timer.start()
        else:
            timer.stop()

    def _write_config(self, value: int) -> None:
        value &= Config.ENABLE | Config.LEGACY
        changed = self._config ^ value
        if changed & Config.ENABLE:
            self._base_ticks = self._ticks()
        if changed & Config.LEGACY:
            for number in range(len(LEGACY_ROUTES)):
                self._withdraw(number)
        self._config = value
        if changed & Config.LEGACY:
            self.set_legacy(bool(value & Config.LEGACY))
        if changed & Config.ENABLE:
            self._publish()
            self._restart()

    def _restart(self) -> None:
        """The main counter has started, stopped or jumped."""
        for number, timer in enumerate(self._timers):
            if self._config & Config.ENABLE:
                self._run(timer)
            else:
                timer.stop()
                self._withdraw(number)

    # -- state -------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Registers, with the main counter as it stands."""
        return {
            "config": self._config,
            "status": self._status,
            "counter": self._ticks(),
            "timers": [timer.state() for timer in self._timers],
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take over `state`: the counter goes on from its count, lines are driven to match."""
        self._config = state["config"]
        self._status = state["status"]
        self._base_ticks = state["counter"]
        for timer, saved in zip(self._timers, state["timers"], strict=True):
            timer.load(saved)
        self._publish()
        self.set_legacy(bool(self._config & Config.LEGACY))
        self._restart()
        for number in range(len(self._timers)):
            if self._status >> number & 1:
                self._line(number).raise_()
