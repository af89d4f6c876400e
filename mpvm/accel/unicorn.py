"""The `unicorn` accelerator: QEMU's TCG from the unicorn wheel, completed by workers/engine.

What its model `max` is, and why. Its features are all that the engine executes (QEMU 5.0's TCG, target/i386:
the masks TCG_* in cpu.c, and what translate.c and its helpers do) but for those that make it slower
(`ERMS` selects byte-wise string loops, which are the engine's slowest), that nobody asks for
(3DNow!, SSE4A, the AMD form of CR8), or that it has in name only (`MONITOR` never waits, `PCOMMIT` is gone
from the architecture, `MPX` and `SVM` are left to a later time).

Its vendor is Intel since only there Linux takes the TSC's frequency from leaf 0x15 instead of
measuring it against the PIT for tens of milliseconds. Its version is that of an in-order core
(family 6, model 0x36, the first Atoms' last): Linux has such cores on its list of CPUs that do not
speculate, which is true of an engine that translates, and leaves out page-table isolation and
retpolines. These could protect nothing here: how translated code is speculated on is up to the
host's code, not to the guest's. Of the MSRs that Linux touches on such a CPU the worker has
IA32_MISC_ENABLE and IA32_BIOS_SIGN_ID, and Linux takes the #GP of the others (IA32_FEAT_CTL,
MSR_PLATFORM_INFO) for their absence; IA32_ARCH_CAPABILITIES is one of these, so its flag is off.
"""

import importlib.util
from collections.abc import Mapping
from typing import ClassVar, Final

from mpvm.abi.errors import StartError
from mpvm.accel.base import Accelerator
from mpvm.cpu.models import VENDOR_INTEL, CpuModel
from mpvm.qom.type_info import register_type


def _named(names: str) -> frozenset[str]:
    return frozenset(names.split())


# What the engine's translator and the worker around it can do, and (topoext and on) what only CPUID has.
ENGINE_FEATURES: Final = _named(
    "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 ss"
    " pni pclmulqdq ssse3 cx16 sse4.1 sse4.2 x2apic movbe popcnt tsc-deadline aes xsave rdrand hypervisor"
    " fsgsbase bmi1 smep bmi2 erms rdseed adx smap clflushopt clwb umip pku la57 pks"
    " syscall nx mmxext pdpe1gb rdtscp lm 3dnowext 3dnow lahf-lm cr8legacy abm sse4a 3dnowprefetch"
    " tsc-adjust invtsc xsaveopt xgetbv1 arat kvm-steal-time"
    " topoext ht cmp-legacy"
)

_MAX_LEAVES_OUT: Final = _named("erms 3dnow 3dnowext mmxext sse4a cr8legacy topoext ht cmp-legacy")


@register_type("unicorn-accel", description="the unicorn wheel's TCG, made whole by the engine core")
class UnicornAccelerator(Accelerator):
    """Runs anywhere; the worker's self-test checks the wheel's version."""

    name: ClassVar[str] = "unicorn"
    worker_module: ClassVar[str] = "workers.vcpu"
    # The machine's local APIC has x2APIC mode and a TSC-deadline timer that never stops, and its TSC runs at
    # one rate and can be adjusted. Guests are told of stolen time as by KVM. What is off the engine lacks,
    # and no guest misses.
    default_features: ClassVar[Mapping[str, bool]] = dict.fromkeys(
        ("x2apic", "tsc-deadline", "tsc-adjust", "arat", "invtsc", "kvm-steal-time"), True
    ) | dict.fromkeys(("vme", "acpi", "monitor", "svm"), False)

    phys_bits: ClassVar[int | None] = 40

    def check(self) -> None:
        """The package must be there; it is imported by the workers only."""
        if importlib.util.find_spec("unicorn") is None:
            raise StartError(
                "accelerator unicorn: the package unicorn is not installed, `pip install mpvm` brings it"
            )

    def supported_features(self) -> frozenset[str]:
        """The same on every host."""
        return ENGINE_FEATURES

    def max_model(self) -> CpuModel:
        """See the module's text."""
        return CpuModel(
            name="max",
            vendor=VENDOR_INTEL,
            family=6,
            model=0x36,
            stepping=1,
            level=0x16,
            xlevel=0x80000008,
            model_id="mpvm max CPU",
            features=ENGINE_FEATURES - _MAX_LEAVES_OUT,
        )
