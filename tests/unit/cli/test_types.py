"""`mpvm types`, and the lists that `mpvm run` gives."""

import pytest

from mpvm.abi.errors import ConfigError
from mpvm.cli import options, types


def test_the_tree_shows_every_type_below_its_parent(capsys: pytest.CaptureFixture[str]) -> None:
    assert types.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    depth = {line.split()[0]: len(line) - len(line.lstrip()) for line in lines}
    assert depth["object"] == 0
    assert depth["device"] < depth["isa-device"] < depth["isa-serial"]
    assert any("isa-device" in line and "abstract" in line for line in lines)
    assert any(line.split()[0] == "device" and "has resettable" in line for line in lines)
    assert {"unicorn-accel", "microvm-machine", "pc-i440fx-1.1-machine", "interface"} <= set(depth)


def test_a_part_of_the_tree_can_be_asked_for() -> None:
    names = [line.split()[0] for line in types.tree("accel")]
    assert names[0] == "accel"
    assert "unicorn-accel" in names
    assert "isa-serial" not in names


def test_a_type_is_described_with_its_properties(capsys: pytest.CaptureFixture[str]) -> None:
    types.main(["--describe", "isa-serial"])
    text = capsys.readouterr().out
    assert "parents:     isa-device, io-device, device, object" in text
    assert "interfaces:  resettable" in text
    (line,) = [line for line in text.splitlines() if line.split()[0] == "iobase"]
    assert line.split(None, 3) == [
        "iobase",
        "uint32",
        "0xffffffff",
        "first of its 8 ports; where its index has them",
    ]


def test_an_unknown_type_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="type 'isa-serail' is unknown, isa-serial is right"):
        types.main(["--describe", "isa-serail"])


def test_a_name_like_no_type_s_is_refused_with_the_command_that_lists_them() -> None:
    right = r"type 'warp' is unknown, what `mpvm types --implements object` lists is right$"
    with pytest.raises(ConfigError, match=right):
        types.main(["--describe", "warp"])


@pytest.mark.parametrize(
    ("argv", "word"),
    [
        (["--machine", "help"], "alias of pc-i440fx-1.1"),
        (["--machine", "pc,help"], "pc-i440fx-1.1-machine: "),
        (["--accel", "help"], "kvm                 the host's /dev/kvm"),
        (["--accel", "unicorn,help"], "unicorn-accel: "),
        (["--cpu", "help"], "Haswell-IBRS               is Haswell-v3"),
        (["--cpu", "EPYC,help"], "EPYC-x86_64-cpu: "),
        (["--device", "help"], "isa-debugcon"),
        (["--device", "isa-debugcon,help"], "readback"),
    ],
)
def test_help_lists_what_an_option_takes(
    argv: list[str], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        options.parse(argv)
    assert left.value.code == 0
    assert word in capsys.readouterr().out


def test_a_board_s_own_device_is_not_listed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        options.parse(["--device", "help"])
    assert "isa-pit" not in capsys.readouterr().out
