"""The 8042 keyboard controller of the AT (IBM PS/2 Hardware Interface Technical Reference, Keyboard and
Auxiliary Device Controller) with a keyboard and without an auxiliary device.
"""

from collections import deque
from collections.abc import Callable
from enum import IntEnum, IntFlag
from typing import Any

from mpvm.abi.log import LogItem
from mpvm.hw.bus import IsaDevice
from mpvm.hw.misc.a20 import no_gate
from mpvm.hw.misc.ps2_keyboard import Ps2Keyboard
from mpvm.memory.region import Region, ShadowRegister
from mpvm.qom import properties
from mpvm.qom.type_info import register_type
from mpvm.trace.log import log_mask

DATA_PORT = 0x60
COMMAND_PORT = 0x64


class Status(IntFlag):
    """Status register, read at port 0x64."""

    OBF = 0x01
    IBF = 0x02
    SYS = 0x04
    COMMAND = 0x08
    UNLOCKED = 0x10
    AUX_OBF = 0x20
    TIMEOUT = 0x40
    PARITY = 0x80


class CommandByte(IntFlag):
    """The controller's command byte, byte 0 of its RAM."""

    KEYBOARD_INTERRUPT = 0x01
    AUX_INTERRUPT = 0x02
    SYS = 0x04
    KEYBOARD_DISABLE = 0x10
    AUX_DISABLE = 0x20
    TRANSLATE = 0x40


class OutputPort(IntFlag):
    """The output port. RESET is low-active; bits 4 and 5 follow the two interrupt outputs."""

    RESET = 0x01
    A20 = 0x02
    IRQ1 = 0x10
    IRQ12 = 0x20
    CLOCK = 0x40
    DATA = 0x80


class Command(IntEnum):
    """Commands to the controller, written to port 0x64."""

    READ_RAM = 0x20
    WRITE_RAM = 0x60
    DISABLE_AUX = 0xA7
    ENABLE_AUX = 0xA8
    TEST_AUX = 0xA9
    SELF_TEST = 0xAA
    TEST_KEYBOARD = 0xAB
    DISABLE_KEYBOARD = 0xAD
    ENABLE_KEYBOARD = 0xAE
    READ_INPUT_PORT = 0xC0
    READ_OUTPUT_PORT = 0xD0
    WRITE_OUTPUT_PORT = 0xD1
    WRITE_KEYBOARD_OUTPUT = 0xD2
    WRITE_AUX_OUTPUT = 0xD3
    WRITE_AUX = 0xD4
    DISABLE_A20 = 0xDD
    ENABLE_A20 = 0xDF
    PULSE_OUTPUT_PORT = 0xF0


SELF_TEST_PASSED = 0x55
KEYBOARD_TEST_PASSED = 0x00
# "clock line stuck low": nothing pulls the line up where no auxiliary connector is
AUX_TEST_FAILED = 0x01
NO_ANSWER = 0xFE
# keyboard not locked, manufacturing jumper not set, 256 KiB on the board
INPUT_PORT = 0xB0
RAM_SIZE = 32

# What firmware hands over: tested, A20 open, keyboard on, its codes translated to set 1
_POWER_ON_COMMAND_BYTE = int(
    CommandByte.KEYBOARD_INTERRUPT | CommandByte.SYS | CommandByte.AUX_DISABLE | CommandByte.TRANSLATE
)
_COMMAND_BYTE_MASK = 0x77
_OUTPUT_PORT_WRITABLE = int(OutputPort.RESET | OutputPort.A20 | OutputPort.CLOCK | OutputPort.DATA)
_POWER_ON_OUTPUT_PORT = _OUTPUT_PORT_WRITABLE

# Scan code set 2 to set 1, as far as the keyboard's answers meet it: its identity and its set's number.
_TRANSLATION = {0x83: 0x41, 0x01: 0x43, 0x02: 0x41, 0x03: 0x3F}

_TAKES_ARGUMENT = frozenset(
    (
        Command.WRITE_OUTPUT_PORT,
        Command.WRITE_KEYBOARD_OUTPUT,
        Command.WRITE_AUX_OUTPUT,
        Command.WRITE_AUX,
        *range(Command.WRITE_RAM, Command.WRITE_RAM + RAM_SIZE),
    )
)


@register_type("i8042", description="keyboard controller with a keyboard")
class I8042(IsaDevice):
    """Ports 0x60 and 0x64. Status is a shadowed read, as is data while the output buffer is empty; no write
    is posted, because each changes status.

    `set_a20` is an input of the machine's `A20Gate`. The mouse's interrupt follows the output buffer when a
    driver has enabled it, though all that comes that way is the controller's own word that the auxiliary
    device does not answer.
    """

    kbd_irq = properties.uint8(1, "ISA interrupt of the keyboard")
    mouse_irq = properties.uint8(12, "ISA interrupt of the auxiliary device")

    set_a20: Callable[[bool], None] = staticmethod(no_gate)

    def realize(self) -> None:
        """Take both lines, and power on."""
        self._irq1 = self.wiring.line(self.kbd_irq)
        self._irq12 = self.wiring.line(self.mouse_irq)
        self.keyboard = Ps2Keyboard()
        self._status_shadow = ShadowRegister()
        self._data_shadow = ShadowRegister()
        self._data_region = Region(
            "i8042-data", 1, self._read_data, self._write_data, shadows={0: self._data_shadow}
        )
        self._command_region = Region(
            "i8042-command", 1, self._read_status, self._write_command, shadows={0: self._status_shadow}
        )
        # bytes on their way to the output buffer, the controller's before the keyboard's; the flag is
        # what status says besides OBF
        self._replies: deque[tuple[int, int]] = deque()
        self._from_keyboard: deque[int] = deque()
        self._power_on()
        self._update()

    def ports(self) -> list[tuple[int, Region]]:
        """Where the two ports are."""
        return [(DATA_PORT, self._data_region), (COMMAND_PORT, self._command_region)]

    def reset_enter(self) -> None:
        """The state that firmware hands over."""
        self._power_on()
        self.keyboard.reset()

    def reset_hold(self) -> None:
        """A20 opens, both interrupts go low."""
        self._update()
        self.set_a20(True)

    def _power_on(self) -> None:
        self._ram = bytearray(RAM_SIZE)
        self._ram[0] = _POWER_ON_COMMAND_BYTE
        self._output_port = _POWER_ON_OUTPUT_PORT
        self._pending_command: int | None = None
        self._last_write_was_command = False
        self._full = False
        self._data = 0
        self._source = 0
        self._replies.clear()
        self._from_keyboard.clear()

    # -- the output buffer -------------------------------------------------------------------------

    def _reply(self, value: int, source: int = 0) -> None:
        self._replies.append((value, source))
        self._update()

    def _fill(self) -> None:
        """Put the next byte into the output buffer when that is empty."""
        if self._full:
            return
        if self._replies:
            self._data, self._source = self._replies.popleft()
        elif self._from_keyboard and not self._ram[0] & CommandByte.KEYBOARD_DISABLE:
            byte = self._from_keyboard.popleft()
            translate = self._ram[0] & CommandByte.TRANSLATE
            self._data = _TRANSLATION.get(byte, byte) if translate else byte
            self._source = 0
        else:
            return
        self._full = True

    def _update(self) -> None:
        self._fill()
        # Before the interrupt: its handler looks at both.
        if self._full:
            self._data_shadow.set_synchronous()
        else:
            self._data_shadow.set_constant(self._data)
        self._status_shadow.set_constant(self._status())
        self._drive_interrupts()

    def _drive_interrupts(self) -> None:
        aux = self._source & Status.AUX_OBF
        command_byte = self._ram[0]
        self._irq1.set(int(self._full and not aux and bool(command_byte & CommandByte.KEYBOARD_INTERRUPT)))
        self._irq12.set(int(self._full and bool(aux) and bool(command_byte & CommandByte.AUX_INTERRUPT)))

    def _status(self) -> int:
        status = int(Status.UNLOCKED)
        if self._full:
            status |= Status.OBF | self._source
        if self._ram[0] & CommandByte.SYS:
            status |= Status.SYS
        if self._last_write_was_command:
            status |= Status.COMMAND
        return status

    # -- ports -------------------------------------------------------------------------------------

    def _read_status(self, offset: int, size: int) -> int:
        return self._status()

    def _read_data(self, offset: int, size: int) -> int:
        value = self._data
        self._full = False
        # the lines fall before the next byte raises them: each byte is an edge
        self._drive_interrupts()
        self._update()
        return value

    def _write_data(self, offset: int, size: int, value: int) -> None:
        value &= 0xFF
        self._last_write_was_command = False
        command, self._pending_command = self._pending_command, None
        if command is None:
            # a byte for the keyboard turns its interface on
            self._ram[0] &= ~CommandByte.KEYBOARD_DISABLE & 0xFF
            self._from_keyboard.extend(self.keyboard.write(value))
        else:
            self._argument(command, value)
        self._update()

    def _argument(self, command: int, value: int) -> None:
        if command == Command.WRITE_OUTPUT_PORT:
            self._write_output_port(value)
        elif command == Command.WRITE_KEYBOARD_OUTPUT:
            self._reply(value)
        elif command == Command.WRITE_AUX_OUTPUT:
            # Drivers take an echo that is marked AUX_OBF for proof of an auxiliary port, and an unmarked
            # one for proof of none, where silence would cost them a long time-out.
            self._reply(value)
        elif command == Command.WRITE_AUX:
            self._reply(NO_ANSWER, int(Status.AUX_OBF | Status.TIMEOUT))
        else:
            address = command - Command.WRITE_RAM
            self._ram[address] = value & _COMMAND_BYTE_MASK if address == 0 else value

    def _write_command(self, offset: int, size: int, value: int) -> None:
        command = value & 0xFF
        self._last_write_was_command = True
        self._pending_command = command if command in _TAKES_ARGUMENT else None
        if Command.READ_RAM <= command < Command.READ_RAM + RAM_SIZE:
            self._reply(self._ram[command - Command.READ_RAM])
        elif command >= Command.PULSE_OUTPUT_PORT:
            # the low four bits of the output port whose bit is 0 go low for 6 us
            if not command & OutputPort.RESET:
                self.wiring.system.request_reset()
        else:
            self._execute(command)
        self._update()

    def _execute(self, command: int) -> None:
        match command:
            case Command.DISABLE_AUX:
                self._ram[0] |= CommandByte.AUX_DISABLE
            case Command.ENABLE_AUX:
                self._ram[0] &= ~CommandByte.AUX_DISABLE & 0xFF
            case Command.TEST_AUX:
                self._reply(AUX_TEST_FAILED)
            case Command.SELF_TEST:
                self._self_test()
            case Command.TEST_KEYBOARD:
                self._reply(KEYBOARD_TEST_PASSED)
            case Command.DISABLE_KEYBOARD:
                self._ram[0] |= CommandByte.KEYBOARD_DISABLE
            case Command.ENABLE_KEYBOARD:
                self._ram[0] &= ~CommandByte.KEYBOARD_DISABLE & 0xFF
            case Command.READ_INPUT_PORT:
                self._reply(INPUT_PORT)
            case Command.READ_OUTPUT_PORT:
                self._reply(self._read_output_port())
            case Command.DISABLE_A20:
                self._write_output_port(self._output_port & ~OutputPort.A20)
            case Command.ENABLE_A20:
                self._write_output_port(self._output_port | OutputPort.A20)
            case _:
                # A command with an argument waits for it; the 8042 ignores one that it does not know.
                if command not in _TAKES_ARGUMENT:
                    log_mask(LogItem.GUEST_ERRORS, "i8042: unknown command %#x", command)

    def _self_test(self) -> None:
        """Interfaces off and interrupts disabled afterwards, and the system flag set."""
        self._replies.clear()
        self._from_keyboard.clear()
        self._full = False
        self._ram[0] = int(CommandByte.SYS | CommandByte.KEYBOARD_DISABLE | CommandByte.AUX_DISABLE)
        self._reply(SELF_TEST_PASSED)

    def _read_output_port(self) -> int:
        value = self._output_port
        value |= OutputPort.IRQ1 if self._irq1.level else 0
        value |= OutputPort.IRQ12 if self._irq12.level else 0
        return int(value)

    def _write_output_port(self, value: int) -> None:
        self._output_port = value & _OUTPUT_PORT_WRITABLE
        self.set_a20(bool(value & OutputPort.A20))
        if not value & OutputPort.RESET:
            self.wiring.system.request_reset()

    # -- state -------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Controller RAM and ports, bytes on their way, and the keyboard's state."""
        return {
            "ram": bytes(self._ram),
            "output_port": int(self._output_port),
            "pending_command": self._pending_command,
            "last_write_was_command": self._last_write_was_command,
            "full": self._full,
            "data": self._data,
            "source": self._source,
            "replies": [list(reply) for reply in self._replies],
            "from_keyboard": list(self._from_keyboard),
            "keyboard": self.keyboard.state(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take over `state` and drive the interrupts and A20 to match."""
        self._ram = bytearray(state["ram"])
        self._output_port = state["output_port"]
        self._pending_command = state["pending_command"]
        self._last_write_was_command = state["last_write_was_command"]
        self._full = state["full"]
        self._data = state["data"]
        self._source = state["source"]
        self._replies = deque((int(value), int(source)) for value, source in state["replies"])
        self._from_keyboard = deque(state["from_keyboard"])
        self.keyboard.load(state["keyboard"])
        self.set_a20(bool(self._output_port & OutputPort.A20))
        self._update()
