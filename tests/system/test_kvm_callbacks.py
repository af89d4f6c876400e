"""`on_exit` of the VM handle: functions see exits and change them, as those of a whole machine do."""

import errno
from typing import Any

import pytest

from mpvm.kvm import ExitReason
from tests.system.kvm_api import CODE, forms, guest


@forms("unicorn", "processes")
def test_a_function_counts_and_changes_cpuid(form: str) -> None:
    # xor %eax, %eax; cpuid; cpuid; hlt
    with guest(form, "66 31 c0 0f a2 0f a2 f4") as made:
        seen = []

        def change(exit_: Any) -> None:
            seen.append(exit_.registers.rip - CODE)
            exit_.registers.rax, exit_.registers.rbx = 5, 0x4D50564D
            exit_.skip()

        vm: Any = made.vm
        attached = vm.on_exit(ExitReason.CPUID, change)
        assert made.vcpu.run() == ExitReason.HLT
        regs = made.vcpu.get_regs()
        assert (seen, regs.rax, regs.rbx, regs.rip) == ([3, 5], 5, 0x4D50564D, CODE + 8)
        vm.off_exit(attached)
        regs.rip = CODE
        made.vcpu.set_regs(regs)
        assert made.vcpu.run() == ExitReason.HLT
        assert len(seen) == 2
        assert made.vcpu.get_regs().rbx != 0x4D50564D


@forms("unicorn", "processes")
def test_a_function_answers_a_port_and_others_stay_user_space_s(form: str) -> None:
    # in $0x20, %al; in $0x21, %al; hlt
    with guest(form, "e4 20 e4 21 f4") as made:
        made.vm.on_exit(ExitReason.IO, lambda exit_: setattr(exit_, "data", 0x5A), only={0x20})
        assert made.vcpu.run() == ExitReason.IO
        assert made.vcpu.kvm_run.io.port == 0x21
        assert made.vcpu.get_regs().rax & 0xFF == 0x5A


@forms("kvm")
def test_the_kernel_s_vm_refuses_with_the_reason(form: str) -> None:
    with guest(form) as made, pytest.raises(OSError, match="CPUID: KVM serves it in the kernel") as refused:
        made.vm.on_exit(ExitReason.CPUID, print)
    assert refused.value.errno == errno.EOPNOTSUPP
