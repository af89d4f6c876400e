"""An accelerator that can do everything and changes nothing: models are what the table says under it."""

from typing import ClassVar

from mpvm.accel.unicorn import UnicornAccelerator
from mpvm.cpu.features import FEATURES


class Capable(UnicornAccelerator):
    """For tests of the table."""

    name = "capable"
    phys_bits: ClassVar[int | None] = None
    default_features: ClassVar[dict[str, bool]] = {}

    def supported_features(self) -> frozenset[str]:
        """All."""
        return frozenset(FEATURES)


CAPABLE = Capable()
