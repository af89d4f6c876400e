"""VMs of `mpvm.kvm` for tests, on every accelerator and in both forms."""

import contextlib
import functools
from collections.abc import Iterator
from typing import Any, Final

import pytest

from mpvm import kvm
from mpvm.kvm import structs

PAGE: Final = 0x1000
CODE: Final = 0x1000
#: id: arguments of `kvm.open`
FORMS: Final[dict[str, dict[str, Any]]] = {
    "unicorn": {"accel": "unicorn"},
    "processes": {"accel": "unicorn", "processes": True},
    "kvm": {"accel": "kvm"},
}


@functools.cache
def why_not(form: str) -> str | None:
    """Why this host has no such VMs; None: it has."""
    if form != "kvm":
        return None
    try:
        with kvm.open("kvm") as system, system.create_vm():
            return None
    except OSError as error:
        return f"/dev/kvm: {error.strerror}"


def forms(*names: str) -> pytest.MarkDecorator:
    """Runs a test on these forms, all if none is named; what this host lacks is skipped with the reason."""
    marks = [
        pytest.param(name, marks=pytest.mark.skipif(bool(why_not(name)), reason=str(why_not(name))), id=name)
        for name in names or FORMS
    ]
    return pytest.mark.parametrize("form", marks)


class Guest:
    """A VM with a slot of memory at 0 and one vCPU in real mode at `CODE`, CS, DS, ES and SS 0."""

    def __init__(self, form: str, code: str = "f4", *, irqchip: bool = False) -> None:
        self.system = kvm.open(**FORMS[form])
        self.vm = self.system.create_vm()
        if irqchip:
            self.vm.create_irqchip()
        self.size = 16 * PAGE
        self.memory = self.vm.allocate_memory(self.size)
        self.memory.write(CODE, bytes.fromhex(code))
        self.vm.set_user_memory_region(0, 0, 0, self.size, self.memory.address)
        self.vcpus: list[Any] = []
        self.vcpu = self.add_vcpu(0)

    def add_vcpu(self, number: int, rip: int = CODE) -> Any:
        """One more vCPU."""
        vcpu = self.vm.create_vcpu(number)
        self.vcpus.append(vcpu)
        sregs = vcpu.get_sregs()
        sregs.cs.base = sregs.cs.selector = 0
        vcpu.set_sregs(sregs)
        vcpu.set_regs(structs.Regs(rip=rip, rsp=0x8000, rflags=2))
        return vcpu

    def close(self) -> None:
        """Close all handles."""
        for handle in (*self.vcpus, self.vm, self.system):
            handle.close()


@contextlib.contextmanager
def guest(form: str, code: str = "f4", *, irqchip: bool = False) -> Iterator[Guest]:
    """A `Guest`, closed at the end."""
    made = Guest(form, code, irqchip=irqchip)
    try:
        yield made
    finally:
        made.close()
