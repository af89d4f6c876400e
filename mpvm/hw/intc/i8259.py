"""The PC's pair of 8259A interrupt controllers (Intel 8259A data sheet, order 231468) with ELCR.

They are wired as in the PIIX3 (order 290550): the slave's INT drives the master's IR2, ICW1.LTIM is
ignored and the edge/level control registers at 0x4d0 and 0x4d1 choose the trigger of each input.
"""

from typing import Any

from mpvm.abi.errors import DeviceError
from mpvm.hw.bus import IsaDevice
from mpvm.hw.device import IrqLine
from mpvm.memory.region import Region, ShadowRegister
from mpvm.qom.type_info import register_type

MASTER_PORT = 0x20
SLAVE_PORT = 0xA0
ELCR_PORT = 0x4D0

CASCADE_LEVEL = 2
SPURIOUS_LEVEL = 7

# A write to A0=0 is ICW1, else OCW3, else OCW2, as these bits say.
ICW1_SELECT = 0x10
OCW3_SELECT = 0x08

ICW1_IC4 = 0x01
ICW1_SNGL = 0x02
ICW4_AEOI = 0x02
ICW4_SFNM = 0x10

OCW2_EOI = 0x20
OCW2_SL = 0x40
OCW2_R = 0x80

OCW3_RIS = 0x01
OCW3_RR = 0x02
OCW3_P = 0x04
OCW3_SMM = 0x20
OCW3_ESMM = 0x40

POLL_INTERRUPT = 0x80

# IRQ 0, 1, 2, 8 and 13 are edge triggered whatever is written (PIIX3, ELCR1 and ELCR2).
MASTER_ELCR_MASK = 0xF8
SLAVE_ELCR_MASK = 0xDE


class Pic8259A:
    """One 8259A. Its INT output is high when `pending()` is a level.

    `cascade` has the bit of the input that a slave drives. A slave's INT, once high, stands until
    INTA, so a falling edge of that input does not withdraw the request: a slave whose own request is
    gone by then answers with its level 7.
    """

    _STATE = (
        "irr",
        "isr",
        "imr",
        "lines",
        "elcr",
        "vector_base",
        "expected_icw",
        "icw4_needed",
        "single",
        "auto_eoi",
        "rotate_on_auto_eoi",
        "special_fully_nested",
        "special_mask",
        "lowest",
        "read_isr",
        "poll",
    )

    def __init__(self, elcr_mask: int, cascade: int = 0) -> None:
        self._elcr_mask = elcr_mask
        self._cascade = cascade
        self.lines = 0
        self.reset()

    def reset(self) -> None:
        """Power-on state; the levels of the inputs are the devices' and stay."""
        self.elcr = 0
        self.vector_base = 0
        self._initialize()
        self.expected_icw = 0
        self.icw4_needed = False
        self.single = False
        self.auto_eoi = False
        self.special_fully_nested = False

    def _initialize(self) -> None:
        """What ICW1 resets (data sheet, "Initialization Command Words", a to f)."""
        self.irr = self.lines & self.elcr
        self.isr = 0
        self.imr = 0
        self.lowest = 7
        self.special_mask = False
        self.rotate_on_auto_eoi = False
        self.read_isr = False
        self.poll = False

    def set_line(self, level: int, value: int) -> None:
        """Drive input `level`. An edge request is latched until INTA or until its line falls."""
        bit = 1 << level
        rising = value and not self.lines & bit
        self.lines = self.lines | bit if value else self.lines & ~bit
        if self.elcr & bit:
            self.irr = self.irr & ~bit | self.lines & bit
        elif rising:
            self.irr |= bit
        elif not value and not self._cascade & bit:
            self.irr &= ~bit

    def _rank(self, level: int) -> int:
        """0 for the highest priority, 7 for the lowest."""
        return (level - self.lowest - 1) & 7

    def _highest(self, bits: int) -> int | None:
        """The set level of the highest priority."""
        return min((level for level in range(8) if bits >> level & 1), key=self._rank, default=None)

    def pending(self) -> int | None:
        """The level that INT stands for, None while INT is low."""
        level = self._highest(self.irr & ~self.imr)
        if level is None:
            return None
        in_service = self.isr & ~self.imr if self.special_mask else self.isr
        if self.special_fully_nested and self._cascade >> level & 1:
            in_service &= ~(1 << level)
        blocking = self._highest(in_service)
        return level if blocking is None or self._rank(level) < self._rank(blocking) else None

    def take(self, level: int) -> None:
        """First INTA pulse: `level` goes from requested to in service."""
        self.irr &= ~(1 << level) | self.elcr
        self.isr |= 1 << level

    def end_acknowledge(self, level: int) -> None:
        """End of the last INTA pulse: the automatic EOI, if it is on."""
        if self.auto_eoi:
            self.isr &= ~(1 << level)
            if self.rotate_on_auto_eoi:
                self.lowest = level

    def read(self, a0: int) -> int:
        """Read with address line A0, poll mode excepted."""
        if a0:
            return self.imr
        return self.isr if self.read_isr else self.irr

    def poll_read(self) -> int:
        """The read after a poll command: an INTA that answers with the level."""
        self.poll = False
        level = self.pending()
        if level is None:
            return 0
        self.take(level)
        self.end_acknowledge(level)
        return POLL_INTERRUPT | level

    def write(self, a0: int, value: int) -> None:
        """Write with address line A0: an ICW or an OCW."""
        if not a0 and value & ICW1_SELECT:
            self._write_icw1(value)
        elif not a0 and value & OCW3_SELECT:
            self._write_ocw3(value)
        elif not a0:
            self._write_ocw2(value)
        elif self.expected_icw:
            self._write_icw(value)
        else:
            self.imr = value

    def _write_icw1(self, value: int) -> None:
        self._initialize()
        self.single = bool(value & ICW1_SNGL)
        self.icw4_needed = bool(value & ICW1_IC4)
        if not self.icw4_needed:
            self.auto_eoi = False
            self.special_fully_nested = False
        self.expected_icw = 2

    def _write_icw(self, value: int) -> None:
        """ICW2 to ICW4. The cascade is wired, so the value of ICW3 says nothing new."""
        if self.expected_icw == 2:
            self.vector_base = value & 0xF8
        elif self.expected_icw == 4:
            self.auto_eoi = bool(value & ICW4_AEOI)
            self.special_fully_nested = bool(value & ICW4_SFNM)
        if self.expected_icw == 2 and not self.single:
            self.expected_icw = 3
        elif self.expected_icw < 4 and self.icw4_needed:
            self.expected_icw = 4
        else:
            self.expected_icw = 0

    def _write_ocw2(self, value: int) -> None:
        rotate = bool(value & OCW2_R)
        specific = value & 7 if value & OCW2_SL else None
        if value & OCW2_EOI:
            # In special mask mode a masked level is no candidate of a non-specific EOI.
            candidates = self.isr & ~self.imr if self.special_mask else self.isr
            level = self._highest(candidates) if specific is None else specific
            if level is not None:
                self.isr &= ~(1 << level)
                if rotate:
                    self.lowest = level
        elif specific is None:
            self.rotate_on_auto_eoi = rotate
        elif rotate:
            self.lowest = specific

    def _write_ocw3(self, value: int) -> None:
        if value & OCW3_ESMM:
            self.special_mask = bool(value & OCW3_SMM)
        if value & OCW3_P:
            self.poll = True
        elif value & OCW3_RR:
            self.read_isr = bool(value & OCW3_RIS)

    def write_elcr(self, value: int) -> None:
        """Choose the level-triggered inputs; their requests follow the lines from now on."""
        self.elcr = value & self._elcr_mask
        self.irr = self.irr & ~self.elcr | self.lines & self.elcr

    def state(self) -> dict[str, Any]:
        """All registers."""
        return {name: getattr(self, name) for name in self._STATE}

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned."""
        for name in self._STATE:
            setattr(self, name, state[name])


@register_type("isa-i8259", description="the pair of 8259A interrupt controllers")
class PicPair(IsaDevice):
    """Master and slave 8259A; `intr` is the INTR input of the CPU (or its LINT0)."""

    def instance_init(self) -> None:
        """Both chips, and an output that is not connected."""
        super().instance_init()
        self.intr = IrqLine()
        self.master = Pic8259A(MASTER_ELCR_MASK, cascade=1 << CASCADE_LEVEL)
        self.slave = Pic8259A(SLAVE_ELCR_MASK)
        # Only a write changes them, and each is synchronous.
        self._elcr_shadows = {offset: ShadowRegister() for offset in range(2)}

    def ports(self) -> list[tuple[int, Region]]:
        """The command and data ports of both chips, and the edge/level control registers.

        A0=0 is posted: an EOI is waited for by nobody, OCW3 is followed by a read and ICW1 by ICW2,
        both synchronous. A0=1 is not: a mask holds from the instruction on.
        """
        return [
            (MASTER_PORT, self._chip_region("pic-master", self.master)),
            (SLAVE_PORT, self._chip_region("pic-slave", self.slave)),
            (ELCR_PORT, Region("elcr", 2, self._read_elcr, self._write_elcr, shadows=self._elcr_shadows)),
        ]

    def _chip_region(self, name: str, chip: Pic8259A) -> Region:
        def read(offset: int, size: int) -> int:
            return sum(self._read(chip, offset + i) << 8 * i for i in range(size))

        def write(offset: int, size: int, value: int) -> None:
            for i in range(size):
                chip.write(offset + i, value >> 8 * i & 0xFF)
                self._update()

        return Region(name, 2, read, write, posted=frozenset({0}))

    def _read(self, chip: Pic8259A, a0: int) -> int:
        if not chip.poll:
            return chip.read(a0)
        value = chip.poll_read()
        if chip is self.slave:
            self._drop_slave_int()
        self._update()
        return value

    def _read_elcr(self, offset: int, size: int) -> int:
        both = self.master.elcr | self.slave.elcr << 8
        return both >> 8 * offset & (1 << 8 * size) - 1

    def _write_elcr(self, offset: int, size: int, value: int) -> None:
        for i in range(size):
            chip = self.slave if offset + i else self.master
            chip.write_elcr(value >> 8 * i & 0xFF)
        self._show_elcr()
        self._update()

    def set_irq(self, n: int, level: int) -> None:
        """Drive ISA IRQ `n`, 0 to 15 but 2; raises `DeviceError` for another."""
        if not 0 <= n <= 15 or n == CASCADE_LEVEL:
            raise DeviceError(f"i8259: no device can drive IRQ {n}; 0, 1 and 3 to 15 are there")
        (self.slave if n & 8 else self.master).set_line(n & 7, level)
        self._update()

    def acknowledge(self) -> int:
        """One INTA cycle: the vector. With no request left it is that of level 7, not put in service."""
        level = self.master.pending()
        if level is None:
            return self.master.vector_base | SPURIOUS_LEVEL
        self.master.take(level)
        vector = self.master.vector_base | level
        if level == CASCADE_LEVEL:
            vector = self._acknowledge_slave()
        self.master.end_acknowledge(level)
        self._update()
        return vector

    def _acknowledge_slave(self) -> int:
        level = self.slave.pending()
        self._drop_slave_int()
        if level is None:
            return self.slave.vector_base | SPURIOUS_LEVEL
        self.slave.take(level)
        self.slave.end_acknowledge(level)
        return self.slave.vector_base | level

    def _drop_slave_int(self) -> None:
        """INTA lowers INT, so that the slave's next request is an edge at the master."""
        self.master.set_line(CASCADE_LEVEL, 0)

    def _show_elcr(self) -> None:
        for offset, chip in enumerate((self.master, self.slave)):
            self._elcr_shadows[offset].set_constant(chip.elcr)

    def _update(self) -> None:
        self.master.set_line(CASCADE_LEVEL, int(self.slave.pending() is not None))
        self.intr.set(int(self.master.pending() is not None))

    def reset_enter(self) -> None:
        """Power-on state, every input edge triggered."""
        self.slave.reset()
        self.master.reset()

    def reset_hold(self) -> None:
        """INTR low."""
        self._show_elcr()
        self._update()

    def state(self) -> dict[str, Any]:
        """Registers of both chips."""
        return {"master": self.master.state(), "slave": self.slave.state()}

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned and drive INTR accordingly."""
        self.master.load(state["master"])
        self.slave.load(state["slave"])
        self._show_elcr()
        self._update()
