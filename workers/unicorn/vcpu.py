"""A vCPU on the engine: what `workers.vcpu` drives."""

import ctypes

from mpvm.abi.errors import StartError
from workers.symbols import Symbols
from workers.unicorn import library

#: The library is opened once, at import, so that a fork server hands it to all workers. No engine is
#: made here: an engine must never be made before a fork.
_core = library.load()

VERSION = "unicorn 2.1.4"


class Vcpu:
    """One engine over the VM block and the RAM block, both as addresses in this process."""

    def __init__(self, vm_address: int, ram_address: int, index: int, doorbell: int) -> None:
        why = ctypes.c_char_p()
        self._handle = _core.engine_create(vm_address, ram_address, index, doorbell, ctypes.byref(why))
        if not self._handle:
            raise StartError(f"vCPU {index}: {(why.value or b'no reason given').decode()}")

    def log(self, fd: int, mask: int) -> None:
        """Log the categories in `mask` (`mpvm.abi.log.LogItem`) to `fd` from now on."""
        _core.engine_log(self._handle, fd, mask)

    def write_perf_map(self, fd: int, symbols: Symbols) -> None:
        """Name every block that is translated from now on, in the file `fd`, which is the engine's then."""
        count = len(symbols.addresses)
        addresses = (ctypes.c_uint64 * count)(*symbols.addresses)
        functions = [None if name is None else ctypes.c_char_p(name.encode()) for name in symbols.functions]
        names = (ctypes.c_char_p * count)(*functions)
        why = _core.engine_perf_map(self._handle, fd, addresses, names, count)
        if why is not None:
            raise StartError(f"the perf map: {why.decode()}")
        # The engine looks them up for as long as it translates.
        self._symbols = (addresses, names)

    def reset(self, *, load_state: bool) -> None:
        """Power-on reset; the boot processor then takes over the control block's guest state if asked."""
        _core.engine_reset(self._handle, load_state)

    def run(self) -> int:
        """Run the guest until the next exit; its `ExitReason`."""
        return int(_core.engine_run(self._handle))

    def kick(self) -> None:
        """From another thread: make `run` look at the requests and the inbox."""
        _core.engine_kick(self._handle)

    def save_state(self) -> None:
        """Write all architectural registers to the control block."""
        _core.engine_save_state(self._handle)

    def load_state(self) -> None:
        """Take over all architectural registers from the control block."""
        _core.engine_load_state(self._handle)

    def error(self) -> str:
        """What an INTERNAL_ERROR exit was about."""
        return bytes(_core.engine_error(self._handle)).decode()

    def close(self) -> None:
        """Free the engine."""
        _core.engine_destroy(self._handle)
        self._handle = None
