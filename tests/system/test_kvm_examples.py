"""Each script in docs/examples prints what its first line says, on every accelerator and in both forms."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.system.kvm_api import forms

_REPOSITORY: Final = Path(__file__).parents[2]
_EXAMPLES: Final = sorted((_REPOSITORY / "docs/examples").glob("*.py"))
_ARGUMENTS: Final = {"unicorn": ["unicorn"], "processes": ["unicorn", "processes"], "kvm": ["kvm"]}


def _promised(example: Path) -> list[str]:
    text = ast.get_docstring(ast.parse(example.read_text())) or ""
    return re.findall(r'"([^"]*)"', text.split("prints", 1)[1].split("Run it", 1)[0])


@pytest.mark.parametrize("example", _EXAMPLES, ids=lambda path: path.stem)
@forms()
def test_an_example_prints_what_it_says(form: str, example: Path) -> None:
    if form == "kvm" and "The kernel's KVM serves" in example.read_text():
        pytest.skip(f"{example.stem}: what the kernel's KVM serves itself has no callback")
    done = subprocess.run(
        [sys.executable, str(example), *_ARGUMENTS[form]],
        env={**os.environ, "PYTHONPATH": str(_REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.returncode, done.stdout.splitlines()) == (0, _promised(example)), done.stderr
