"""Loads the engine core, and the wheel's library behind it.

The core replaces functions of `libunicorn` by coming earlier in the dynamic linker's search order
(RTLD_GLOBAL, before the wheel's library is opened). The `unicorn` Python package is never imported:
its bindings would load the library first, and cost 35 ms.
"""

import ctypes
import importlib.util
from pathlib import Path

from mpvm.abi.core import open_core
from mpvm.abi.errors import EngineVersionError


def _wheel_library() -> Path:
    spec = importlib.util.find_spec("unicorn")
    if spec is None or not spec.submodule_search_locations:
        raise EngineVersionError("the package unicorn is not installed: pip install unicorn==2.1.4")
    library = Path(spec.submodule_search_locations[0]) / "lib" / "libunicorn.so.2"
    if not library.is_file():
        raise EngineVersionError(f"{library} is missing: pip install unicorn==2.1.4 from its PyPI wheel")
    return library


def load() -> ctypes.CDLL:
    """The engine core, with the prototypes of its exports; raises `StartError` with what to do."""
    core = open_core(ctypes.RTLD_GLOBAL)
    handle = ctypes.c_void_p
    core.engine_load.argtypes = [ctypes.c_char_p]
    core.engine_load.restype = ctypes.c_char_p
    core.engine_create.argtypes = [
        handle,
        handle,
        ctypes.c_uint32,
        ctypes.c_int,
        ctypes.POINTER(ctypes.c_char_p),
    ]
    core.engine_create.restype = handle
    core.engine_destroy.argtypes = [handle]
    core.engine_destroy.restype = None
    core.engine_reset.argtypes = [handle, ctypes.c_bool]
    core.engine_reset.restype = None
    core.engine_leave_firmware.argtypes = [handle]
    core.engine_leave_firmware.restype = None
    core.engine_run.argtypes = [handle]
    core.engine_run.restype = ctypes.c_uint32
    core.engine_error.argtypes = [handle]
    core.engine_error.restype = ctypes.c_char_p
    core.engine_log.argtypes = [handle, ctypes.c_int, ctypes.c_uint32]
    core.engine_log.restype = None
    core.engine_perf_map.argtypes = [
        handle,
        ctypes.c_int,
        ctypes.POINTER(ctypes.c_uint64),
        ctypes.POINTER(ctypes.c_char_p),
        ctypes.c_size_t,
    ]
    core.engine_perf_map.restype = ctypes.c_char_p
    core.engine_kick.argtypes = [handle]
    core.engine_kick.restype = None
    core.engine_save_state.argtypes = [handle]
    core.engine_save_state.restype = None
    core.engine_load_state.argtypes = [handle]
    core.engine_load_state.restype = None
    core.engine_apply_controls.argtypes = [handle]
    core.engine_apply_controls.restype = None
    wrong = core.engine_load(str(_wheel_library()).encode())
    if wrong is not None:
        raise EngineVersionError(wrong.decode())
    return core
