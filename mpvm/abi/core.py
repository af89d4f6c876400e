"""The engine core, which both sides open: workers to run an engine, the coordinator for devices' stores."""

import ctypes
import os
from pathlib import Path
from typing import Final

from mpvm.abi.errors import StartError

_CORE: Final = Path(__file__).parents[2] / "workers" / "engine" / "libmpvm-engine.so"


def open_core(mode: int = ctypes.DEFAULT_MODE) -> ctypes.CDLL:
    """The library, by its path, as dlopen(3) opens it with `mode`; raises `StartError` with what to do.

    `$MPVM_ENGINE` names another build of it, for tests.
    """
    try:
        return ctypes.CDLL(os.environ.get("MPVM_ENGINE") or str(_CORE), mode=mode)
    except OSError as error:
        raise StartError(f"the engine core is not built ({error}): pip install -e .") from error
