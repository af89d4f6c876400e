"""What is started to measure rows: a run is one start of a machine, which gives the values of many rows."""

import functools
import json
import subprocess
import tempfile
import time
from abc import abstractmethod
from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks.contenders import CONTENDERS, ISA_DEBUG_EXIT, MPVM, Guest, mpvm_command
from benchmarks.machine import REPOSITORY, Machine, MachineError
from benchmarks.results import check_clock, parse
from mpvm.guests.build import build_all
from tests.system import debian, reference, tiny
from tests.system.initramfs import initramfs
from tests.system.linux import FIRST_LINE

_LIMIT = 300.0
_NANO = 1_000_000_000
_GUESTS = REPOSITORY / "benchmarks" / "guests"


@dataclass(frozen=True)
class Effort:
    """How long is measured: a `share` of a full run; `kernel` is a flavour of tests.system.debian.

    A guest's clock is held against the host's unless nobody looks at the figures.
    """

    share: float = 1.0
    kernel: str = "cloud"
    clock_checked: bool = True


class Run(Protocol):
    """One start of a machine. Equal runs are the same: rows that name equal ones share a start."""

    @property
    def smp(self) -> int:
        """How many vCPUs."""

    @abstractmethod
    def measure(self, contender: str, wanted: Set[str], effort: Effort) -> dict[str, float]:
        """The values `wanted`, by name. MachineError when the machine does not get there."""


@dataclass(frozen=True)
class Linux:
    """Debian's kernel and the tests' initramfs: `init` seconds to the first line of /init.

    `resident` bytes at that moment; then rows of the program `bench` (tests/system/programs/bench).
    """

    smp: int
    memory: str = "512M"

    _ROW_MILLISECONDS = 400
    _OUTSIDE = frozenset({"init", "resident"})

    def measure(self, contender: str, wanted: Set[str], effort: Effort) -> dict[str, float]:
        """See `Run`."""
        with Machine(self.command(contender, wanted, effort), _LIMIT) as machine:
            values = {"init": machine.wait_for(FIRST_LINE.encode())}
            if "resident" in wanted:
                values["resident"] = machine.resident_bytes()
            if wanted - self._OUTSIDE:
                machine.wait_for(f"run: {self._job(wanted, effort)} status 0".encode())
                values |= parse(machine.lines())
                if effort.clock_checked:
                    check_clock(machine.lines())
        return values

    def command(
        self, contender: str, wanted: Set[str], effort: Effort, options: Sequence[str] = (), words: str = ""
    ) -> list[str]:
        """What is started for `wanted`: with more `options`, and `words` on the kernel's command line."""
        work = f"run={self._job(wanted, effort)}" if wanted - self._OUTSIDE else "job=none"
        append = " ".join(["console=ttyS0", *words.split(), f"mpvm.{work}"])
        kernel = debian.kernel(effort.kernel)
        guest = Guest(kernel, self.smp, self.memory, initramfs("bench"), append)
        return CONTENDERS[contender](guest, *options)

    def _job(self, wanted: Set[str], effort: Effort) -> str:
        milliseconds = max(1, round(self._ROW_MILLISECONDS * effort.share))
        return ",".join(["bench", str(milliseconds), *sorted(wanted - self._OUTSIDE)])


@dataclass(frozen=True)
class OwnGuest:
    """A guest of benchmarks/guests: no system between the machine and what is measured.

    `options` are numbers of its command line for a full run.
    """

    name: str
    smp: int
    options: tuple[tuple[str, int], ...] = ()

    def measure(self, contender: str, wanted: Set[str], effort: Effort) -> dict[str, float]:
        """See `Run`."""
        with Machine(self.command(contender, effort), _LIMIT) as machine:
            machine.wait_for_end()
            return parse(machine.lines())

    def image(self) -> Path:
        """The guest, built."""
        return _images()[self.name]

    def command(self, contender: str, effort: Effort, options: Sequence[str] = ()) -> list[str]:
        """What is started, with more `options`."""
        append = " ".join(f"{name}={max(1, round(count * effort.share))}" for name, count in self.options)
        guest = Guest(self.image(), self.smp, "128M", append=append)
        return CONTENDERS[contender](guest, *ISA_DEBUG_EXIT[contender], *options)


@dataclass(frozen=True)
class Start:
    """A guest of some fifty bytes that writes one: `first-byte` is seconds until it is out.

    On QEMU its firmware runs before the guest; mpvm has none to run.
    """

    smp: int

    def measure(self, contender: str, wanted: Set[str], effort: Effort) -> dict[str, float]:
        """See `Run`."""
        kernel = _file("first-byte.elf", tiny.image(tiny.HALT))
        with Machine(CONTENDERS[contender](Guest(kernel, self.smp, "128M")), _LIMIT) as machine:
            return {"first-byte": machine.wait_for(tiny.GREETING)}


@dataclass(frozen=True)
class FirstInstruction:
    """`first-instruction`: seconds until a vCPU first enters the guest.

    On mpvm its worker notes the time on the clock that is read here, too (CLOCK_MONOTONIC), and the summary
    tells it. QEMU runs a firmware that does nothing but write a byte, and the time is that byte's.
    """

    smp: int

    _MEMORY = "128M"
    _FIRMWARE_BYTES = 0x10000
    _RESET_VECTOR = 0xFFF0
    # mov dx, 0x3f8; mov al, '!'; out dx, al; again: hlt; jmp again
    _GREET = b"\xba\xf8\x03\xb0" + tiny.GREETING + b"\xee\xf4\xeb\xfd"

    def measure(self, contender: str, wanted: Set[str], effort: Effort) -> dict[str, float]:
        """See `Run`."""
        measured = self._noted_by_mpvm if contender == MPVM else self._first_byte_of_firmware
        return {"first-instruction": measured()}

    def _noted_by_mpvm(self) -> float:
        kernel = _file("first-instruction.elf", tiny.image(tiny.debug_exit(0)))
        with tempfile.TemporaryDirectory() as folder:
            summary = Path(folder) / "summary.json"
            options = (*ISA_DEBUG_EXIT[MPVM], f"--json={summary}", "--timeout", str(_LIMIT))
            command = mpvm_command(Guest(kernel, self.smp, self._MEMORY), *options)
            started = time.monotonic_ns()
            done = subprocess.run(
                command, cwd=REPOSITORY, stdin=subprocess.DEVNULL, capture_output=True, check=False
            )
            if done.returncode != 1:
                raise MachineError(
                    f"status {done.returncode}, not 1, from: {' '.join(command)}\n{done.stderr.decode()}"
                )
            first = json.loads(summary.read_text())["summary"][0]["first_entry_ns"]
        return (int(first) - started) / _NANO

    def _first_byte_of_firmware(self) -> float:
        after = self._GREET.ljust(self._FIRMWARE_BYTES - self._RESET_VECTOR, b"\0")
        firmware = _file("first-instruction.bin", bytes(self._RESET_VECTOR) + after)
        command = [*reference.machine(self.smp, self._MEMORY), "-bios", str(firmware)]
        with Machine(command, _LIMIT) as machine:
            return machine.wait_for(tiny.GREETING)


@functools.cache
def _images() -> dict[str, Path]:
    folder = _folder()
    with debian.locked(folder):
        return {image.stem: image for image in build_all(_GUESTS, folder)}


def _file(name: str, content: bytes) -> Path:
    """Always at the same place, as the guests are that a user starts again and again."""
    path = _folder() / name
    if not path.exists() or path.read_bytes() != content:
        path.write_bytes(content)
    return path


def _folder() -> Path:
    folder = debian.cache_folder() / "benchmarks"
    folder.mkdir(exist_ok=True)
    return folder
