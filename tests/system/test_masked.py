"""No feature that QEMU's TCG has is left out of CPUID without a reason that people can read."""

from tests.system import masked


def test_every_feature_that_qemu_alone_has_is_listed_with_a_reason() -> None:
    assert masked.masked() == masked.MASKED.keys()
