"""Programs of ours that a Linux guest runs: each folder of `programs/` is one, linked statically.

Headers that lie in `programs/` itself are for all of them. `python -m tests.system.program` builds all
and prints their paths.
"""

import hashlib
import os
import shlex
import subprocess
import tempfile
from pathlib import Path

from tests.system import debian

FOLDER = Path(__file__).with_name("programs")

FLAGS = "-std=gnu11 -O2 -static -pthread -Wall -Wextra -Werror -Wmissing-prototypes -Wstrict-prototypes"


def names() -> list[str]:
    """Of all programs, sorted."""
    return sorted({source.parent.name for source in FOLDER.glob("*/*.c")})


def build(name: str) -> Path:
    """The program called `name`, an x86-64 ELF; built again when a source has changed.

    Raises CalledProcessError when a source does not compile; the compiler has then said why on stderr.
    """
    sources = sorted((FOLDER / name).glob("*.c"))
    headers = sorted([*FOLDER.glob("*.h"), *(FOLDER / name).glob("*.h")])
    command = [*shlex.split(os.environ.get("CC", "cc")), *FLAGS.split(), f"-I{FOLDER}"]
    contents = hashlib.sha256(shlex.join(command).encode())
    for path in (*sources, *headers):
        contents.update(f"\0{path.name}\0".encode() + path.read_bytes())
    folder = debian.cache_folder() / "programs" / contents.hexdigest()[:16]
    target = folder / name
    with debian.locked(folder.parent):
        if not target.exists():
            folder.mkdir(exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                whole, built = Path(scratch) / "whole", Path(scratch) / name
                subprocess.run([*command, *sources, "-o", whole], check=True)
                subprocess.run(["strip", "-o", built, whole], check=True)
                whole.rename(_unstripped(target))
                built.rename(target)
    return target


def with_symbols(name: str) -> Path:
    """The same program before its symbols were stripped: everything is at the same addresses."""
    return _unstripped(build(name))


def _unstripped(target: Path) -> Path:
    return target.with_name(f"{target.name}.symbols")


if __name__ == "__main__":
    for name in names():
        print(build(name))
