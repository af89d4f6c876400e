"""Cases on the host's own CPU, in a process that this one traces."""

import ctypes
import mmap
import os
import signal
import struct
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.fuzz import layout, runner

_PTRACE_CONT, _PTRACE_GETREGS, _PTRACE_SETOPTIONS = 7, 12, 0x4200
_PTRACE_O_EXITKILL: Final = 1 << 20
_RIP_IN_USER_REGS: Final = 16
_ALL_THREADS: Final = 0x40000000


def _elf() -> bytes:
    """The runner as an executable: one segment, all of it writable (System V ABI, chapters 4 and 5)."""
    headers = 64 + 56
    code = runner.PROGRAM.code
    entry = runner.PROGRAM.labels["host_start"]
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = struct.pack("<16sHHIQQQIHHHHHH", ident, 2, 62, 1, entry, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    memory = runner.SIGNAL_STACK + runner.SIGNAL_STACK_BYTES - layout.RUNNER
    segment = struct.pack(
        "<IIQQQQQQ", 1, 7, layout.PAGE, layout.RUNNER, layout.RUNNER, len(code), memory, layout.PAGE
    )
    return (header + segment).ljust(layout.PAGE, b"\0") + code if headers <= layout.PAGE else b""


class Host:
    """The traced process. Each batch is one stop of it, and another for each exception that a case raises."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._libc.ptrace.restype = ctypes.c_long
        self._libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
        fd = os.memfd_create("mpvm-fuzz")
        try:
            os.ftruncate(fd, layout.REGIONS_BYTES + layout.PAGE)
            self._memory = mmap.mmap(fd, layout.REGIONS_BYTES)
            with tempfile.TemporaryDirectory(prefix="mpvm-fuzz-") as folder:
                program = Path(folder, "runner")
                program.write_bytes(_elf())
                program.chmod(0o700)
                self._process = subprocess.Popen([program], stdin=fd)
        finally:
            os.close(fd)
        offsets, at = {}, 0
        for region in layout.REGIONS:
            offsets[region.name] = at
            at += region.size
        self._offsets = offsets
        self._put("constants", layout.CONSTANT_BYTES)
        self._wait_for_stop()
        # Else it would go on without us, and never end, should we be killed.
        self._libc.ptrace(_PTRACE_SETOPTIONS, self._process.pid, None, _PTRACE_O_EXITKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._memory.close()

    def run(self, code: bytes, records: bytes) -> tuple[bytes, bytes]:
        """Run the cases of `records`, with their code in the slots; their results, and what DATA is then."""
        count = len(records) // layout.RECORD_BYTES
        self._put("code", code)
        self._put("records", records)
        self._put("data", bytes(layout.DATA_BYTES))
        self._poke(runner.PROGRAM.labels["count"], count)
        self._continue(0)
        self._wait_for_stop()
        return self._get("results", len(records)), self._get("data", layout.DATA_BYTES)

    def _put(self, region: str, data: bytes) -> None:
        at = self._offsets[region]
        self._memory[at : at + len(data)] = data

    def _get(self, region: str, size: int) -> bytes:
        at = self._offsets[region]
        return self._memory[at : at + size]

    def _poke(self, address: int, value: int) -> None:
        with Path(f"/proc/{self._process.pid}/mem").open("r+b", buffering=0) as memory:
            memory.seek(address)
            memory.write(value.to_bytes(8, "little"))

    def _continue(self, signal_number: int) -> None:
        if self._libc.ptrace(_PTRACE_CONT, self._process.pid, None, signal_number) != 0:
            raise OSError(ctypes.get_errno(), "ptrace")

    def _wait_for_stop(self) -> None:
        while True:
            _pid, status = os.waitpid(self._process.pid, _ALL_THREADS)
            if not os.WIFSTOPPED(status):
                self._process.returncode = os.waitstatus_to_exitcode(status)
                raise RuntimeError(f"the host's process ended with {self._process.returncode}")
            if os.WSTOPSIG(status) == signal.SIGSTOP:
                return
            self._continue(os.WSTOPSIG(status))
