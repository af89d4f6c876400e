"""A machine on /dev/kvm in the test's process. Where it can't be used, tests are skipped with the reason."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.engine.long_mode import LongModeMachine
from tests.unit.engine.machine import address_of
from tests.unit.engine.real_mode import RealModeMachine
from workers.kvm.vcpu import Vcpu


class KvmLongMode(LongModeMachine):
    """A LongModeMachine whose vCPU is KVM's."""

    def another_engine(self) -> Any:
        return Vcpu(address_of(self.vm_block), address_of(self.ram_block), 0, self.doorbell)


class KvmRealMode(RealModeMachine):
    """A RealModeMachine whose vCPU is KVM's."""

    def another_engine(self) -> Any:
        return Vcpu(address_of(self.vm_block), address_of(self.ram_block), 0, self.doorbell)


@pytest.fixture
def machine(host_kvm: None) -> Iterator[LongModeMachine]:
    one = KvmLongMode()
    yield one
    one.close()


@pytest.fixture
def real_mode(host_kvm: None) -> Iterator[RealModeMachine]:
    one = KvmRealMode()
    yield one
    one.close()
