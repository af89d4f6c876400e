"""The command line of `mpvm run`."""

from pathlib import Path

import pytest

from mpvm.abi.errors import ConfigError
from mpvm.cli import options
from mpvm.config import Override


def test_an_option_overrides_its_key() -> None:
    arguments = options.parse(["c.yaml", "--smp", "8", "--memory=1G", "--append", "a b", "--cpu", "max,-avx"])
    assert arguments.config == Path("c.yaml")
    assert arguments.overrides == [
        Override("boot.append", "a b", "--append"),
        Override("machine.smp", 8, "--smp"),
        Override("machine.memory", "1G", "--memory"),
        Override("cpu.model", "max,-avx", "--cpu"),
    ]


def test_serial_lines_add_up() -> None:
    arguments = options.parse(["c.yaml", "--serial", "null", "--serial", "file:log"])
    assert arguments.overrides == [Override("serial", ["null", "file:log"], "--serial")]


def test_a_machine_of_nothing_needs_neither_configuration_nor_kernel() -> None:
    assert options.parse(["--machine", "none"]).config is None
    with pytest.raises(ConfigError, match="a configuration is missing"):
        options.parse(["--machine", "pc"])


def test_devices_and_globals_are_added() -> None:
    arguments = options.parse(["c.yaml", "--device", "a,b=1", "--device", "c", "--global", "d.e=f=g"])
    assert arguments.overrides == [
        Override("devices", ["a,b=1", "c"], "--device", adds=True),
        Override("globals", {"d.e": "f=g"}, "--global", adds=True),
    ]
    with pytest.raises(ConfigError, match=r"--global: d\.e has no value, driver.property=value is right"):
        options.parse(["c.yaml", "--global", "d.e"])


def test_switches_override_with_true() -> None:
    arguments = options.parse(["c.yaml", "--no-reboot", "--isa-debug-exit", "--perfmap"])
    assert arguments.overrides == [
        Override("no_reboot", True, "--no-reboot"),
        Override("isa_debug_exit", True, "--isa-debug-exit"),
        Override("perfmap", True, "--perfmap"),
    ]


def test_log_categories_and_trace_patterns_add_up() -> None:
    arguments = options.parse(
        ["c.yaml", "-d", "guest_errors,trace:run", "-d", "trace:exit", "--trace", "startup,vcpu_*"]
    )
    assert arguments.overrides == [
        Override("log", ["guest_errors"], "-d"),
        Override("trace", ["run", "exit", "startup", "vcpu_*"], "--trace"),
    ]
    assert options.parse(["c.yaml", "-d", "trace:run"]).overrides == [Override("trace", ["run"], "-d")]


@pytest.mark.parametrize(
    ("argv", "listed"), [(["-d", "help"], "guest_errors  "), (["--trace", "help"], "startup  vcpu_ready")]
)
def test_categories_and_events_are_listed(
    argv: list[str], listed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        options.parse(argv)
    assert end.value.code == 0
    assert f"\n{listed}" in "\n" + capsys.readouterr().out


def test_an_option_that_is_not_given_overrides_nothing() -> None:
    assert options.parse(["c.yaml"]) == options.RunArguments(Path("c.yaml"), [], quiet=False, json=None)


def test_json_takes_a_file_only_behind_an_equals_sign() -> None:
    assert options.parse(["--json", "c.yaml"]) == options.RunArguments(Path("c.yaml"), [], False, "-")
    assert options.parse(["c.yaml", "--json=out.json"]).json == "out.json"


def test_a_kernel_does_instead_of_a_configuration() -> None:
    arguments = options.parse(["--kernel", "k"])
    assert arguments.config is None
    assert arguments.overrides == [Override("boot.kernel", "k", "--kernel")]


@pytest.mark.parametrize("text", ["four", "", "0x10", "1e3x"])
def test_what_is_no_number_is_left_for_the_schema_to_refuse(text: str) -> None:
    assert options.parse(["c.yaml", "--smp", text]).overrides == [Override("machine.smp", text, "--smp")]


def test_a_time_limit_may_be_a_fraction() -> None:
    assert options.parse(["c.yaml", "--timeout", "1.5"]).overrides == [Override("timeout", 1.5, "--timeout")]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "a configuration is missing: `mpvm run FILE.yaml` or `mpvm run --kernel FILE` is right"),
        (["c.yaml", "--spm", "4"], "--spm: unknown argument, --smp is right"),
        (["c.yaml", "--sm=4"], "--sm: unknown argument, --smp is right"),
        (["c.yaml", "-x"], "-x: unknown argument, `mpvm run --help` lists what is right"),
        (["c.yaml", "d.yaml"], "d.yaml: unknown argument, `mpvm run --help` lists what is right"),
        (["c.yaml", "--smp"], "--smp: expected one argument, `mpvm run --help` lists what is right"),
        (
            ["c.yaml", "--quiet=4"],
            "--quiet: ignored explicit argument '4', `mpvm run --help` lists what is right",
        ),
    ],
)
def test_a_wrong_command_line_is_one_line_that_says_what_is_right(argv: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        options.parse(argv)
    assert str(caught.value) == message
