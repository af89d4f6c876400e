"""The documents are true where it can be looked up: tests, links, options, keys and files that they name."""

import ast
import functools
import re
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest

from mpvm.cli import options
from mpvm.config import types
from mpvm.config.rules import Section

_REPOSITORY = Path(__file__).parents[2]
_README = _REPOSITORY / "README.md"
_DOCS = _REPOSITORY / "docs"
_PAGES = [*sorted(_REPOSITORY.glob("*.md")), *sorted(_DOCS.rglob("*.md")), *_REPOSITORY.glob("tests/*/*.md")]

_CODE = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def _rows(text: str) -> Iterator[list[str]]:
    """The cells of all tables' rows, without their headings' rules."""
    for line in text.splitlines():
        if line.startswith("|") and not line.startswith("|--"):
            yield [cell.strip() for cell in line.replace("\\|", "/").strip("|").split("|")]


@functools.cache
def _names(path: Path) -> set[str]:
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}


def _links(page: Path) -> Iterator[tuple[Path, str]]:
    """Where the links of `page` within the repository lead: file and heading."""
    for target in _LINK.findall(page.read_text()):
        if "://" not in target:
            name, _, heading = target.partition("#")
            yield (page.parent / name).resolve() if name else page, heading


def _headings(page: Path) -> set[str]:
    """As GitHub makes anchors of them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _is_there(page: Path, anchor: str) -> bool:
    """A heading, or a line of a source (tests/unit/test_anatomy.py looks at what stands there)."""
    line = re.fullmatch(r"L(\d+)", anchor)
    if line and page.suffix != ".md":
        return int(line[1]) <= len(page.read_text().splitlines())
    return anchor in _headings(page)


def test_every_test_that_the_specification_names_is_there() -> None:
    missing = []
    for word in _CODE.findall((_REPOSITORY / "SPECIFICATION.md").read_text()):
        if word.startswith("test"):
            name, _, function = word.partition("::")
            path = _REPOSITORY / name
            if not path.exists() or (function and function not in _names(path)):
                missing.append(word)
    assert missing == []


def test_every_promise_names_what_holds_it() -> None:
    vague = [
        promise
        for promise, held_by, *_ in _rows((_REPOSITORY / "SPECIFICATION.md").read_text())
        if not re.match(r"`tests/|the same|\*pending\*|Held by", held_by)
    ]
    assert vague == []


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: str(page.relative_to(_REPOSITORY)))
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = [
        f"{path}#{heading}"
        for path, heading in _links(page)
        if not path.exists() or (heading and not _is_there(path, heading))
    ]
    assert broken == []


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached = [_README]
    for page in reached:
        if page.suffix == ".md":
            reached += [path for path, _ in _links(page) if path not in reached]
    assert [page for page in _PAGES if page not in reached] == []


def test_the_manual_of_run_has_the_options_that_help_has(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        options.parse(["--help"])
    known = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", capsys.readouterr().out)) - {"--help"}
    told = {
        option
        for row in _rows((_DOCS / "run.md").read_text())
        for option in re.findall(r"`(--[a-z-]+)", row[0])
    }
    assert told == known


def _keys(section: type, prefix: str = "") -> Iterator[str]:
    for name, kind in typing.get_type_hints(section, include_extras=True).items():
        if any(isinstance(each, Section) for each in getattr(kind, "__metadata__", ())):
            yield from _keys(typing.get_args(kind)[0], f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def test_the_manual_of_the_configuration_has_the_keys_that_the_schema_has() -> None:
    rows = list(_rows((_DOCS / "configuration.md").read_text()))
    told = [row[0].strip("`") for row in rows if row[0].startswith("`")]
    assert sorted(told) == sorted(_keys(types.Config))


def test_the_manual_of_the_engine_core_has_its_sources() -> None:
    told = set(_CODE.findall((_DOCS / "engine.md").read_text()))
    sources = {path.name for path in (_REPOSITORY / "workers" / "engine").glob("*.c")}
    assert sources - told == set()
