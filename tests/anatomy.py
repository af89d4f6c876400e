"""The links of docs/anatomy.md: each leads to the line that defines what its text names.

`python -m tests.anatomy` (`make anatomy`) puts the numbers of the lines right after a change of the code.
"""

import ast
import functools
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_REPOSITORY = Path(__file__).parents[1]
PAGE = _REPOSITORY / "docs" / "anatomy.md"

_LINK = re.compile(r"\[`(?P<name>[\w.]+)`\]\((?P<target>[^)#]+)#L(?P<line>\d+)\)")


class Link(NamedTuple):
    """A link: the name that it shows, the file that it leads to and the line there."""

    name: str
    path: Path
    line: int


def links(text: str) -> Iterator[Link]:
    """The links in `text` that lead to a line."""
    for match in _LINK.finditer(text):
        yield Link(match["name"], (PAGE.parent / match["target"]).resolve(), int(match["line"]))


def line_of(name: str, path: Path) -> int | None:
    """The line of `path` that defines `name`: a function, class, method ("Class.method") or constant."""
    if path.suffix == ".py":
        return _python_lines(path).get(name)
    definition = re.compile(rf"^[A-Za-z][^;=]*\b{re.escape(name)}\([^;]*$")
    lines = path.read_text().splitlines()
    return next((number for number, line in enumerate(lines, 1) if definition.match(line)), None)


@functools.cache
def _python_lines(path: Path) -> dict[str, int]:
    return dict(_definitions(ast.parse(path.read_text()).body, ""))


def _definitions(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, int]]:
    for node in body:
        match node:
            case ast.FunctionDef(name=name):
                yield prefix + name, node.lineno
            case ast.ClassDef(name=name):
                yield prefix + name, node.lineno
                yield from _definitions(node.body, f"{prefix}{name}.")
            case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
                yield prefix + name, node.lineno


def with_right_lines(text: str) -> str:
    """`text` with each link's line where its name is defined now; `ValueError` for one that is nowhere."""

    def put_right(match: re.Match[str]) -> str:
        [link] = links(match[0])
        line = line_of(link.name, link.path)
        if line is None:
            raise ValueError(f"{link.path} has no {link.name}")
        return f"[`{link.name}`]({match['target']}#L{line})"

    return _LINK.sub(put_right, text)


def main() -> int:
    """Put the page right."""
    text = PAGE.read_text()
    try:
        PAGE.write_text(with_right_lines(text))
    except (OSError, ValueError) as error:
        print(f"{PAGE}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
