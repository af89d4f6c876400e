"""A vCPU whose guest code runs outside the engine (workers/engine/apic_vcpu.c)."""

import ctypes

from tests.unit.engine.real_mode import RealModeMachine
from workers.kvm import library


def test_one_that_goes_is_runnable_no_more(real_mode: RealModeMachine) -> None:
    core = library.load()
    why = ctypes.c_char_p()
    apic = core.apic_create(ctypes.addressof(real_mode.vm), 1, real_mode.doorbell, ctypes.byref(why))
    core.apic_enter(apic)
    assert real_mode.vm.runnable & 2
    core.apic_leave(apic)
    core.apic_destroy(apic)
    assert not real_mode.vm.runnable & 2
