"""The `unicorn` accelerator: QEMU's TCG from the unicorn wheel, completed by workers/engine."""

import importlib.util
from typing import ClassVar

from mpvm.abi.errors import StartError
from mpvm.accel.base import ACCELERATORS, Accelerator


@ACCELERATORS.register("unicorn")
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
