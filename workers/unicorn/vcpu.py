"""A vCPU on the engine: what `workers.vcpu` drives."""

import ctypes

from mpvm.abi import entry_checks
from mpvm.abi.control_block import ControlBlock
from mpvm.abi.entry_checks import EntryCheck
from mpvm.abi.errors import StartError
from mpvm.abi.exits import ExitReason
from mpvm.abi.layout import VCPU_OFFSET, VCPU_STRIDE, VcpuArea
from workers.symbols import Symbols
from workers.unicorn import library
from workers.unicorn.unsupported import unsupported

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
        area = vm_address + VCPU_OFFSET + index * VCPU_STRIDE
        self._control = ControlBlock.from_address(area + VcpuArea.control.offset)
        self._failed_check = EntryCheck.NONE

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
        _core.engine_reset(self._handle, load_state and self._admits())

    def leave_firmware(self) -> None:
        """See `Accelerator`."""
        _core.engine_leave_firmware(self._handle)

    def run(self) -> int:
        """Run the guest until the next exit; its `ExitReason`."""
        if self._failed_check:
            exit_information = self._control.exit
            exit_information.reason = ExitReason.FAIL_ENTRY
            exit_information.failed_check = self._failed_check
            return ExitReason.FAIL_ENTRY
        return int(_core.engine_run(self._handle))

    def kick(self) -> None:
        """From another thread: make `run` look at the requests and the inbox."""
        _core.engine_kick(self._handle)

    def save_state(self) -> None:
        """Write all architectural registers to the control block."""
        _core.engine_save_state(self._handle)

    def load_state(self) -> None:
        """Take over all architectural registers from the control block; a bad one makes `run` fail."""
        if self._admits():
            _core.engine_load_state(self._handle)

    def apply_controls(self) -> None:
        """Take over the execution, exit and entry controls of the control block; bad ones make `run` fail."""
        if self._admits():
            _core.engine_apply_controls(self._handle)

    def _admits(self) -> bool:
        """Whether an entry with this control block would succeed."""
        self._failed_check = entry_checks.failed_check(self._control)
        if not self._failed_check and unsupported(self._control) is not None:
            self._failed_check = EntryCheck.UNSUPPORTED
        return not self._failed_check

    def error(self) -> str:
        """What an INTERNAL_ERROR or FAIL_ENTRY exit was about."""
        if self._failed_check == EntryCheck.UNSUPPORTED:
            return unsupported(self._control) or entry_checks.describe(self._failed_check)
        if self._control.exit.reason == ExitReason.FAIL_ENTRY:
            return entry_checks.describe(self._control.exit.failed_check)
        return bytes(_core.engine_error(self._handle)).decode()

    def close(self) -> None:
        """Free the engine."""
        _core.engine_destroy(self._handle)
        self._handle = None
