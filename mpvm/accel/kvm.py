"""The `kvm` accelerator: the host's `/dev/kvm`. Its vCPU side is `workers.kvm`."""

import errno
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Final

from mpvm.abi.errors import StartError
from mpvm.abi.feature_words import FeatureWord
from mpvm.accel.base import Accelerator
from mpvm.cpu.features import FEATURES, features_of
from mpvm.cpu.models import CpuModel
from mpvm.qom.type_info import register_type

if TYPE_CHECKING:
    from mpvm.abi.kvm.system import System

_OR_UNICORN: Final = "or --accel unicorn"
# Why `/dev/kvm` can't be opened, and what to do.
_REMEDIES: Final = {
    errno.ENOENT: "is not there; load kvm_intel or kvm_amd, with virtualization on in the firmware "
    f"(inside a VM: nested virtualization), {_OR_UNICORN}",
    errno.EACCES: f"is not this user's to open; add the user to the group kvm, {_OR_UNICORN}",
    errno.EPERM: f"is forbidden here; allow the device to this container or service, {_OR_UNICORN}",
    errno.ENODEV: f"has no driver; load kvm_intel or kvm_amd, {_OR_UNICORN}",
    errno.ENXIO: f"has no driver; load kvm_intel or kvm_amd, {_OR_UNICORN}",
    errno.EBUSY: f"is busy; stop the other hypervisor that has the CPU, {_OR_UNICORN}",
}
#: What the vCPU side needs, and the release of Linux that has all of it.
_NEEDED: Final = (
    "USER_MEMORY",
    "DESTROY_MEMORY_REGION_WORKS",
    "SET_TSS_ADDR",
    "SET_IDENTITY_MAP_ADDR",
    "EXT_CPUID",
    "USER_NMI",
    "SET_GUEST_DEBUG",
    "MCE",
    "VCPU_EVENTS",
    "DEBUGREGS",
    "XSAVE",
    "XCRS",
    "IMMEDIATE_EXIT",
    "X86_USER_SPACE_MSR",
    "X86_MSR_FILTER",
    "SREGS2",
    "VCPU_ATTRIBUTES",
)
_LINUX: Final = "5.16"
# What the worker's local APIC and the machine's topology add.
_OURS: Final = frozenset(("apic", "x2apic", "tsc-deadline", "arat", "ht", "cmp-legacy", "hypervisor"))
# Guests of the guest have state that is not saved, XSAVE areas of more than a page have no room, and KVM's
# own paravirtual leaves are another hypervisor's.
_LEFT_OUT: Final = frozenset(
    name
    for name, place in FEATURES.items()
    if place.word in (FeatureWord.KVM, FeatureWord.KVM_HINTS, FeatureWord.SVM) and name != "kvm-steal-time"
) | frozenset(
    ("vmx", "svm", "mpx", "amx-tile", "amx-bf16", "amx-int8", "xfd", "pks", "arch-lbr", "bus-lock-detect")
)


@register_type("kvm-accel", description="the host's /dev/kvm")
class KvmAccelerator(Accelerator):
    """One KVM VM with one vCPU a process."""

    name: ClassVar[str] = "kvm"
    worker_module: ClassVar[str] = "workers.vcpu"
    # The local APIC and the TSC are the machine's own; the other two KVM does not have.
    default_features: ClassVar[Mapping[str, bool]] = dict.fromkeys(
        ("x2apic", "tsc-deadline", "tsc-adjust", "arat", "kvm-steal-time"), True
    ) | dict.fromkeys(("acpi", "monitor", "svm", "vmx"), False)

    def check(self) -> None:
        """Open `/dev/kvm`, and ask for the version and what is needed of it."""
        # Imported here: no other run needs it.
        from mpvm.abi.kvm.constants import API_VERSION, Cap

        with _open() as system:
            version = system.api_version()
            if version != API_VERSION:
                raise StartError(
                    f"accelerator kvm: /dev/kvm has API version {version}; a kernel with {API_VERSION} "
                    f"is right, {_OR_UNICORN}"
                )
            missing = [name for name in _NEEDED if not system.check_extension(Cap[name])]
            if missing:
                raise StartError(
                    f"accelerator kvm: /dev/kvm lacks KVM_CAP_{', KVM_CAP_'.join(missing)}; Linux {_LINUX} "
                    f"or later is right, {_OR_UNICORN}"
                )

    def supported_features(self) -> frozenset[str]:
        """What KVM_GET_SUPPORTED_CPUID says, and what the machine adds; `StartError` as `check`."""
        with _open() as system:
            leaves = {(entry.function, entry.index): entry for entry in system.supported_cpuid()}

        def read(function: int, subleaf: int) -> tuple[int, int, int, int]:
            leaf = leaves.get((function, subleaf))
            return (0, 0, 0, 0) if leaf is None else (leaf.eax, leaf.ebx, leaf.ecx, leaf.edx)

        return (features_of(read) | _OURS) - _LEFT_OUT

    def max_model(self) -> CpuModel:
        """The host's CPU."""
        from mpvm.cpu.host import host_model

        return self.host_model(host_model())._replace(name="max")


def _open() -> "System":
    from mpvm.abi.kvm.system import DEVICE, System

    try:
        return System.open()
    except OSError as error:
        what = _REMEDIES.get(error.errno or 0, f"can't be opened: {error.strerror}; check it, {_OR_UNICORN}")
        raise StartError(f"accelerator kvm: {DEVICE} {what}") from error
