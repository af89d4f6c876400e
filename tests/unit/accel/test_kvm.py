"""What the `kvm` accelerator says where /dev/kvm is missing, forbidden or too old."""

import errno
import os
from pathlib import Path

import pytest

from mpvm.abi.errors import StartError
from mpvm.abi.kvm import structs
from mpvm.abi.kvm.constants import API_VERSION, Cap
from mpvm.abi.kvm.system import System
from mpvm.accel import accelerator


class _System(System):
    """A /dev/kvm that says what a test wants."""

    version = API_VERSION
    missing: frozenset[Cap] = frozenset()
    leaves: tuple[structs.CpuidEntry2, ...] = ()

    def api_version(self) -> int:
        return self.version

    def check_extension(self, cap: Cap | int) -> int:
        return int(cap not in self.missing)

    def supported_cpuid(self) -> list[structs.CpuidEntry2]:
        return list(self.leaves)


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> type[_System]:
    class Fresh(_System):
        pass

    monkeypatch.setattr(System, "open", lambda: Fresh(os.open(os.devnull, os.O_RDWR)))
    return Fresh


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOENT, "is not there; load kvm_intel or kvm_amd"),
        (errno.EACCES, "add the user to the group kvm"),
        (errno.EPERM, "allow the device to this container"),
        (errno.ENODEV, "has no driver"),
        (errno.EBUSY, "stop the other hypervisor"),
        (errno.EIO, "can't be opened: Input/output error"),
    ],
)
def test_a_device_that_cannot_be_opened_is_one_line_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, number: int, remedy: str
) -> None:
    def refuse() -> System:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(System, "open", refuse)
    with pytest.raises(StartError, match=f"^accelerator kvm: /dev/kvm .*{remedy}.*--accel unicorn$"):
        accelerator("kvm").check()


def test_another_interface_version_is_refused(system: type[_System]) -> None:
    system.version = 11
    with pytest.raises(StartError, match="has API version 11; a kernel with 12 is right"):
        accelerator("kvm").check()


def test_missing_capabilities_are_named(system: type[_System]) -> None:
    system.missing = frozenset({Cap.X86_MSR_FILTER, Cap.SREGS2})
    with pytest.raises(
        StartError, match=r"lacks KVM_CAP_X86_MSR_FILTER, KVM_CAP_SREGS2; Linux 5\.16 or later"
    ):
        accelerator("kvm").check()


@pytest.mark.usefixtures("system")
def test_a_device_with_all_that_is_needed_is_taken_and_closed_again() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    accelerator("kvm").check()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_features_are_those_of_kvm_and_of_the_machines_local_apic(system: type[_System]) -> None:
    vmx, sse3 = 1 << 5, 1
    system.leaves = (structs.CpuidEntry2(1, 0, 0, 0, 0, vmx | sse3, 1),)
    features = accelerator("kvm").supported_features()
    assert {"pni", "fpu", "x2apic", "tsc-deadline", "arat"} <= features
    assert not {"vmx", "avx", "lm"} & features
