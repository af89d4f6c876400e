"""The VM block of a VM whose vCPUs are threads of this process."""

from mpvm.abi.layout import MAX_VCPUS
from mpvm.kvm.blocks import private_blocks


def test_every_vcpu_that_can_be_made_gets_interrupts_and_is_waited_for() -> None:
    blocks = private_blocks()
    assert blocks.page.present == (1 << MAX_VCPUS) - 1
    blocks.close()
