"""docs/anatomy.md leads to the lines that it speaks of."""

from pathlib import Path

import pytest

from tests import anatomy

_PAGE = anatomy.PAGE.read_text()


def test_every_link_leads_to_the_line_that_defines_what_it_names() -> None:
    wrong = [
        f"{link.path.name}#L{link.line}: {link.name} is at {found or 'no line'}"
        for link in anatomy.links(_PAGE)
        if (found := anatomy.line_of(link.name, link.path)) != link.line
    ]
    assert wrong == [], "`make anatomy` puts lines right; what is nowhere has to be written anew"


def test_there_is_something_to_follow_from_the_entry_point_to_the_guest() -> None:
    names = [link.name for link in anatomy.links(_PAGE)]
    assert names[0] == "main"
    assert names[-1] == "guest_main"


@pytest.mark.parametrize(
    ("name", "line"),
    [("CONSTANT", 1), ("function", 2), ("Class", 4), ("Class.method", 5), ("method", None), ("other", None)],
)
def test_a_definition_is_found_by_its_name(tmp_path: Path, name: str, line: int | None) -> None:
    path = tmp_path / "module.py"
    path.write_text("CONSTANT = 1\ndef function():\n    other()\nclass Class:\n    def method(self): ...\n")
    assert anatomy.line_of(name, path) == line


def test_a_function_in_c_is_its_definition_and_no_prototype(tmp_path: Path) -> None:
    path = tmp_path / "file.c"
    path.write_text("void f(void);\nint x = f(1);\n/* f() */\nstatic void f(void)\n{\n    f();\n}\n")
    assert anatomy.line_of("f", path) == 4
