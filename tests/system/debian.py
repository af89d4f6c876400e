"""Debian's stock kernels and its static busybox, fetched with `apt-get download`, never installed.

Everything lands in a cache folder (`.cache/kernels` of the repository, or `$MPVM_CACHE/kernels`) that may be
deleted at any time. A file once there is used again without asking apt. What can't be fetched is an error,
never a skipped test.

`python -m tests.system.debian` fetches all of it and prints the paths.
"""

import fcntl
import os
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

METAPACKAGES = {"cloud": "linux-image-cloud-amd64", "generic": "linux-image-amd64"}

_VERSIONED_IMAGE = re.compile(r"\b(linux-image-\d\S*-amd64)\b")
_FETCH_SECONDS = 600


class FetchError(Exception):
    """A package could not be found, downloaded or unpacked."""


def cache_folder() -> Path:
    """The folder that holds all that was fetched or built for the system tests."""
    folder = Path(os.environ.get("MPVM_CACHE", REPOSITORY / ".cache")).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold `folder` alone among processes: xdist's workers all want the same file at once."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def kernel(flavour: str) -> Path:
    """The vmlinuz behind the metapackage of `flavour`, a key of `METAPACKAGES`."""
    return _cached(
        f"vmlinuz-{flavour}",
        lambda: _versioned_package(METAPACKAGES[flavour]),
        lambda member: member.startswith("./boot/vmlinuz-"),
    )


def busybox() -> Path:
    """The static busybox: the guest's whole user space, and the `cpio` that packs it."""
    path = _cached("busybox", lambda: "busybox-static", lambda member: member.endswith("/bin/busybox"))
    path.chmod(0o755)
    return path


def _cached(name: str, package: Callable[[], str], wanted: Callable[[str], bool]) -> Path:
    folder = cache_folder() / "kernels"
    target = folder / name
    with locked(folder):
        if not target.exists():
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                _extract(_download(package(), Path(scratch)), wanted, target)
    return target


def _versioned_package(metapackage: str) -> str:
    """What `metapackage` depends on: the package that really holds a kernel."""
    for refresh in (False, True):
        if refresh:
            _update_lists()
        found = _VERSIONED_IMAGE.search(_apt("apt-cache", "depends", metapackage, check=False))
        if found:
            return found[1]
    raise FetchError(f"{metapackage}: apt knows no kernel behind it, Debian's sources in /etc/apt are right")


def _download(package: str, folder: Path) -> Path:
    try:
        _apt("apt-get", "download", package, cwd=folder)
    except FetchError:
        # The lists name a version that the mirror has replaced by now.
        _update_lists()
        _apt("apt-get", "download", package, cwd=folder)
    [archive] = folder.glob("*.deb")
    return archive


def _extract(archive: Path, wanted: Callable[[str], bool], target: Path) -> None:
    """Write the one member that is `wanted` to `target`, which is either absent or whole."""
    partial = archive.with_suffix(".partial")
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", archive], stdout=subprocess.PIPE) as unpack:
        assert unpack.stdout is not None
        with tarfile.open(fileobj=unpack.stdout, mode="r|") as tar:
            for member in tar:
                content = tar.extractfile(member) if member.isfile() and wanted(member.name) else None
                if content is not None:
                    partial.write_bytes(content.read())
    if unpack.returncode or not partial.exists():
        raise FetchError(
            f"{archive.name}: dpkg-deb found no {target.name} in it (status {unpack.returncode})"
        )
    partial.rename(target)


def _lists_options() -> list[str]:
    """Apt's lists in the cache folder, once there are any: they need no root and leave the host's alone."""
    state = cache_folder() / "apt"
    if not (state / "lists").exists():
        return []
    return ["-o", f"Dir::State::lists={state / 'lists'}", "-o", f"Dir::Cache={state / 'cache'}"]


def _update_lists() -> None:
    state = cache_folder() / "apt"
    for folder in ("lists/partial", "cache/archives/partial"):
        (state / folder).mkdir(parents=True, exist_ok=True)
    _apt("apt-get", "update")


def _apt(tool: str, *arguments: str, cwd: Path | None = None, check: bool = True) -> str:
    """Run one of apt's tools and give its output.

    Its sandbox user may not read a private cache folder, hence the option.
    """
    command = [tool, "-q", "-o", "APT::Sandbox::User=root", *_lists_options(), *arguments]
    try:
        done = subprocess.run(
            command, cwd=cwd, capture_output=True, text=True, timeout=_FETCH_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FetchError(f"{' '.join(command)}: {error}") from error
    if check and done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-1]
        raise FetchError(f"{' '.join(command)}: status {done.returncode}: {last}")
    return done.stdout


def main() -> None:
    """Fetch everything and print where it is."""
    for flavour in METAPACKAGES:
        print(f"{flavour}: {kernel(flavour)}")
    print(f"busybox: {busybox()}")


if __name__ == "__main__":
    main()
