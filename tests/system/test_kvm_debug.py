"""KVM_SET_GUEST_DEBUG steps and stops guests as KVM does, on the kernel's own, too."""

from typing import Any

import pytest

from mpvm import kvm
from mpvm.kvm import Cap, ExitReason, GuestDebug
from tests.system.kvm_api import CODE, forms, guest

DB, BP = 1, 3
DR6_FIXED = 0xFFFF0FF0
DR6_BS = 1 << 14
STEP = GuestDebug.ENABLE | GuestDebug.SINGLESTEP
HARDWARE = GuestDebug.ENABLE | GuestDebug.USE_HW_BP
SOFTWARE = GuestDebug.ENABLE | GuestDebug.USE_SW_BP
RFLAGS_RF = 1 << 16
RFLAGS_TF = 1 << 8
WRITE, READ_WRITE = 1, 3


def _dr7(index: int = 0, kind: int = 0) -> int:
    """Breakpoint `index`, of one byte, enabled."""
    return 1 << 10 | 2 << 2 * index | kind << 16 + 4 * index


def _stop(vcpu: Any) -> tuple[int, int]:
    """Runs to a DEBUG exit: exception and offset in the code."""
    assert vcpu.run() == ExitReason.DEBUG
    about = vcpu.kvm_run.debug.arch
    return about.exception, about.pc - CODE


def _needs_int3_intercepted(form: str) -> None:
    """A kernel's KVM that emulates all of a guest's instructions delivers #BP itself, without a look."""
    if form != "kvm":
        return
    with guest(form, "cc f4") as made:
        made.memory.write(BP * 4, (0x3000).to_bytes(4, "little"))
        made.memory.write(0x3000, bytes.fromhex("e6 33"))
        made.vcpu.set_guest_debug(SOFTWARE)
        if made.vcpu.run() == ExitReason.IO and made.vcpu.kvm_run.io.port == 0x33:
            pytest.skip("/dev/kvm: this host's emulates INT3 and delivers #BP to the guest, USE_SW_BP or not")


@forms()
def test_the_extension_is_offered(form: str) -> None:
    with guest(form) as made:
        assert made.system.check_extension(Cap.SET_GUEST_DEBUG) == 1


@forms()
def test_each_step_is_one_instruction(form: str) -> None:
    # mov $1, %al; add %al, %al; jmp over; hlt; over: mov %al, %bl; hlt
    with guest(form, "b0 01 00 c0 eb 01 f4 88 c3 f4") as made:
        made.vcpu.set_guest_debug(STEP)
        seen = []
        for _ in range(4):
            assert _stop(made.vcpu)[0] == DB
            about, regs = made.vcpu.kvm_run.debug.arch, made.vcpu.get_regs()
            assert about.dr6 == DR6_FIXED | DR6_BS
            assert about.pc == regs.rip
            assert not regs.rflags & RFLAGS_TF
            seen.append((regs.rip - CODE, regs.rax & 0xFF))
        assert seen == [(2, 1), (4, 2), (7, 2), (9, 2)]
        made.vcpu.set_guest_debug(0)
        assert made.vcpu.run() == ExitReason.HLT
        assert made.vcpu.get_regs().rip == CODE + 10


@forms()
def test_a_step_over_a_port_read_comes_after_its_answer(form: str) -> None:
    # in $0x20, %al; inc %al; hlt
    with guest(form, "e4 20 fe c0 f4") as made:
        made.vcpu.set_guest_debug(STEP)
        assert made.vcpu.run() == ExitReason.IO
        made.vcpu.mapping[made.vcpu.kvm_run.io.data_offset] = 0x40
        assert _stop(made.vcpu) == (DB, 2)
        assert made.vcpu.get_regs().rax & 0xFF == 0x40
        assert _stop(made.vcpu) == (DB, 4)
        assert made.vcpu.get_regs().rax & 0xFF == 0x41
        made.vcpu.set_guest_debug(0)
        assert made.vcpu.run() == ExitReason.HLT


@forms()
def test_registers_that_are_changed_at_a_step_hold(form: str) -> None:
    # nop; mov $1, %bl; hlt; inc %ax; hlt
    with guest(form, "90 b3 01 f4 40 f4") as made:
        made.vcpu.set_guest_debug(STEP)
        assert _stop(made.vcpu) == (DB, 1)
        regs = made.vcpu.get_regs()
        regs.rip, regs.rax = CODE + 4, 6
        made.vcpu.set_regs(regs)
        assert _stop(made.vcpu) == (DB, 5)
        assert made.vcpu.get_regs().rax == 7


@forms()
def test_a_software_breakpoint_stops_at_it_and_its_instruction_can_be_put_back(form: str) -> None:
    _needs_int3_intercepted(form)
    # nop; int3, over: inc %ax; hlt
    with guest(form, "90 cc f4") as made:
        made.vcpu.set_guest_debug(SOFTWARE)
        assert _stop(made.vcpu) == (BP, 1)
        assert made.vcpu.get_regs().rip == CODE + 1
        assert _stop(made.vcpu) == (BP, 1)
        _put(made, 1, b"\x40")
        assert made.vcpu.run() == ExitReason.HLT
        assert made.vcpu.get_regs().rax == 1


def _put(made: Any, offset: int, code: bytes) -> None:
    """Changes code that has run: KVM's guests see it, the engine's have to be told."""
    if hasattr(made.vm, "write_memory"):
        made.vm.write_memory(CODE + offset, code)
    else:
        made.memory.write(CODE + offset, code)


@forms()
def test_without_software_breakpoints_int3_is_the_guest_s(form: str) -> None:
    # int3; the handler of vector 3: out %al, $0x33
    with guest(form, "cc f4") as made:
        made.memory.write(BP * 4, (0x3000).to_bytes(4, "little"))
        made.memory.write(0x3000, bytes.fromhex("e6 33"))
        assert made.vcpu.run() == ExitReason.IO
        assert made.vcpu.kvm_run.io.port == 0x33


@forms()
def test_a_hardware_breakpoint_stops_before_its_instruction(form: str) -> None:
    # nop; inc %ax; hlt
    with guest(form, "90 40 f4") as made:
        made.vcpu.set_guest_debug(HARDWARE, [CODE + 1, 0, 0, 0, 0, 0, 0, _dr7()])
        assert _stop(made.vcpu) == (DB, 1)
        assert made.vcpu.kvm_run.debug.arch.dr6 == DR6_FIXED | 1
        assert made.vcpu.get_regs().rax == 0
        made.vcpu.set_guest_debug(0)
        assert made.vcpu.run() == ExitReason.HLT
        assert made.vcpu.get_regs().rax == 1


@forms("unicorn", "processes")
def test_the_resume_flag_passes_a_hardware_breakpoint(form: str) -> None:
    # nop; inc %ax; hlt
    with guest(form, "90 40 f4") as made:
        made.vcpu.set_guest_debug(HARDWARE, [CODE + 1, 0, 0, 0, 0, 0, 0, _dr7()])
        assert _stop(made.vcpu) == (DB, 1)
        assert made.vcpu.kvm_run.debug.arch.dr7 == _dr7()
        regs = made.vcpu.get_regs()
        regs.rflags |= RFLAGS_RF
        made.vcpu.set_regs(regs)
        assert made.vcpu.run() == ExitReason.HLT
        assert made.vcpu.get_regs().rax == 1


@forms("unicorn", "processes")
def test_a_watchpoint_stops_behind_the_store(form: str) -> None:
    # mov %al, 0x2000; mov %al, 0x2001; hlt
    with guest(form, "a2 00 20 a2 01 20 f4") as made:
        made.vcpu.set_guest_debug(HARDWARE, [0, 0x2001, 0, 0, 0, 0, 0, _dr7(1, WRITE)])
        assert _stop(made.vcpu) == (DB, 6)
        assert made.vcpu.kvm_run.debug.arch.dr6 == DR6_FIXED | 2
        assert made.vcpu.run() == ExitReason.HLT


@forms("unicorn", "processes")
def test_a_step_that_meets_a_watchpoint_stops_once(form: str) -> None:
    # mov %al, 0x2000; nop; hlt
    with guest(form, "a2 00 20 90 f4") as made:
        made.vcpu.set_guest_debug(HARDWARE | STEP, [0x2000, 0, 0, 0, 0, 0, 0, _dr7(0, READ_WRITE)])
        assert _stop(made.vcpu) == (DB, 3)
        assert made.vcpu.kvm_run.debug.arch.dr6 == DR6_FIXED | DR6_BS | 1
        assert _stop(made.vcpu) == (DB, 4)
        assert made.vcpu.kvm_run.debug.arch.dr6 == DR6_FIXED | DR6_BS


@forms("unicorn", "processes")
def test_the_guest_s_debug_registers_stay_its_own(form: str) -> None:
    # mov $0x1234, %eax; mov %eax, %db0; mov %db0, %ebx; mov %db7, %ecx; inc %dx; hlt
    with guest(form, "66 b8 34 12 00 00 0f 23 c0 0f 21 c3 0f 21 f9 42 f4") as made:
        made.vcpu.set_guest_debug(HARDWARE, [CODE + 15, 0, 0, 0, 0, 0, 0, _dr7()])
        assert _stop(made.vcpu) == (DB, 15)
        regs, debugregs = made.vcpu.get_regs(), made.vcpu.get_debugregs()
        assert (regs.rbx, regs.rcx, debugregs.db[0], debugregs.dr7) == (0x1234, 0x400, 0x1234, 0x400)
        assert debugregs.dr6 & 0xF == 0


@forms()
def test_a_breakpoint_can_be_given_to_the_guest(form: str) -> None:
    """What user space does with an INT3 that it has not put there."""
    _needs_int3_intercepted(form)
    with guest(form, "cc f4") as made:
        made.memory.write(BP * 4, (0x3000).to_bytes(4, "little"))
        made.memory.write(0x3000, bytes.fromhex("e6 33"))
        made.vcpu.set_guest_debug(SOFTWARE)
        assert _stop(made.vcpu) == (BP, 0)
        made.vcpu.set_guest_debug(SOFTWARE | GuestDebug.INJECT_BP)
        assert made.vcpu.run() == ExitReason.IO
        regs, sregs = made.vcpu.get_regs(), made.vcpu.get_sregs()
        at = sregs.ss.base + regs.rsp
        assert int.from_bytes(made.memory.read(at, 2), "little") == CODE + 1


def test_slots_may_change_at_a_step() -> None:
    """A step ends in front of an instruction whose block is translated."""
    # loop: incw 0x2000; jmp loop
    with guest("unicorn", "ff 06 00 20 eb fa") as made:
        made.vcpu.set_guest_debug(kvm.GuestDebug.ENABLE | kvm.GuestDebug.SINGLESTEP)
        for _ in range(4):
            _stop(made.vcpu)
        other = made.vm.allocate_memory(made.size)
        other.write(0, made.memory.read(0, made.size))
        made.vm.set_user_memory_region(0, 0, 0, 0, 0)
        made.vm.set_user_memory_region(0, 0, 0, made.size, other.address)
        for _ in range(2):
            _stop(made.vcpu)
        assert (made.memory.read(0x2000, 1), other.read(0x2000, 1)) == (b"\2", b"\3")
