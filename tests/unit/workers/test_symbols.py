"""Symbol tables as nm(1) and /proc/kallsyms print them."""

from pathlib import Path

import pytest

from mpvm.abi.errors import ConfigError, ExitStatus
from workers import symbols
from workers.symbols import Symbols


def test_functions_are_read_in_the_order_of_their_addresses() -> None:
    text = "ffffffff81000100 t second\nffffffff81000000 T first\n"
    assert symbols.parse(text.splitlines()) == Symbols(
        [0xFFFFFFFF81000000, 0xFFFFFFFF81000100], ["first", "second"]
    )


def test_what_is_data_ends_the_function_before_it_and_names_nothing() -> None:
    assert symbols.parse(["1000 T function", "2000 D data"]) == Symbols([0x1000, 0x2000], ["function", None])


def test_of_several_names_of_a_place_the_first_functions_is_taken() -> None:
    lines = ["1000 D start_of_text", "1000 t function", "1000 T alias"]
    assert symbols.parse(lines) == Symbols([0x1000], ["function"])


def test_what_has_no_place_in_the_image_is_left_out() -> None:
    lines = ["0000000000000000 A fixed_percpu_data", "                 U undefined", "0000 a file.c", ""]
    assert symbols.parse(lines) == Symbols([], [])


def test_a_modules_name_behind_the_functions_is_no_part_of_it() -> None:
    assert symbols.parse(["ffffffffc0000000 t init\t[e1000]"]).functions == ["init"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("1000 T f\nELF", "line 2: 'ELF' is not an address, a letter and a name"),
        ("0xfoo T f", "line 1: '0xfoo' is not a hexadecimal number"),
        ("1000 text f", "line 1: '1000 text f' is not an address, a letter and a name"),
        ("1000 D data", "no function"),
        ("0 T f\n0 T g", "all addresses are 0"),
    ],
)
def test_a_file_that_is_no_table_is_refused_in_one_line(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "table"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        symbols.read(path)
    assert str(caught.value).startswith(f"{path}: {problem}, what ")
    assert "\n" not in str(caught.value)
    assert caught.value.exit_status == ExitStatus.BAD_CONFIGURATION


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="absent: No such file or directory"):
        symbols.read(tmp_path / "absent")
