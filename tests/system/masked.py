"""What QEMU's TCG shows in the CPUID of its model `max` and mpvm's `max` does not, each with the reason.

`test_masked.py` holds the table to what QEMU says; the page of the conformance guests lists it.
"""

from typing import Final

from mpvm.accel.unicorn import UnicornAccelerator
from mpvm.cpu.features import FEATURES
from tests.system.test_cpu_reference import qemu

_NO_VEX: Final = (
    "the engine's translator is QEMU 5.0's and knows no VEX encoding: each such instruction is #UD"
)
_NO_SVM: Final = (
    "the core's own page walk, event delivery and MSRs know no nested guest: each instruction is #UD"
)
_ON_REQUEST: Final = "works, and is there when asked for (+{}): few programs since 2010 look for it"

MASKED: Final = {
    "avx": _NO_VEX,
    "avx2": _NO_VEX,
    "f16c": _NO_VEX,
    "fma": _NO_VEX,
    "vaes": _NO_VEX,
    "svm": _NO_SVM,
    "npt": _NO_SVM,
    "vgif": _NO_SVM,
    "svme-addr-chk": _NO_SVM,
    "mpx": "no part of the state that moves with a vCPU, and nothing uses it any more",
    "monitor": "the engine's MWAIT does not wait for the store that MONITOR names; both are #UD",
    "acpi": "there are no thermal MSRs behind the bit, which QEMU shows without them",
    "pcommit": "was taken out of the architecture before any CPU had it; #UD",
    "erms": "would have guests move memory by REP MOVSB, the engine's slowest loop; REP MOVSB works",
    "3dnow": _ON_REQUEST.format("3dnow"),
    "3dnowext": _ON_REQUEST.format("3dnowext"),
    "mmxext": _ON_REQUEST.format("mmxext"),
    "sse4a": _ON_REQUEST.format("sse4a"),
    "cr8legacy": _ON_REQUEST.format("cr8legacy"),
}


def masked() -> set[str]:
    """The features that QEMU's `max` has and ours has not."""
    with qemu("-machine", "none") as execute:
        expansion = execute("query-cpu-model-expansion", type="full", model={"name": "max"})
    theirs = {name for name in FEATURES if expansion["model"]["props"].get(name) is True}
    return theirs - UnicornAccelerator().max_model().features


def section() -> str:
    """The part of the page that lists them."""
    lines = ["## Masked from CPUID", "", "What QEMU 7.2's `-cpu max` has under TCG and mpvm's has not:", ""]
    lines += ["| feature | why |", "|---|---|"]
    lines += [f"| `{name}` | {why} |" for name, why in MASKED.items()]
    return "\n".join([*lines, ""])
