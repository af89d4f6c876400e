"""What is proved before any guest runs: the engine's version, our ABI, and that both fit together."""

import ctypes
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mpvm.abi import cheader, control_block, layout
from mpvm.abi.errors import StartError
from tests.unit.engine.machine import Machine

ROOT = Path(__file__).parents[3]
CORE = ROOT / "workers" / "engine" / "libmpvm-engine.so"
SOURCES = CORE.parent
LOAD = """
import ctypes, sys
core = ctypes.CDLL(sys.argv[1], mode=ctypes.RTLD_GLOBAL)
core.engine_load.restype = ctypes.c_char_p
print((core.engine_load(sys.argv[2].encode()) or b"loaded").decode())
"""


def load(library: Path) -> str:
    """What engine_load() says of `library`, in a process of its own: the core keeps what it has loaded."""
    return subprocess.run(
        [sys.executable, "-c", LOAD, str(CORE), str(library)], check=True, capture_output=True, text=True
    ).stdout.strip()


def compile_library(folder: Path, source: str) -> Path:
    library = folder / "libunicorn.so.2"
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(library)], input=source, check=True, text=True
    )
    return library


@pytest.mark.parametrize("version", ["2.1.3", "2.0.4", "1.1.4"])
def test_another_version_of_the_engine_is_refused_with_both_versions(tmp_path: Path, version: str) -> None:
    major, minor, patch = version.split(".")
    number = f"{major} << 24 | {minor} << 16 | {patch} << 8 | 0xff"
    library = compile_library(
        tmp_path, f"unsigned uc_version(unsigned *major, unsigned *minor) {{ return {number}; }}"
    )
    message = load(library)
    assert version in message
    assert "2.1.4" in message
    assert "\n" not in message


def test_a_library_that_lacks_a_function_is_refused_with_its_name(tmp_path: Path) -> None:
    number = "2 << 24 | 1 << 16 | 4 << 8 | 0xff"
    library = compile_library(
        tmp_path, f"unsigned uc_version(unsigned *major, unsigned *minor) {{ return {number}; }}"
    )
    message = load(library)
    assert re.search(r"no function \w+", message)
    assert "2.1.4" in message


def test_a_library_that_is_no_engine_is_refused(tmp_path: Path) -> None:
    assert load(compile_library(tmp_path, "int nothing;")) != "loaded"


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert str(tmp_path / "absent.so") in load(tmp_path / "absent.so")


class OtherAbi(Machine):
    """A VM block of the next ABI version."""

    def _describe_vm(self, a20_mask: int) -> None:
        super()._describe_vm(a20_mask)
        self.vm.version = layout.ABI_VERSION + 1


def test_a_vm_block_of_another_abi_is_refused() -> None:
    with pytest.raises(StartError, match="ABI"):
        OtherAbi()


class TooMuchRam(Machine):
    """A memory slot that is larger than the RAM block."""

    def _describe_vm(self, a20_mask: int) -> None:
        super()._describe_vm(a20_mask)
        self.vm.slot[1].size *= 2


def test_a_memory_slot_beyond_the_ram_block_is_refused() -> None:
    with pytest.raises(StartError, match="RAM"):
        TooMuchRam()


def test_engines_can_be_made_one_after_another() -> None:
    for _ in range(5):
        machine = Machine()
        machine.engine.reset(load_state=False)
        machine.close()


# --- The C header -------------------------------------------------------------------------------------


def test_the_header_compiles_without_a_warning(tmp_path: Path) -> None:
    header = tmp_path / "abi.h"
    header.write_text(cheader.generate())
    done = subprocess.run(
        [
            "gcc",
            "-std=c11",
            "-Wall",
            "-Wextra",
            "-Wpedantic",
            "-Werror",
            "-fsyntax-only",
            "-x",
            "c",
            str(header),
        ],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_the_compiler_agrees_with_ctypes_on_every_size(tmp_path: Path) -> None:
    (tmp_path / "abi.h").write_text(cheader.generate())
    structs = ["vm_page", "vcpu_area", "guest_state", "mailbox", "interrupt_inbox"]
    lines = "".join(f'printf("%zu\\n", sizeof(struct mpvm_{name}));' for name in structs)
    program = tmp_path / "sizes"
    source = f'#include <stdio.h>\n#include "abi.h"\nint main(void) {{ {lines} return 0; }}'
    subprocess.run(
        ["gcc", f"-I{tmp_path}", "-x", "c", "-", "-o", str(program)], input=source, check=True, text=True
    )
    sizes = subprocess.run([program], check=True, capture_output=True, text=True).stdout.split()
    kinds: list[type[ctypes.Structure]] = [
        layout.VmPage,
        layout.VcpuArea,
        control_block.GuestState,
        layout.Mailbox,
        layout.InterruptInbox,
    ]
    assert [int(size) for size in sizes] == [ctypes.sizeof(kind) for kind in kinds]


def test_a_layout_that_has_moved_does_not_compile(tmp_path: Path) -> None:
    header = tmp_path / "abi.h"
    text = cheader.generate()
    moved = text.replace("uint64_t rip;", "uint64_t other; uint64_t rip;")
    assert moved != text
    header.write_text(moved)
    done = subprocess.run(
        ["gcc", "-std=c11", "-fsyntax-only", "-x", "c", str(header)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "GuestState.rip" in done.stderr


def test_the_header_that_the_core_was_built_with_is_in_step() -> None:
    assert (SOURCES / "abi.h").read_text() == cheader.generate()
