"""A person at a terminal: a shell to type into, Ctrl-A x, reboot and power-off; the terminal as it was."""

import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pexpect

from tests.system import linux
from tests.system.runner import Launcher

_PROMPT = r"/ # (?:\x1b\[6n)?"


@contextmanager
def _shell(launch: Launcher, smp: int) -> Iterator["pexpect.spawn[str]"]:
    """A Linux at its prompt, started from a shell that compares the terminal's settings before and after."""
    command = shlex.join([sys.executable, "-m", "mpvm", "run", *map(str, linux.arguments("shell", smp))])
    compare = '[ "$before" = "$(stty -g)" ] && echo same terminal $status'
    script = f"before=$(stty -g); {command}; status=$?; {compare}"
    terminal = launch.terminal(["sh", "-c", script], seconds=200)
    _to_the_prompt(terminal)
    launch.remember_processes()
    yield terminal


def _to_the_prompt(terminal: "pexpect.spawn[str]") -> None:
    terminal.expect_exact(linux.FIRST_LINE)
    terminal.expect(_PROMPT)


def _ends_with(terminal: "pexpect.spawn[str]", status: int) -> None:
    terminal.expect(r"same terminal (\d+)")
    assert isinstance(terminal.match, re.Match)
    assert int(terminal.match[1]) == status
    terminal.expect(pexpect.EOF)


def test_a_shell_takes_commands_and_reboots_and_powers_off_on_request(launch: Launcher) -> None:
    with _shell(launch, smp=4) as terminal:
        terminal.sendline("echo $((6 * 7)) $(nproc)")
        terminal.expect(r"42 4\r*\n")
        terminal.expect(_PROMPT)
        terminal.sendline(f"echo {'x' * 300} | wc -c")
        terminal.expect(r"\n301\r*\n")
        terminal.expect(_PROMPT)
        # A list of two commands would have a moment between them, in which Ctrl-C is only the shell's.
        terminal.sendline("sh -c 'echo started; exec sleep 100000'")
        terminal.expect(r"\nstarted\r*\n")
        terminal.sendcontrol("c")
        terminal.expect(_PROMPT)
        terminal.sendline("reboot -f")
        terminal.expect_exact("smp: Brought up 1 node, 4 CPUs")
        _to_the_prompt(terminal)
        terminal.sendline("poweroff -f")
        _ends_with(terminal, status=0)


def test_ctrl_a_x_quits_and_ctrl_a_twice_reaches_the_guest(launch: Launcher) -> None:
    with _shell(launch, smp=1) as terminal:
        # Ctrl-A moves the line editor to the start of its line: the x lands before the rest.
        terminal.send("cho typed\x01\x01e\r")
        terminal.expect(r"\ntyped\r*\n")
        terminal.expect(_PROMPT)
        terminal.send("\x01x")
        _ends_with(terminal, status=0)
