"""Reading boot images: every failure is one line that names the file."""

import os
import stat
from io import FileIO
from pathlib import Path

from mpvm.abi.errors import BootImageError
from mpvm.memory.ram import GuestRam


def image_error(what: str, path: Path, message: str) -> BootImageError:
    """The error that `message` is about `path`, the machine's `what` (kernel, initrd, module)."""
    return BootImageError(f"{what} {path}: {message}", what, message)


def _open(what: str, path: Path) -> FileIO:
    try:
        # Opening a pipe without O_NONBLOCK would wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise image_error(what, path, f"cannot be read ({_reason(error)}); give a readable file") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise image_error(what, path, "is no regular file; give an image file")
    return FileIO(descriptor)


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def read_image(what: str, path: Path) -> bytes:
    """The whole file; raises `BootImageError` when it can't be read."""
    with _open(what, path) as file:
        try:
            return file.read()
        except OSError as error:
            raise image_error(what, path, f"cannot be read ({_reason(error)})") from error


def read_kernel(path: Path) -> bytes:
    """The whole kernel image; raises `BootImageError` when it can't be read or is empty."""
    data = read_image("kernel", path)
    if not data:
        raise image_error("kernel", path, "is empty; give a kernel image")
    return data


def file_size(what: str, path: Path) -> int:
    """Bytes of an image that `load_file` is going to read."""
    with _open(what, path) as file:
        return os.fstat(file.fileno()).st_size


def load_file(what: str, path: Path, ram: GuestRam, gpa: int, size: int) -> None:
    """Read the first `size` bytes of a file straight into guest RAM at `gpa`."""
    with _open(what, path) as file, ram.view(gpa, size) as target:
        done = 0
        try:
            while done < size:
                count = file.readinto(target[done:])
                if not count:
                    raise image_error(
                        what, path, f"ends at byte {done} of {size}; it shrank while it was read"
                    )
                done += count
        except OSError as error:
            raise image_error(what, path, f"cannot be read ({_reason(error)})") from error
