"""The engine core's exports for a vCPU that runs without the engine (workers/engine/apic_vcpu.c)."""

import ctypes
from typing import Any, Final

from mpvm.abi.core import open_core

_HANDLE: Final = ctypes.c_void_p
_u32, _u64, _int, _bool = ctypes.c_uint32, ctypes.c_uint64, ctypes.c_int, ctypes.c_bool
_VALUE: Final = ctypes.POINTER(_u64)

# Result and arguments after the handle.
_PROTOTYPES: Final[dict[str, tuple[Any, ...]]] = {
    "apic_destroy": (None,),
    "apic_set_immediate_exit": (None, ctypes.c_void_p),
    "apic_reset": (None, _bool),
    "apic_leave_firmware": (None,),
    "apic_init_done": (None,),
    "apic_enter": (None,),
    "apic_leave": (None,),
    "apic_dirty": (None, _u32),
    "apic_attend": (_bool,),
    "apic_wait": (None, _bool, _bool),
    "apic_take_startup": (_u32,),
    "apic_pending": (_int,),
    "apic_extint_pending": (_bool,),
    "apic_accept": (None, _int),
    "apic_give_back": (None, _int),
    "apic_tpr": (_u32,),
    "apic_set_tpr": (None, _u32),
    "apic_mmio_read": (_bool, _u64, _VALUE),
    "apic_mmio_write": (_bool, _u64, _u32, _u64),
    "apic_owed_eoi": (_int,),
    "apic_msr_read": (_int, _u32, _VALUE),
    "apic_msr_write": (_int, _u32, _u64),
    "apic_tsc_adjust": (_u64,),
    "apic_set_tsc_adjust": (None, _u64),
    "apic_port_read": (_bool, _u32, _u32, _VALUE),
    "apic_port_write": (_bool, _u32, _u32, _u64),
}


def load() -> ctypes.CDLL:
    """The core, with the prototypes of these exports; raises `StartError` with what to do."""
    core = open_core()
    for name, (result, *arguments) in _PROTOTYPES.items():
        function = getattr(core, name)
        function.restype = result
        function.argtypes = [_HANDLE, *arguments]
    core.engine_kick.restype = None
    core.engine_kick.argtypes = [_HANDLE]
    core.apic_create.restype = _HANDLE
    core.apic_create.argtypes = [_HANDLE, _u32, _int, ctypes.POINTER(ctypes.c_char_p)]
    return core
