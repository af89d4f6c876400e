"""The `unicorn` accelerator: QEMU's TCG from the unicorn wheel, completed by workers/engine."""

import importlib.util
from typing import ClassVar

from mpvm.abi.errors import StartError
from mpvm.accel.base import Accelerator
from mpvm.qom.type_info import register_type


@register_type("unicorn-accel", description="the unicorn wheel's TCG, made whole by the engine core")
class UnicornAccelerator(Accelerator):
    """Runs anywhere; the worker's self-test checks the wheel's version."""

    name: ClassVar[str] = "unicorn"
    worker_module: ClassVar[str] = "workers.vcpu"

    def check(self) -> None:
        """The package must be there; it is imported by the workers only."""
        if importlib.util.find_spec("unicorn") is None:
            raise StartError(
                "accelerator unicorn: the package unicorn is not installed, `pip install mpvm` brings it"
            )
