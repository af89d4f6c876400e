"""Loading what a machine boots: from a request to guest memory and the first CPU's state."""

import importlib
from typing import Final

from mpvm.abi.errors import ConfigError
from mpvm.boot.detect import detect
from mpvm.boot.image import image_error, read_kernel
from mpvm.boot.request import BootMachine, BootRequest
from mpvm.cpu.state import CpuState

AUTO = "auto"

# Protocol name -> module with `load(data, request, machine) -> CpuState`.
PROTOCOLS: Final = {
    "linux": "mpvm.boot.linux",
    "multiboot": "mpvm.boot.multiboot",
    "elf": "mpvm.boot.elf_pvh",
    "flat": "mpvm.boot.flat",
}


def load(request: BootRequest, machine: BootMachine) -> CpuState:
    """Put the request's images into RAM; returns the state in which the first CPU starts.

    Raises `BootImageError` for an image that can't be read, is not what its protocol takes or does not
    fit, and `ConfigError` for an unknown protocol.
    """
    data = read_kernel(request.kernel)
    name = detect(data, request.kernel) if request.protocol in (None, AUTO) else request.protocol
    if name not in PROTOCOLS:
        raise ConfigError(
            f"boot.protocol: {name!r} is no boot protocol; {', '.join(PROTOCOLS)} or {AUTO} is right"
        )
    if request.load_address is not None and name != "flat":
        raise image_error(
            "kernel", request.kernel, f"the {name} protocol takes no load address; leave it out"
        )
    state: CpuState = importlib.import_module(PROTOCOLS[name]).load(data, request, machine)
    return state
