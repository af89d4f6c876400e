"""ACPI fixed hardware: PM1a event and control blocks, the PM timer, GPE0, and the reset register
(ACPI specification 6.4, section 4.8; section numbers are its).

The platform is always in ACPI mode: FADT.SMI_CMD is 0 and PM1_CNT.SCI_EN reads 1 from reset on, as
4.8.2.5 has it for hardware without a legacy mode. The constants up to `RESET_VALUE` are what the FADT and
the DSDT say; port numbers are for the default `PM_BASE`, and of GPE0 for a PIIX4.
"""

from enum import IntFlag
from typing import Any, ClassVar

from mpvm.abi.errors import DeviceError
from mpvm.abi.log import LogItem
from mpvm.hw.bus import IsaDevice
from mpvm.hw.clock import NS_PER_SECOND
from mpvm.hw.system import WakeupReason
from mpvm.memory.region import Region, ShadowRegister
from mpvm.qom import properties
from mpvm.qom.type_info import register_type
from mpvm.trace.log import log_mask

PM_BASE = 0x600
PM_SIZE = 0x10

# Blocks of registers as offsets from the base, and their lengths in bytes (FADT's *_BLK and *_LEN)
PM1_EVT_OFFSET, PM1_EVT_LEN = 0x00, 4
PM1_CNT_OFFSET, PM1_CNT_LEN = 0x04, 2
PM_TMR_OFFSET, PM_TMR_LEN = 0x08, 4
GPE0_OFFSET, GPE0_LEN = 0x0C, 4

PM1A_EVT_BLK = PM_BASE + PM1_EVT_OFFSET
PM1A_CNT_BLK = PM_BASE + PM1_CNT_OFFSET
PM_TMR_BLK = PM_BASE + PM_TMR_OFFSET
GPE0_BLK = PM_BASE + GPE0_OFFSET

PM_TIMER_HZ = 3_579_545
# 24 bits: FADT's flag TMR_VAL_EXT is clear
PM_TIMER_BITS = 24
PM_TIMER_MASK = (1 << PM_TIMER_BITS) - 1

# The SLP_TYP values in the DSDT's packages \_S3, \_S4 and \_S5. They are QEMU's, which guests that know it
# write without a look at the DSDT. S4, suspend to disk, is power off to the machine.
SLP_TYP_S5 = 0
SLP_TYP_S3 = 1
SLP_TYP_S4 = 2

GPE_COUNT = GPE0_LEN // 2 * 8
# An ICH9's registers (data sheet 13.8): GPE0 is elsewhere, and longer.
ICH9_PM_SIZE = 0x80
ICH9_GPE0_OFFSET, ICH9_GPE0_LEN = 0x20, 16

# FADT.RESET_REG: a byte in I/O space, and FADT.RESET_VALUE: hard reset
RESET_PORT = 0xCF9
RESET_VALUE = 0x06


class Pm1Event(IntFlag):
    """PM1 status and enable registers (4.8.3.1); a bit is at the same place in both."""

    TMR = 0x0001
    GBL = 0x0020
    PWRBTN = 0x0100
    RTC = 0x0400
    # Status alone (4.8.3.1.1)
    WAK = 0x8000


class Pm1Control(IntFlag):
    """PM1 control register (4.8.3.2)."""

    SCI_EN = 0x0001
    BM_RLD = 0x0002
    GBL_RLS = 0x0004
    SLP_TYP = 0x1C00
    SLP_EN = 0x2000


class ResetBit(IntFlag):
    """Reset control register of PIIX and ICH, port 0xcf9 (ICH9 data sheet 13.7.5)."""

    SYS_RST = 0x02
    RST_CPU = 0x04
    FULL_RST = 0x08


_PM1_EVENTS = int(Pm1Event.TMR | Pm1Event.GBL | Pm1Event.PWRBTN | Pm1Event.RTC)
# GBL_RLS raises an SMI towards firmware, of which there is none, and is write-only like SLP_EN
_PM1_CNT_WRITABLE = int(Pm1Control.BM_RLD | Pm1Control.SLP_TYP)
_SLP_TYP_SHIFT = 10
# TMR_STS is set whenever the counter's highest bit changes (4.8.2.1)
_TOGGLE_SHIFT = PM_TIMER_BITS - 1


@register_type("reset-control", description="reset control register at port 0xcf9")
class ResetControl(IsaDevice):
    """The reset control register at port 0xcf9.

    It lies inside the PCI host bridge's CONFIG_ADDRESS: with PCI, give it to `PciHost`, which hands
    it the bytes at offset 1; without, it has a port of its own.
    """

    own_port = properties.boolean(True, "whether it answers at the port itself")

    def realize(self) -> None:
        """All bits clear."""
        self._region = Region(
            "reset-control",
            1,
            lambda offset, size: self.read(),
            lambda offset, size, value: self.write(value),
        )
        self._value = 0

    def ports(self) -> list[tuple[int, Region]]:
        """Where the register is on a machine without PCI."""
        return [(RESET_PORT, self._region)] if self.own_port else []

    def read(self) -> int:
        """What was written; RST_CPU stays until the reset that it started."""
        return self._value

    def write(self, value: int) -> None:
        """Setting RST_CPU starts a reset, of the one kind there is: SYS_RST and FULL_RST do not matter."""
        starts = value & ~self._value & ResetBit.RST_CPU
        self._value = value & (ResetBit.SYS_RST | ResetBit.RST_CPU | ResetBit.FULL_RST)
        if starts:
            self.wiring.system.request_reset()

    def reset_enter(self) -> None:
        """All bits clear."""
        self._value = 0

    def state(self) -> dict[str, Any]:
        """The register."""
        return {"value": int(self._value)}

    def load(self, state: dict[str, Any]) -> None:
        """Take over `state` without starting a reset."""
        self._value = state["value"]


@register_type("PIIX4_PM", description="ACPI power management: PM1a, the PM timer and GPE0")
class AcpiPm(IsaDevice):
    """The fixed register blocks at `pm_io_base`, where a PIIX4's function 3 has them after firmware has run.

    PM_TMR is a shadowed read, a counter. Everything else is synchronous: status bits and the SCI must
    have changed when the guest's handler goes on to its EOI.
    """

    # How many ports there are, and GPE0's place among them.
    size: ClassVar[int] = PM_SIZE
    gpe0_offset: ClassVar[int] = GPE0_OFFSET
    gpe0_len: ClassVar[int] = GPE0_LEN

    pm_io_base = properties.uint32(PM_BASE, "first port of the blocks", name="pm_io_base")
    sci_int = properties.uint8(9, "ISA interrupt of the SCI", name="sci_int")

    def realize(self) -> None:
        """Take the SCI, and start the timer."""
        self._clock = clock = self.wiring.system.clock
        self._sci = self.wiring.line(self.sci_int)
        self._timer_shadow = ShadowRegister()
        self._timer = clock.timer(self._update)
        self._region = Region(
            "acpi-pm", self.size, self._read, self._write, shadows={PM_TMR_OFFSET: self._timer_shadow}
        )
        self.reset()

    def ports(self) -> list[tuple[int, Region]]:
        """Where the register blocks are."""
        return [(self.pm_io_base, self._region)]

    @property
    def gpe0_block(self) -> tuple[int, int]:
        """The first port of GPE0 and how many there are, as the FADT has them."""
        return self.pm_io_base + self.gpe0_offset, self.gpe0_len

    def reset_enter(self) -> None:
        """Registers to zero but SCI_EN, the timer counts from zero."""
        self._pm1_status = 0
        self._pm1_enable = 0
        self._pm1_control = 0
        self._gpe_status = 0
        self._gpe_enable = 0
        self._toggles_seen = 0
        self._start_timer(0)

    def reset_hold(self) -> None:
        """The SCI goes low."""
        self._update()

    # -- events ------------------------------------------------------------------------------------

    def press_power_button(self) -> None:
        """The power button goes down and up (4.8.2.2.1.1)."""
        self._pm1_status |= Pm1Event.PWRBTN
        self._update()

    def wake(self, reason: WakeupReason) -> None:
        """The machine wakes from S3, after its reset: WAK_STS, and what has done it (4.8.3.1.1)."""
        self._pm1_status |= Pm1Event.WAK | (Pm1Event.RTC if reason is WakeupReason.RTC else Pm1Event.PWRBTN)
        self._update()

    def signal_gpe(self, number: int) -> None:
        """General-purpose event `number` of GPE0 happens (4.8.4.1); 0 to 15."""
        if not 0 <= number < GPE_COUNT:
            raise DeviceError(f"acpi-pm: GPE {number} does not exist; GPE0 has 0 to {GPE_COUNT - 1}")
        self._gpe_status |= 1 << number
        self._update()

    def _update(self) -> None:
        """Drive the SCI, a level, and arm the timer when a carry would change it."""
        pm1 = self._status(self._clock.now()) & self._pm1_enable
        self._sci.set(1 if pm1 or self._gpe_status & self._gpe_enable else 0)
        if self._pm1_enable & Pm1Event.TMR and not pm1 & Pm1Event.TMR:
            self._timer.arm(self._next_toggle())
        else:
            self._timer.cancel()

    # -- the PM timer ------------------------------------------------------------------------------

    def _start_timer(self, ticks: int) -> None:
        self._base_ticks = ticks
        self._base_ns = self._clock.now()
        self._timer_shadow.set_counter(ticks & PM_TIMER_MASK, self._base_ns, PM_TIMER_HZ, PM_TIMER_MASK)

    def _ticks(self, now: int) -> int:
        """Ticks since reset, without the wrap of the register."""
        return self._base_ticks + (now - self._base_ns) * PM_TIMER_HZ // NS_PER_SECOND

    def _next_toggle(self) -> int:
        """When the counter's highest bit changes for the first time since TMR_STS was cleared, in ns."""
        ticks = ((self._toggles_seen + 1) << _TOGGLE_SHIFT) - self._base_ticks
        return self._base_ns - (-ticks * NS_PER_SECOND // PM_TIMER_HZ)

    def _status(self, now: int) -> int:
        # TMR_STS is a function of the clock, so that a timer without TMR_EN needs no wake-up
        carried = self._ticks(now) >> _TOGGLE_SHIFT != self._toggles_seen
        return self._pm1_status | Pm1Event.TMR if carried else self._pm1_status

    # -- registers ---------------------------------------------------------------------------------

    def _image(self, now: int) -> bytes:
        """All registers as bytes; accesses of any size and alignment read it (4.8.3)."""
        image = bytearray(self.size)
        for offset, value, length in (
            (PM1_EVT_OFFSET, self._status(now), 2),
            (PM1_EVT_OFFSET + 2, self._pm1_enable, 2),
            (PM1_CNT_OFFSET, self._pm1_control | Pm1Control.SCI_EN, 2),
            (PM_TMR_OFFSET, self._ticks(now) & PM_TIMER_MASK, 4),
            (self.gpe0_offset, self._gpe_status, 2),
            (self.gpe0_offset + self.gpe0_len // 2, self._gpe_enable, 2),
        ):
            image[offset : offset + length] = value.to_bytes(length, "little")
        return bytes(image)

    def _read(self, offset: int, size: int) -> int:
        return int.from_bytes(self._image(self._clock.now())[offset : offset + size], "little")

    def _write(self, offset: int, size: int, value: int) -> None:
        for i in range(size):
            self._write_byte(offset + i, value >> 8 * i & 0xFF)
        self._update()

    def _write_byte(self, offset: int, byte: int) -> None:
        shift = 8 * (offset & 1)
        value, mask = byte << shift, 0xFF << shift
        register = offset & ~1
        if register == PM1_EVT_OFFSET:
            self._pm1_status &= ~value
            if value & Pm1Event.TMR:
                self._toggles_seen = self._ticks(self._clock.now()) >> _TOGGLE_SHIFT
        elif register == PM1_EVT_OFFSET + 2:
            self._pm1_enable = (self._pm1_enable & ~mask | value) & _PM1_EVENTS
        elif register == PM1_CNT_OFFSET:
            self._pm1_control = (self._pm1_control & ~mask | value) & _PM1_CNT_WRITABLE
            slp_typ = self._pm1_control >> _SLP_TYP_SHIFT & 7
            if not value & Pm1Control.SLP_EN:
                return
            if slp_typ in (SLP_TYP_S4, SLP_TYP_S5):
                self.wiring.system.power_off()
            elif slp_typ == SLP_TYP_S3:
                self.wiring.system.suspend()
            else:
                log_mask(LogItem.UNIMP, "ACPI: a sleeping state of SLP_TYP %d", slp_typ)
        elif register == self.gpe0_offset:
            self._gpe_status &= ~value
        elif register == self.gpe0_offset + self.gpe0_len // 2:
            self._gpe_enable = self._gpe_enable & ~mask | value
        # PM_TMR is read-only (4.8.3.3), and between it and PM1_CNT there is nothing

    # -- state -------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Registers, and the timer as ticks since reset."""
        return {
            "pm1_status": int(self._pm1_status),
            "pm1_enable": self._pm1_enable,
            "pm1_control": self._pm1_control,
            "gpe_status": self._gpe_status,
            "gpe_enable": self._gpe_enable,
            "ticks": self._ticks(self._clock.now()),
            "toggles_seen": self._toggles_seen,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take over `state`: the timer goes on from its count, the SCI is driven to match."""
        self._pm1_status = state["pm1_status"]
        self._pm1_enable = state["pm1_enable"]
        self._pm1_control = state["pm1_control"]
        self._gpe_status = state["gpe_status"]
        self._gpe_enable = state["gpe_enable"]
        self._toggles_seen = state["toggles_seen"]
        self._start_timer(state["ticks"])
        self._update()


@register_type("ICH9-PM", description="ACPI power management of an ICH9")
class Ich9Pm(AcpiPm):
    """The same registers, GPE0 where an ICH9 has it, with 16 of its 64 events. Nothing makes an SMI."""

    size = ICH9_PM_SIZE
    gpe0_offset = ICH9_GPE0_OFFSET
    gpe0_len = ICH9_GPE0_LEN
