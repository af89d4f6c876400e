"""RAM that a guest makes use of becomes huge pages of the host's shared memory."""

import mmap
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.engine.long_mode import LongModeMachine
from tests.unit.engine.machine import RAM_BYTES
from workers import shm

HUGE_PAGE = 2 << 20
ENOUGH, TOO_FEW = 32, 31
BLOCK = 4 << 20


class Shared:
    """A machine whose RAM is mapped as a worker maps it."""

    def __init__(self, name: str) -> None:
        path = Path("/dev/shm", name)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.ftruncate(fd, RAM_BYTES)
            block = mmap.mmap(fd, RAM_BYTES)
            self.address = shm.attach_ram(name)
        finally:
            os.close(fd)
            path.unlink()
        self.machine = LongModeMachine(ram_block=block, ram_address=self.address)

    def huge_bytes(self) -> int:
        """How much of the engine's mapping is huge pages (proc_pid_smaps(5))."""
        smaps = Path("/proc/self/smaps").read_text()
        (mapping,) = (part for part in re.split(r"(?m)^(?=[0-9a-f]+-)", smaps) if self._is_ours(part))
        found = re.search(r"ShmemPmdMapped:\s+(\d+) kB", mapping)
        assert found is not None
        return int(found[1]) << 10

    def _is_ours(self, part: str) -> bool:
        return part.startswith(f"{self.address:x}-")

    def touch(self, pages: int, times: int = 1) -> None:
        """Have the guest write to the first pages of BLOCK; each time its TLB knows none of them."""
        self.machine.boot(
            f"""
            movl ${times}, %edx
        2:  movl ${BLOCK:#x}, %edi
            movl ${pages}, %ecx
        1:  incl (%rdi)
            addl $0x1000, %edi
            loop 1b
            movq %cr3, %rax
            movq %rax, %cr3
            decl %edx
            jnz 2b
            done
            """
        )
        self.machine.finish()


@pytest.fixture
def shared() -> Iterator[Shared]:
    found = Shared(f"mpvm-test-{secrets.token_hex(8)}")
    yield found
    found.machine.close()


def test_ram_is_mapped_where_huge_pages_can_be(shared: Shared) -> None:
    assert shared.address % HUGE_PAGE == 0


def test_a_block_that_is_made_use_of_becomes_a_huge_page_and_keeps_what_it_holds(shared: Shared) -> None:
    shared.machine.store(BLOCK + 0x123000, 0x11223344, 4)
    shared.touch(ENOUGH)
    assert shared.huge_bytes() >= HUGE_PAGE
    assert [shared.machine.load(BLOCK + page * 0x1000, 4) for page in (0, ENOUGH - 1, ENOUGH)] == [1, 1, 0]
    assert shared.machine.load(BLOCK + 0x123000, 4) == 0x11223344


def test_a_block_of_which_little_is_used_stays_as_it_is_however_often(shared: Shared) -> None:
    shared.touch(TOO_FEW, times=3)
    assert shared.huge_bytes() == 0
    assert shared.machine.load(BLOCK, 4) == 3
