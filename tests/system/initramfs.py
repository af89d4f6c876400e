"""The test initramfs: a static busybox and our /init (init.sh), packed by that busybox's own `cpio`.

Programs of ours follow in an archive of their own where they are asked for: Linux unpacks archives that lie
one behind the other (its Documentation/driver-api/early-userspace/buffer-format.rst), and a boot that needs
none of them stays short.

`python -m tests.system.initramfs [PROGRAM ...]` builds it and prints its path.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.system import debian, program

INIT = Path(__file__).with_name("init.sh")

_FOLDERS = ("bin", "dev", "proc", "sys", "tmp", "root")


def initramfs(*names: str) -> Path:
    """The newc archives, not compressed, with the programs `names` in /bin.

    Built again when the contents have changed.
    """
    base = _base()
    if not names:
        return base
    built = [program.build(name) for name in names]
    contents = hashlib.sha256("\0".join([base.name, *map(str, built)]).encode())
    return _cached(
        contents.hexdigest(), lambda scratch: base.read_bytes() + _pack(_folder_of(built, scratch / "root"))
    )


def _base() -> Path:
    busybox = debian.busybox()
    contents = hashlib.sha256(INIT.read_bytes() + busybox.read_bytes() + Path(__file__).read_bytes())
    return _cached(contents.hexdigest(), lambda scratch: _pack(_populate(scratch / "root", busybox)))


def _cached(digest: str, make: Callable[[Path], bytes]) -> Path:
    folder = debian.cache_folder() / "initramfs"
    target = folder / f"{digest[:16]}.cpio"
    with debian.locked(folder):
        if not target.exists():
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                archive = Path(scratch) / "archive"
                archive.write_bytes(make(Path(scratch)))
                archive.rename(target)
    return target


def _folder_of(built: list[Path], root: Path) -> Path:
    (root / "bin").mkdir(parents=True)
    for path in built:
        shutil.copy(path, root / "bin")
    return root


def _populate(root: Path, busybox: Path) -> Path:
    for folder in _FOLDERS:
        (root / folder).mkdir(parents=True)
    shutil.copy(busybox, root / "bin" / "busybox")
    shutil.copy(INIT, root / "init")
    for path in ("bin/busybox", "init"):
        (root / path).chmod(0o755)
    applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()
    for applet in applets:
        if applet != "busybox":
            (root / "bin" / applet).symlink_to("busybox")
    return root


def _pack(root: Path) -> bytes:
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*"))
    command = [str(debian.busybox()), "cpio", "-o", "-H", "newc", "-R", "0:0"]
    listing = "".join(f"{name}\n" for name in names).encode()
    return subprocess.run(command, cwd=root, input=listing, capture_output=True, check=True).stdout


if __name__ == "__main__":
    print(initramfs(*sys.argv[1:]))
