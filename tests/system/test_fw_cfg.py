"""fw_cfg says what QEMU's says of the same machine, item by item, but for what is named here."""

import re
from pathlib import Path
from typing import Final

import pytest

from mpvm.abi.errors import ExitStatus
from tests.system import conformance, litmus, reference
from tests.system.runner import Launcher, Run

_ITEM: Final = re.compile(r"item ([0-9a-f]{4}) ([0-9a-f]+)")
_FILE: Final = re.compile(r"file (\S+) (\d+) ([0-9a-f]+)")

# Items that rightly are others than QEMU's, or not here.
_OTHERS: Final = {
    0x04: "the reference is run without a display, which to QEMU is not -nographic",
    0x07: "where a boot ROM would put the kernel: there is none, the coordinator has put it where it belongs",
    0x08: "QEMU gives a boot ROM the segments of a multiboot image, mpvm the file",
    0x0A: "where a boot ROM would put multiboot's information",
    0x0B: "the size of that",
    0x10: "where a boot ROM would enter the kernel",
    0x11: "the kernel, see its size",
    0x12: "multiboot's information",
    0x14: "QEMU has no command line here for multiboot, mpvm has that of every kernel",
    0x15: "the same",
}
# Files for firmware (SeaBIOS, OVMF), which builds the tables and finds the devices that they tell of.
_FOR_FIRMWARE: Final = {
    "bios-geometry",
    "bootorder",
    "etc/acpi/rsdp",
    "etc/acpi/tables",
    "etc/boot-fail-wait",
    "etc/smbios/smbios-anchor",
    "etc/smbios/smbios-tables",
    "etc/system-states",
    "etc/table-loader",
    "etc/tpm/log",
    "genroms/kvmvapic.bin",
    "genroms/multiboot_dma.bin",
}
# Here the whole map; QEMU's firmware adds its own part.
_OTHER_CONTENT: Final = {"etc/e820"}


def _items(run: Run) -> dict[int, str]:
    return {int(key, 16): data for key, data in _ITEM.findall(run.console)}


def _files(run: Run) -> dict[str, tuple[str, str]]:
    return {name: (size, content) for name, size, content in _FILE.findall(run.console)}


@pytest.fixture(scope="module")
def image(images: dict[str, Path]) -> Path:
    return images["conformance-fw-cfg"]


def test_items_and_files_are_those_of_qemu_but_for_what_is_named(launch: Launcher, image: Path) -> None:
    found = conformance.compare(launch, "fw-cfg", image, 2)
    mpvm, qemu = _items(found.mpvm.run), _items(found.qemu.run)
    assert len(mpvm) == len(qemu) > 20
    assert {key for key in qemu if mpvm[key] != qemu[key]} <= _OTHERS.keys()
    ours, theirs = _files(found.mpvm.run), _files(found.qemu.run)
    assert theirs.keys() - ours.keys() == _FOR_FIRMWARE
    assert ours.keys() <= theirs.keys()
    assert {name for name in ours if ours[name] != theirs[name]} <= _OTHER_CONTENT


def test_files_and_uuid_of_the_user_are_those_of_qemu(launch: Launcher, image: Path, tmp_path: Path) -> None:
    (tmp_path / "content").write_bytes(bytes(range(256)) * 3)
    config = tmp_path / "vm.yaml"
    config.write_text(f"""
boot: {{kernel: {image}}}
isa_debug_exit: true
machine: {{smp: 2}}
uuid: 12345678-9abc-def0-0123-456789abcdef
fw_cfg:
  - {{name: opt/b, string: "some text"}}
  - {{name: opt/a, file: content}}
  - {{name: opt/0, string: ""}}
""")
    options = ["-uuid", "12345678-9abc-def0-0123-456789abcdef", "-fw_cfg", "name=opt/b,string=some text"]
    options += ["-fw_cfg", f"name=opt/a,file={tmp_path}/content"]
    qemu = reference.run(
        2,
        "128M",
        *reference.ISA_DEBUG_EXIT,
        *reference.image(image),
        *options,
        seconds=100,
    )
    run = launch.run("run", "--quiet", config)
    assert (run.status, run.messages) == (litmus.PASSED, ""), run
    assert _items(run)[2] == _items(qemu)[2] == "123456789abcdef00123456789abcdef".ljust(48, "0")
    assert _files(run)["opt/0"][0] == "0"
    for name, size in (("opt/a", "768"), ("opt/b", "9")):
        assert _files(run)[name] == _files(qemu)[name]
        assert _files(run)[name][0] == size


def test_a_name_outside_opt_is_warned_of_and_the_machines_own_is_refused(
    launch: Launcher, image: Path, tmp_path: Path
) -> None:
    config = tmp_path / "vm.yaml"
    for name, status, words in (
        (
            "etc/mine",
            litmus.PASSED,
            "warning: externally provided fw_cfg item names should be prefixed",
        ),
        ("etc/e820", ExitStatus.BAD_CONFIGURATION, "fw_cfg: the machine has a file etc/e820 itself, another"),
    ):
        config.write_text(f"""
boot: {{kernel: {image}}}
isa_debug_exit: true
machine: {{smp: 2}}
fw_cfg: [{{name: {name}, string: x}}]
""")
        run = launch.run("run", "--quiet", config)
        assert run.status == status, run
        assert f"mpvm: {words}" in run.messages
