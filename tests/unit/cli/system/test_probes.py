"""What wrappers ask before they run something, in the shapes that they parse."""

import re

import pytest

from mpvm.cli.system import device_list
from mpvm.cli.system.main import main
from mpvm.cli.system.observer import Messages, feature_warning
from mpvm.cli.system.options import OPTIONS
from mpvm.cli.system.refused import REFUSED
from mpvm.cpu.models import CpuModel
from mpvm.qom.type_info import object_class_get_list


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> "Asker":
    return Asker(capsys)


class Asker:
    """Lines that a command line prints on stdout before it ends with status 0."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *argv: str) -> list[str]:
        with pytest.raises(SystemExit) as ended:
            main(argv)
        assert ended.value.code == 0
        output = self._capsys.readouterr()
        assert output.err == ""
        return output.out.splitlines()


@pytest.mark.parametrize("option", ["-help", "--help", "-h", "-version", "--version"])
def test_the_first_line_has_the_version_where_parsers_look_for_it(option: str, ask: Asker) -> None:
    line = ask(option)[0]
    assert re.search(r"version ([0-9]+\.[0-9]+)", line)
    # IFS='[ .]' read -r _ _ _ MAJOR MINOR MICRO rest
    words = re.split(r"[ .]", line)
    assert [word.isdecimal() for word in words[:6]] == [False, False, False, True, True, True]
    assert "QEMU-compatible" in line


def test_help_lists_every_option(ask: Asker) -> None:
    lines = ask("-help")
    listed = {line.split()[0].removeprefix("-") for line in lines if line.startswith("-")}
    assert listed == set(OPTIONS)
    assert any("QEMU" in line for line in lines)


def test_no_option_is_both_here_and_refused() -> None:
    assert OPTIONS.keys() & REFUSED.keys() == set()


@pytest.mark.parametrize("word", ["?", "help"])
def test_devices_are_listed_by_heading_a_line_each(word: str, ask: Asker) -> None:
    lines = ask("-device", word)
    assert 'name "isa-debug-exit", bus ISA' in lines
    assert 'name "pc-testdev", bus ISA' in lines
    assert 'name "pci-testdev", bus PCI, desc "PCI Test Device"' in lines
    assert lines.index("Misc devices:") < lines.index('name "isa-debug-exit", bus ISA')
    assert all(re.fullmatch(r'|[A-Z].* devices:|name "[^"]+"(, \w+ .*)?', line) for line in lines)


def test_the_list_of_devices_is_what_can_be_added() -> None:
    listed = {(name, bus) for devices in device_list.DEVICES.values() for name, bus, _text in devices}
    # Other tests of this process may have types of their own.
    ours = [cls for cls in object_class_get_list("device") if cls.__module__.startswith("mpvm.")]
    assert listed == {(cls.type_name, cls.bus_type) for cls in ours if cls.user_creatable}


def test_a_devices_properties_are_listed(ask: Asker) -> None:
    assert ask("-device", "isa-debug-exit,help") == [
        "isa-debug-exit options:",
        "  iobase=<uint32>        - first port (default: 1281)",
        "  iosize=<uint32>        - number of ports (default: 2)",
    ]
    assert ask("-device", "pc-testdev,help") == ["There are no options for pc-testdev."]


def test_an_unknown_device_has_no_properties(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-device", "bogus,help"]) == 1
    message = "mpvm-system-x86_64: -device bogus,help: 'bogus' is not a valid device model name\n"
    assert capsys.readouterr() == ("", message)


@pytest.mark.parametrize("word", ["?", "help"])
def test_machines_are_listed_with_alias_and_default(word: str, ask: Asker) -> None:
    first, *lines = ask("-machine", word)
    assert first == "Supported machines are:"
    names = [line.split()[0] for line in lines]
    assert {"pc", "pc-i440fx-7.2", "q35", "microvm", "none"} <= set(names)
    assert [line.endswith(" (default)") for line in lines].count(True) == 1
    assert all(re.match(r"\S{1,20} +\S", line) for line in lines)


def test_a_machines_properties_are_listed(ask: Asker) -> None:
    lines = ask("-machine", "pc,help")
    assert lines[0].endswith("-machine options:")
    assert (
        "  pit=<bool>             - Enable/disable Intel 8254 programmable interval timer emulation" in lines
    )


def test_accelerators_are_listed(ask: Asker) -> None:
    assert ask("-accel", "help") == ["Accelerators supported in QEMU binary:", "tcg", "kvm"]


def test_cpu_models_and_flags_are_listed(ask: Asker) -> None:
    lines = ask("-cpu", "help")
    assert lines[0] == "Available CPUs:"
    flags = lines.index("Recognized CPUID flags:")
    models = {line.split()[1] for line in lines[1 : flags - 1]}
    assert {"qemu64", "max", "host", "Haswell", "EPYC"} <= models
    assert all(line.startswith("x86 ") for line in lines[1 : flags - 1])
    assert {"x2apic", "avx", "sse4.2"} <= {word for line in lines[flags + 1 :] for word in line.split()}


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["-d", "help"], "Log items (comma separated):"),
        (["-chardev", "help"], "Available chardev backend types: "),
        (["-display", "help"], "Available display backend types:"),
        (["-smp", "help"], "smp-opts options:"),
        (["-rtc", "help"], "rtc options:"),
        (["-action", "help"], "action options:"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_other_options_say_what_they_take(argv: list[str], line: str, ask: Asker) -> None:
    assert ask(*argv)[0] == line


@pytest.mark.parametrize("argv", [["-trace", "help"], ["-d", "trace:help"]])
def test_trace_events_are_listed(argv: list[str], ask: Asker) -> None:
    assert "vcpu_exit" in ask(*argv)


def test_a_feature_that_the_accelerator_lacks_is_a_warning_of_qemus(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lacking = (("vmx", "unicorn"), ("rdrand", "kvm"))
    model = CpuModel("max", "GenuineIntel", 6, 1, 1, 1, 1, "", frozenset(), unavailable=lacking)
    Messages("mpvm-system-x86_64").cpu_resolved(model)
    prefix = "mpvm-system-x86_64: warning:"
    assert capsys.readouterr().err.splitlines() == [
        f"{prefix} TCG doesn't support requested feature: CPUID.01H:ECX.vmx [bit 5]",
        f"{prefix} host doesn't support requested feature: CPUID.01H:ECX.rdrand [bit 30]",
    ]
    Messages("mpvm-system-x86_64").cpu_resolved(model._replace(check=False))
    assert capsys.readouterr().err == ""


def test_a_feature_that_needs_another_says_so() -> None:
    assert feature_warning("avx", "needs xsave") == (
        "This feature depends on other features that were not requested: CPUID.01H:ECX.avx [bit 28]"
    )
