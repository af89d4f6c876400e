"""The PS/2 keyboard as the host sees it (IBM PS/2 Hardware Interface Technical Reference, Keyboards
(101- and 102-Key)). It answers every command; nobody presses its keys.
"""

from enum import IntEnum
from typing import Any

from mpvm.abi.log import LogItem
from mpvm.trace.log import log_mask


class Command(IntEnum):
    """Commands to the keyboard."""

    SET_LEDS = 0xED
    ECHO = 0xEE
    SCAN_CODE_SET = 0xF0
    IDENTIFY = 0xF2
    SET_TYPEMATIC = 0xF3
    ENABLE = 0xF4
    DEFAULT_DISABLE = 0xF5
    SET_DEFAULT = 0xF6
    ALL_TYPEMATIC = 0xF7
    ALL_MAKE_BREAK = 0xF8
    ALL_MAKE = 0xF9
    ALL_TYPEMATIC_MAKE_BREAK = 0xFA
    RESEND = 0xFE
    RESET = 0xFF


ACK = 0xFA
ECHO_REPLY = 0xEE
RESEND_REPLY = 0xFE
SELF_TEST_PASSED = 0xAA
IDENTITY = (0xAB, 0x83)

_WITH_ARGUMENT = frozenset((Command.SET_LEDS, Command.SCAN_CODE_SET, Command.SET_TYPEMATIC))
_DEFAULT_SCAN_CODE_SET = 2
# 10.9 characters a second after 500 ms
_DEFAULT_TYPEMATIC = 0x2B


class Ps2Keyboard:
    """Commands in, answers out; `write` returns the bytes that the keyboard sends back."""

    def __init__(self) -> None:
        self.leds = 0
        self.last_sent = 0
        self._set_defaults(scanning=True)
        self._awaits: int | None = None

    def reset(self) -> None:
        """Power-on defaults, scanning."""
        self.leds = 0
        self.last_sent = 0
        self._set_defaults(scanning=True)
        self._awaits = None

    def _set_defaults(self, scanning: bool) -> None:
        self.scan_code_set = _DEFAULT_SCAN_CODE_SET
        self.typematic = _DEFAULT_TYPEMATIC
        self.scanning = scanning

    def write(self, value: int) -> list[int]:
        """A byte from the host; returns the answer."""
        answer = self._answer(value)
        if answer:
            self.last_sent = answer[-1]
        return answer

    def _answer(self, value: int) -> list[int]:
        # an argument is below 0xed; anything else in its place is a new command
        awaits, self._awaits = self._awaits, None
        if awaits is not None and value < Command.SET_LEDS:
            return self._argument(awaits, value)
        if value in _WITH_ARGUMENT:
            self._awaits = value
            return [ACK]
        match value:
            case Command.ECHO:
                return [ECHO_REPLY]
            case Command.IDENTIFY:
                return [ACK, *IDENTITY]
            case Command.ENABLE:
                self.scanning = True
            case Command.DEFAULT_DISABLE:
                self._set_defaults(scanning=False)
            case Command.SET_DEFAULT:
                self._set_defaults(scanning=self.scanning)
            case Command.RESEND:
                return [self.last_sent]
            case Command.RESET:
                self.reset()
                return [ACK, SELF_TEST_PASSED]
            case _ if Command.ALL_TYPEMATIC <= value <= Command.ALL_TYPEMATIC_MAKE_BREAK:
                # they set how the keys of scan code set 3 repeat, and there are no keys
                pass
            case _:
                log_mask(LogItem.GUEST_ERRORS, "PS/2 keyboard: unknown command %#x", value)
                return [RESEND_REPLY]
        return [ACK]

    def _argument(self, command: int, value: int) -> list[int]:
        if command == Command.SET_LEDS:
            self.leds = value & 0x07
        elif command == Command.SET_TYPEMATIC:
            self.typematic = value & 0x7F
        elif value == 0:
            return [ACK, self.scan_code_set]
        elif value <= 3:
            self.scan_code_set = value
        else:
            return [RESEND_REPLY]
        return [ACK]

    def state(self) -> dict[str, Any]:
        """Settings, and the command whose argument is due."""
        return {
            "leds": self.leds,
            "last_sent": self.last_sent,
            "scan_code_set": self.scan_code_set,
            "typematic": self.typematic,
            "scanning": self.scanning,
            "awaits": self._awaits,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned."""
        self.leds = state["leds"]
        self.last_sent = state["last_sent"]
        self.scan_code_set = state["scan_code_set"]
        self.typematic = state["typematic"]
        self.scanning = state["scanning"]
        self._awaits = state["awaits"]
