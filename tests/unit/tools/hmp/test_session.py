"""A monitor on a VM that notes what is asked of it: what is typed, and what is said."""

from types import SimpleNamespace
from typing import Any

import pytest

from mpvm.abi.control_block import GuestState
from mpvm.abi.layout import RunState, VmPage
from mpvm.config import ChardevSpec
from mpvm.coordinator.run_state import RunStateMachine
from mpvm.memory.ram import GuestRam, ram_slots
from mpvm.tools.hmp.monitor import open_session
from mpvm.tools.hmp.session import HmpSession
from tests.unit.tools.qmp.fake_vm import FakeVm

MEMORY = 2 << 20
GREETING = "mpvm 0.1.0 monitor - type 'help' for more information\r\n(qemu) "


class Memory:
    """What is no RAM."""

    def read(self, address: int, size: int) -> int:
        return address & 0xFF


class Monitor:
    def __init__(self, **config: Any) -> None:
        self.vm = FakeVm(**config)
        self.guest = GuestState()
        self.ram = GuestRam(memoryview(bytearray(MEMORY)), ram_slots(MEMORY))
        page = SimpleNamespace(a20_mask=0xFFFFFFFF)
        self.vm.machine = SimpleNamespace(
            ram=self.ram, memory=Memory(), host=SimpleNamespace(page=page), inject_nmi=lambda: None
        )
        area = SimpleNamespace(control=SimpleNamespace(guest=self.guest))
        self.vcpus: Any = [SimpleNamespace(index=n, pid=100 + n, area=area) for n in range(2)]
        self.vm.list_vcpus = lambda: self.vcpus  # type: ignore[method-assign]
        self.said = bytearray()
        self.session: HmpSession = open_session(self.vm, self.said.extend)

    def type(self, text: str) -> str:
        """What `text` and Enter make the monitor say, without the echo and the prompt."""
        self.said.clear()
        self.session.receive(text.encode() + b"\r")
        answer = self.said.decode().partition("\r\n")[2]
        assert answer.endswith("(qemu) ")
        return answer.removesuffix("(qemu) ").replace("\r\n", "\n")


@pytest.fixture
def monitor() -> Monitor:
    return Monitor()


def test_who_comes_is_greeted_and_who_comes_back_sees_the_line_as_it_was(monitor: Monitor) -> None:
    monitor.session.opened(True)
    assert monitor.said.decode() == GREETING
    monitor.session.receive(b"info st")
    monitor.session.focused(False)
    monitor.said.clear()
    monitor.session.focused(True)
    assert monitor.said == b"(qemu) info st"


def test_a_shared_monitor_greets_when_it_is_gone_to(monitor: Monitor) -> None:
    monitor.session.has_focus = False
    monitor.session.opened(True)
    assert monitor.said == b""
    monitor.session.focused(True)
    assert monitor.said.decode() == GREETING


@pytest.mark.parametrize(
    ("typed", "asked"),
    [
        ("stop", "stop"),
        ("s", "stop"),
        ("cont", "cont"),
        ("c", "cont"),
        ("system_reset", "system_reset"),
        ("system_powerdown", "system_powerdown"),
        ("quit", "system_quit"),
        (" q ", "system_quit"),
    ],
)
def test_a_command_does_what_qmps_does(monitor: Monitor, typed: str, asked: str) -> None:
    assert monitor.type(typed) == ""
    assert monitor.vm.asked == [asked]


def test_nothing_is_no_command(monitor: Monitor) -> None:
    assert monitor.type("") == ""
    assert monitor.type("# a remark") == ""
    assert monitor.type("bogus") == "unknown command: 'bogus'\n"
    assert monitor.type("info bogus") == "unknown command: 'info bogus'\n"


def test_a_command_that_fails_is_told(monitor: Monitor) -> None:
    assert monitor.type("qom-list /nowhere").startswith("Error: ")
    assert monitor.type("x") == 'unexpected end of expression\nTry "help x" for more information\n'
    assert monitor.type("qom-get /") == 'qom-get: string expected\nTry "help qom-get" for more information\n'


def test_help_lists_commands_and_what_info_shows(monitor: Monitor) -> None:
    assert monitor.type("help stop") == "stop|s  -- stop emulation\n"
    assert "\nquit|q  -- quit the emulator\n" in monitor.type("?")
    assert "info status  -- show the current VM status (running|paused)\n" in monitor.type("info")
    assert monitor.type("help info uuid") == "info uuid  -- show the current VM UUID\n"


@pytest.mark.parametrize(
    ("state", "why", "words"),
    [
        (RunState.RUNNING, None, "running"),
        (RunState.PAUSED, None, "paused"),
        (RunState.PRELAUNCH, None, "paused (prelaunch)"),
        (RunState.PAUSED, "guest-panicked", "paused (guest-panicked)"),
    ],
)
def test_the_status_is_running_or_paused_with_the_reason(
    monitor: Monitor, state: RunState, why: str | None, words: str
) -> None:
    monitor.vm.run_state = RunStateMachine(VmPage(run_state=state))
    if why is not None:
        monitor.vm.run_state.stopped_as(why)
    assert monitor.type("info status") == f"VM status: {words}\n"


def test_the_vms_name_uuid_and_chardevs_are_shown() -> None:
    monitor = Monitor(name="guest", uuid="12345678-1234-5678-9abc-123456789abc")
    monitor.vm.chardevs.make(ChardevSpec("null"), "serial0")
    monitor.vm.chardevs.make(ChardevSpec("null"), "serial1")
    assert monitor.type("info name") == "guest\n"
    assert monitor.type("info uuid") == "12345678-1234-5678-9abc-123456789abc\n"
    assert monitor.type("info chardev") == "serial1: filename=null\nserial0: filename=null\n"
    assert monitor.type("info version").endswith("mpvm-0.1.0\n")


def test_vcpus_are_listed_and_one_is_the_default(monitor: Monitor) -> None:
    assert monitor.type("info cpus") == "* CPU #0: thread_id=100\n  CPU #1: thread_id=101\n"
    assert monitor.type("cpu 1") == ""
    assert monitor.type("info cpus") == "  CPU #0: thread_id=100\n* CPU #1: thread_id=101\n"
    assert monitor.type("cpu 2") == "invalid CPU index\n"


def test_memory_is_read_by_physical_and_by_linear_addresses(monitor: Monitor) -> None:
    monitor.ram.write(0x1000, bytes(range(16)))
    assert monitor.type("xp /2xw 0x1000") == "0000000000001000: 0x03020100 0x07060504\n"
    assert monitor.type("x /1xb $rip+0x1001") == "0000000000001001: 0x01\n"
    assert monitor.vm.asked == ["standstill"] * 2
    # Paging, by one entry of the page directory: 4 MiB from 0x400000 on are those from 0 on.
    monitor.guest.cr0, monitor.guest.cr3, monitor.guest.cr4 = 0x80000001, 0x2000, 0x10
    monitor.ram.write(0x2004, (0x83).to_bytes(4, "little"))
    assert monitor.type("x /1xb 0x401003") == "0000000000401003: 0x03\n"
    assert monitor.type("gva2gpa 0x401003") == "gpa: 0x1003\n"
    assert monitor.type("gva2gpa 0x801003") == "Unmapped\n"
    assert monitor.type("x /2xb 0x7fffff").endswith("0000000000800000: Cannot access memory\n")


def test_memory_that_is_no_ram_is_asked_for(monitor: Monitor) -> None:
    assert monitor.type("xp /2xb 0xfec00010") == "00000000fec00010: 0x10 0x11\n"


def test_a_dump_of_too_much_is_refused(monitor: Monitor) -> None:
    assert monitor.type("xp /1000000xg 0").startswith("8000000 bytes are too many, 1048576 are right\n")


def test_expressions_are_printed_with_registers(monitor: Monitor) -> None:
    monitor.guest.rip = 0x7C00
    monitor.guest.gpr[3] = 5
    assert monitor.type("print $rip+$ebx") == "0x7c05\n"
    assert monitor.type("p/d -1") == "-1\n"


def test_registers_are_printed_as_qemu_does(monitor: Monitor) -> None:
    guest = monitor.guest
    guest.gpr[:] = range(16)
    guest.rip, guest.rflags = 0xFFF0, 0x46
    guest.cr0, guest.activity_state = 0x11, 1
    guest.cs.selector, guest.cs.limit, guest.cs.access_rights = 8, 0xFFFFFFFF, 0xC09B
    guest.ss.access_rights = 0xC093
    guest.tr.access_rights = 0x8B
    guest.xsave[2:5] = b"\x00\x38\x80"
    guest.xsave[32:40] = b"\1" * 8
    text = monitor.type("info registers")
    lines = text.splitlines()
    assert lines[:5] == [
        "",
        "CPU#0",
        "EAX=00000000 EBX=00000003 ECX=00000001 EDX=00000002",
        "ESI=00000006 EDI=00000007 EBP=00000005 ESP=00000004",
        "EIP=0000fff0 EFL=00000046 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=1",
    ]
    assert "CS =0008 00000000 ffffffff 00c09b00 DPL=0 CS32 [-RA]" in lines
    assert "TR =0000 00000000 00000000 00008b00 DPL=0 TSS32-busy" in lines
    # The top of the stack is register 7.
    assert "FCW=0000 FSW=3800 [ST=7] FTW=80 MXCSR=00000000" in lines
    assert "FPR6=0000000000000000 0000 FPR7=0101010101010101 0000" in lines
    assert lines[-1].startswith("XMM06=")
    guest.efer, guest.cs.access_rights = 0x500, 0xA09B
    lines = monitor.type("info registers -a").splitlines()
    assert "RAX=0000000000000000 RBX=0000000000000003 RCX=0000000000000001 RDX=0000000000000002" in lines
    assert "R8 =0000000000000008 R9 =0000000000000009 R10=000000000000000a R11=000000000000000b" in lines
    assert "CS =0008 0000000000000000 ffffffff 00a09b00 DPL=0 CS64 [-RA]" in lines
    assert "CPU#1" in lines
    assert lines[-1].startswith("XMM14=")


def test_a_device_is_added_as_on_the_command_line(monitor: Monitor) -> None:
    assert monitor.type("device_add c,id=a,socket-id=x") == "Error: Parameter 'socket-id' expects a number\n"
    assert monitor.type("device_add") == (
        'device_add: string expected\nTry "help device_add" for more information\n'
    )


def test_names_are_completed(monitor: Monitor) -> None:
    monitor.session.receive(b"info stat\t\r")
    assert b"VM status: running" in monitor.said
