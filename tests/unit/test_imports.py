"""What a start must not pay for: imports that are not needed yet."""

import subprocess
import sys

import pytest

HEAVY = {"pydantic", "pydantic_core", "rich", "yaml", "argparse", "hypothesis", "pytest"}


def _imported_by(statement: str) -> set[str]:
    script = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "module",
    ["mpvm.cli.main", "mpvm.config", "mpvm.coordinator.vm", "mpvm.coordinator.trampoline", "workers.vcpu"],
)
def test_no_schema_command_line_or_display_library_before_it_is_needed(module: str) -> None:
    assert _imported_by(f"import {module}") & HEAVY == set()


def test_a_vm_without_a_client_imports_no_server_of_qmp() -> None:
    imported = _imported_by("import mpvm.coordinator.vm")
    assert {name for name in imported if name.startswith("mpvm.tools")} | imported & {
        "asyncio",
        "qemu",
    } == set()


def test_a_machine_pays_only_for_the_chardevs_monitors_and_clocks_that_it_has() -> None:
    imported = _imported_by("import mpvm.coordinator.vm")
    chardevs = {
        f"mpvm.coordinator.chardev.{name}" for name in ("mux", "socket", "pipe", "pty", "log", "telnet")
    }
    others = {f"mpvm.coordinator.{name}" for name in ("daemon", "pidfile", "rtc_clock")}
    config = {"mpvm.config.chardev_options", "mpvm.config.dates"}
    assert imported & (chardevs | others | config) == set()
    assert not any(name.startswith("mpvm.tools") for name in imported)


def test_a_worker_imports_of_mpvm_only_its_abi_and_the_trampoline_that_starts_it() -> None:
    ours = {name for name in _imported_by("import workers.vcpu") if name.startswith("mpvm.")}
    assert {name for name in ours if not name.startswith("mpvm.abi")} == set()


def test_a_worker_does_without_libzmq() -> None:
    assert "zmq" not in _imported_by("import workers.vcpu")


def test_the_workers_are_asked_for_before_the_coordinator_imports_what_takes_long() -> None:
    long = {
        "zmq",
        "multiprocessing",
        "subprocess",
        "hashlib",
        "random",
        "pickle",
        "mpvm.machine",
        "mpvm.hw.bus",
    }
    assert _imported_by("import mpvm.coordinator.main") & long == set()


def test_the_coordinator_does_without_libzmq() -> None:
    assert "zmq" not in _imported_by("import mpvm.coordinator.vm, mpvm.coordinator.router, mpvm.machine")


def test_the_header_of_the_c_core_is_made_without_any_package_that_a_build_lacks() -> None:
    imported = _imported_by("import mpvm.abi.cheader")
    assert imported & {"msgpack", "zmq", "unicorn", *HEAVY} == set()


def test_the_entry_point_imports_nothing_heavy_of_the_standard_library() -> None:
    assert (
        _imported_by("import mpvm.cli.main") & {"asyncio", "subprocess", "inspect", "multiprocessing"}
        == set()
    )


def test_a_run_of_options_alone_loads_neither_the_schema_nor_a_cache_of_it() -> None:
    imported = _imported_by(
        "from mpvm.config import Override, load_config\n"
        "load_config(None, [Override('boot.kernel', 'builtin:smp', '--kernel')])"
    )
    assert imported & {*HEAVY, "mpvm.config.schema", "mpvm.config.cache"} == set()


def test_the_end_of_a_run_imports_nothing_that_makes_classes() -> None:
    assert _imported_by("import mpvm.coordinator.outcome") & {"dataclasses", "inspect"} == set()


def test_a_command_line_as_test_suites_have_it_is_checked_before_the_machines_devices_are_imported() -> None:
    words = (
        "-device pc-testdev -device isa-debug-exit,iobase=0xf4,iosize=0x4 -device pci-testdev -serial stdio"
    )
    script = (
        "from mpvm.cli.system import main\n"
        f"words = '{words} -nodefaults -kernel builtin:smp -initrd /dev/null'.split()\n"
        "line = main.CommandLine()\n"
        "for option, value in main.command_line.read(words, main.OPTIONS):\n"
        "    option.translate(line, option.name, value)\n"
        "line.finish()\n"
        "del line.values['boot.initrd']\n"
        "main._load(line)"
    )
    imported = _imported_by(script)
    assert imported & HEAVY == set()
    assert {name for name in imported if name.startswith(("mpvm.machine", "mpvm.hw"))} == set()


def test_a_pc_imports_nothing_of_another_board() -> None:
    imported = _imported_by("from mpvm.machine import machine_class\nmachine_class('pc')")
    board = {"mpvm.machine.pc_q35", "mpvm.hw.pci.q35", "mpvm.hw.pci.ich9"}
    tables = {"mpvm.hw.acpi.mcfg", "mpvm.hw.acpi.dmar"}
    devices = {"mpvm.hw.misc.edu", "mpvm.hw.pci.msi", "mpvm.hw.iommu"}
    assert imported & (board | tables | devices) == set()
