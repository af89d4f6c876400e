"""QEMU's `pc-testdev`: interrupt lines, ports and memory by which a guest tests the machine around it.

After QEMU's hw/misc/pc-testdev.c, which is the device's only description.
"""

from typing import Any, Final

from mpvm.hw.bus import IsaDevice
from mpvm.memory.address_space import BEHIND_PRIORITY
from mpvm.memory.region import RamRegion, Region, ShadowRegister
from mpvm.qom.type_info import register_type

ECHO_PORT: Final = 0xE0
FLUSH_PORT: Final = 0xE4
BYTE_ECHO_PORT: Final = 0xE8
IRQ_PORT: Final = 0x2000
IRQ_LINES: Final = 24
MEMORY_BASE: Final = 0xFF000000
MEMORY_SIZE: Final = 0x10000

_WORD: Final = 4


@register_type("pc-testdev", description="interrupt lines, ports and memory for tests of the machine")
class PcTestdev(IsaDevice):
    """Lets a guest drive interrupt lines, and read back what it writes to ports and to memory.

    - Port `IRQ_PORT` + n is the level of the line to GSI n: 0, or high for any other byte.
    - Four bytes from `ECHO_PORT` on, and the same four from `BYTE_ECHO_PORT` on, where a wider access is made
      of byte accesses, are read back.
    - A dword to `FLUSH_PORT` has the host forget how it maps the page there; the page's contents stay, so no
      guest can tell.
    - `MEMORY_SIZE` bytes from `MEMORY_BASE` on are read back by accesses of any size.

    All writes are synchronous: an interrupt is pending before the guest's next instruction.
    """

    user_creatable = True
    # The debug console's port is amid its own.
    priority = BEHIND_PRIORITY

    def realize(self) -> None:
        """Take the interrupt lines."""
        self._lines = [self.wiring.gsi(n) for n in range(IRQ_LINES)]
        self._echo = bytearray(_WORD)
        self._echo_bytes = {offset: ShadowRegister() for offset in range(_WORD)}
        self._memory = RamRegion("pc-testdev-iomem", MEMORY_SIZE)

    def unrealize(self) -> None:
        """Let go of the lines."""
        for line in self._lines:
            line.lower()

    def ports(self) -> list[tuple[int, Region]]:
        """The lines, both echoes, and the flush port."""
        return [
            (ECHO_PORT, self._echo_region("pc-testdev-ioport")),
            (FLUSH_PORT, Region("pc-testdev-flush-page", _WORD, _read_zero, _ignore)),
            (BYTE_ECHO_PORT, self._echo_region("pc-testdev-ioport-byte")),
            (IRQ_PORT, Region("pc-testdev-irq-line", IRQ_LINES, _read_zero, self._write_line)),
        ]

    def memory(self) -> list[tuple[int, Region]]:
        """The memory that is read back."""
        return [(MEMORY_BASE, self._memory)]

    def reset_enter(self) -> None:
        """Memory and ports keep what they have, as QEMU's do; nobody drives a line any more."""
        for line in self._lines:
            line.lower()

    def _write_line(self, offset: int, size: int, value: int) -> None:
        # It takes bytes alone.
        if size == 1:
            self._lines[offset].set(int(value != 0))

    def _echo_region(self, name: str) -> Region:
        return Region(name, _WORD, self._read_echo, self._write_echo, shadows=self._echo_bytes)

    def _read_echo(self, offset: int, size: int) -> int:
        if offset % size:
            return 0
        return int.from_bytes(self._echo[offset : offset + size], "little")

    def _write_echo(self, offset: int, size: int, value: int) -> None:
        if offset % size == 0:
            self._set_echo(offset, value.to_bytes(size, "little"))

    def _set_echo(self, offset: int, data: bytes) -> None:
        self._echo[offset : offset + len(data)] = data
        for at, value in enumerate(data, offset):
            self._echo_bytes[at].set_constant(value)

    def state(self) -> dict[str, Any]:
        """What is read back, and the levels of the lines."""
        return {
            "echo": bytes(self._echo),
            "memory": bytes(self._memory.contents),
            "lines": [line.level for line in self._lines],
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take over `state`; the lines are driven to match."""
        self._set_echo(0, state["echo"])
        self._memory.load(state["memory"])
        for line, level in zip(self._lines, state["lines"], strict=True):
            line.set(level)


def _read_zero(offset: int, size: int) -> int:
    return 0


def _ignore(offset: int, size: int, value: int) -> None:
    pass
