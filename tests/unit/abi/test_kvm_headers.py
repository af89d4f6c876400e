"""KVM's numbers and layouts are those of the kernel's headers (Debian's linux-libc-dev)."""

import ctypes
import re
import subprocess
from collections.abc import Iterator
from enum import IntEnum, IntFlag
from pathlib import Path

import pytest

from mpvm.abi.exits import ExitReason
from mpvm.abi.kvm import constants, structs
from mpvm.abi.kvm.ioctl import Ioctl

_PREFIXES: dict[type[IntEnum] | type[IntFlag], str] = {
    Ioctl: "KVM_",
    constants.Cap: "KVM_CAP_",
    constants.MemFlag: "KVM_MEM_",
    constants.MpState: "KVM_MP_STATE_",
    constants.VcpuEventValid: "KVM_VCPUEVENT_VALID_",
    constants.Shadow: "KVM_X86_SHADOW_",
    constants.GuestDebug: "KVM_GUESTDBG_",
    constants.MsrExitReason: "KVM_MSR_EXIT_REASON_",
    constants.MsrFilter: "KVM_MSR_FILTER_",
    constants.IoeventfdFlag: "KVM_IOEVENTFD_FLAG_",
    constants.CpuidFlag: "KVM_CPUID_FLAG_",
}
_PLAIN = (
    "API_VERSION",
    "PIO_PAGE_OFFSET",
    "COALESCED_MMIO_PAGE_OFFSET",
    "MSR_FILTER_MAX_BITMAP_SIZE",
    "MSR_FILTER_DEFAULT_DENY",
    "SREGS2_FLAGS_PDPTRS_VALID",
    "VCPU_TSC_CTRL",
    "VCPU_TSC_OFFSET",
)
_VMX_EXIT = 64
# Structures that have no name of their own in the headers.
_NAMELESS = ("_", "RunMmio")


def _layouts() -> list[type[ctypes.Structure]]:
    return [
        kind
        for name, kind in vars(structs).items()
        if isinstance(kind, type) and issubclass(kind, ctypes.Structure) and not name.startswith(_NAMELESS)
    ]


def _c_name(kind: type[ctypes.Structure]) -> str:
    return "struct kvm_" + re.sub(r"(?<!^)([A-Z])", r"_\1", kind.__name__).lower()


def _fields(kind: type, base: int = 0, path: str = "") -> Iterator[tuple[str, int, int]]:
    """Path, offset and size of each field, of the nameless structures' fields, too."""
    anonymous = getattr(kind, "_anonymous_", ())
    for name, inner, *_ in kind._fields_:  # type: ignore[attr-defined]
        offset = base + getattr(kind, name).offset
        if name in anonymous:
            yield from _fields(inner, offset, path)
        else:
            yield path + name, offset, ctypes.sizeof(inner)
            if inner.__name__.startswith(_NAMELESS):
                yield from _fields(inner, offset, f"{path}{name}.")


def _expected() -> dict[str, int]:
    """C expressions and what they are by `mpvm.abi.kvm`."""
    numbers = {f"{prefix}{one.name}": int(one) for kind, prefix in _PREFIXES.items() for one in kind}
    numbers |= {f"KVM_{name}": getattr(constants, name) for name in _PLAIN}
    numbers |= {f"KVM_EXIT_{reason.name}": int(reason) for reason in ExitReason if reason < _VMX_EXIT}
    for kind in _layouts():
        name = _c_name(kind)
        numbers[f"sizeof({name})"] = ctypes.sizeof(kind)
        for path, offset, size in _fields(kind):
            numbers[f"offsetof({name}, {path})"] = offset
            numbers[f"sizeof((({name} *)0)->{path})"] = size
    return numbers


@pytest.fixture(scope="module")
def headers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """What a C compiler makes of the same expressions."""
    folder: Path = tmp_path_factory.mktemp("kvm")
    expressions = list(_expected())
    lines = "\n".join(f'    printf("%llu\\n", (unsigned long long)({one}));' for one in expressions)
    (folder / "numbers.c").write_text(
        "#include <linux/kvm.h>\n#include <stddef.h>\n#include <stdio.h>\n"
        f"int main(void)\n{{\n{lines}\n    return 0;\n}}\n"
    )
    subprocess.run(["cc", "-o", folder / "numbers", folder / "numbers.c"], check=True)
    output = subprocess.run([folder / "numbers"], check=True, capture_output=True, text=True).stdout
    return dict(zip(expressions, map(int, output.split()), strict=True))


def test_every_number_size_and_offset_is_the_headers(headers: dict[str, int]) -> None:
    expected = _expected()
    assert len(expected) > 600
    assert {one: value for one, value in expected.items() if headers[one] != value} == {}
