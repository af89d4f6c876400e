"""The test initramfs: a static busybox and our /init (init.sh), packed by that busybox's own `cpio`.

`python -m tests.system.initramfs` builds it and prints its path.
"""

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.system import debian

INIT = Path(__file__).with_name("init.sh")

_FOLDERS = ("bin", "dev", "proc", "sys", "tmp", "root")


def initramfs() -> Path:
    """The newc archive, not compressed; built again when its contents have changed."""
    busybox = debian.busybox()
    contents = hashlib.sha256(INIT.read_bytes() + busybox.read_bytes() + Path(__file__).read_bytes())
    folder = debian.cache_folder() / "initramfs"
    target = folder / f"{contents.hexdigest()[:16]}.cpio"
    with debian.locked(folder):
        if not target.exists():
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                root = Path(scratch) / "root"
                _populate(root, busybox)
                archive = Path(scratch) / "archive"
                archive.write_bytes(_pack(root, busybox))
                archive.rename(target)
    return target


def _populate(root: Path, busybox: Path) -> None:
    for folder in _FOLDERS:
        (root / folder).mkdir(parents=True)
    shutil.copy(busybox, root / "bin" / "busybox")
    shutil.copy(INIT, root / "init")
    for program in ("bin/busybox", "init"):
        (root / program).chmod(0o755)
    applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()
    for applet in applets:
        if applet != "busybox":
            (root / "bin" / applet).symlink_to("busybox")


def _pack(root: Path, busybox: Path) -> bytes:
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*"))
    command = [str(busybox), "cpio", "-o", "-H", "newc", "-R", "0:0"]
    listing = "".join(f"{name}\n" for name in names).encode()
    return subprocess.run(command, cwd=root, input=listing, capture_output=True, check=True).stdout


if __name__ == "__main__":
    print(initramfs())
