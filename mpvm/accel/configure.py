"""Which accelerator a machine gets: QEMU's configure_accelerators."""

import sys

from mpvm.abi.errors import StartError
from mpvm.accel import Accelerator, accelerator


def configure_accelerators(names: str) -> Accelerator:
    """The first of `names`, which colons part, that this host can run; `StartError` when none can.

    Each that can't is told in one line on stderr, as long as there is another to try.
    """
    tried = names.split(":")
    for name in tried:
        found = accelerator(name)
        try:
            found.check()
        except StartError as error:
            if name == tried[-1]:
                raise
            print(f"mpvm: failed to initialize {name}: {error}", file=sys.stderr)
        else:
            if name != tried[0]:
                print(f"mpvm: falling back to {name}", file=sys.stderr)
            return found
    raise AssertionError("a list of accelerators is never empty")
