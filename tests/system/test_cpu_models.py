"""What a guest finds its CPUs to be: the table's models in the topology that was asked for, and QEMU's."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from mpvm.abi.errors import ExitStatus
from mpvm.accel.unicorn import UnicornAccelerator
from mpvm.cpu.cpuid import TIMING_LEAF, XSAVE_HEADER_END, CpuidEntry, cpuid_entries
from mpvm.cpu.features import FEATURES, WORD_SOURCES, CpuidRegister
from mpvm.cpu.models import AMD_VENDORS, CpuModel
from mpvm.cpu.resolve import resolve_model
from mpvm.cpu.topology import Topology, topology
from tests.system import linux, litmus, reference
from tests.system.cpuid import Dump, parse
from tests.system.runner import Launcher

_UNICORN = UnicornAccelerator()
_TWELVE = "12,sockets=2,cores=3,threads=2"
_TOPOLOGIES: Final = {
    "1": topology(1),
    "4": topology(4),
    _TWELVE: topology(12, sockets=2, cores=3, threads=2),
    "8,dies=2,threads=2": topology(8, dies=2, threads=2),
}
_REGISTERS: Final = ("EAX", "EBX", "ECX", "EDX")


def dumps_of(launch: Launcher, image: Path, model: str, smp: str) -> list[Dump]:
    run = launch.run(
        *("run", "--quiet", "--isa-debug-exit", "--timeout", "100", "--kernel", image),
        *("--smp", smp, "--cpu", f"{model},check=off"),
    )
    assert run.status == litmus.PASSED, run
    return parse(run.console)


def expected(model: CpuModel, arranged: Topology, index: int, tsc_khz: int) -> Iterator[CpuidEntry]:
    """The table's entries as they are with XCR0 at its reset value and no bit of CR4 that CPUID shows."""
    for entry in cpuid_entries(model, arranged, index, tsc_khz):
        if (entry.function, entry.subleaf) == (0xD, 0):
            yield entry._replace(ebx=XSAVE_HEADER_END)
        else:
            yield entry


@pytest.mark.parametrize(
    ("name", "smp"),
    [
        ("max", _TWELVE),
        ("qemu64", "1"),
        ("SandyBridge", "4"),
        ("Icelake-Server-v4,l3-cache=off", "8,dies=2,threads=2"),
        ("EPYC-Milan,-x2apic,stepping=3,model-id=A CPU", _TWELVE),
        ("host", "4"),
    ],
)
def test_every_cpu_is_what_the_table_says_where_the_topology_has_it(
    launch: Launcher, images: dict[str, Path], name: str, smp: str
) -> None:
    arranged, model = _TOPOLOGIES[smp], resolve_model(name, _UNICORN)
    dumps = dumps_of(launch, images["cpuid"], name, smp)
    assert [dump.apic_id for dump in dumps] == list(arranged.apic_ids)
    tsc_khz, *_ = dumps[0].leaf(TIMING_LEAF)
    for index, dump in enumerate(dumps):
        entries = {
            (entry.function, entry.subleaf): entry[3:] for entry in expected(model, arranged, index, tsc_khz)
        }
        assert {key: dump.leaf(*key) for key in entries} == entries
        rest = {
            key: registers for key, registers in dump.printed.items() if key not in entries and any(registers)
        }
        assert rest == {}, "leaves that nobody asked for"


class Difference(NamedTuple):
    """Where we answer other than QEMU 7.2, and why. `bits` None: the whole register."""

    vendor: str
    function: int
    registers: str
    bits: int | None
    reason: str


_INTEL, _AMD, _ALL = "GenuineIntel", "AuthenticAMD", ""
_DIFFERENCES: Final = (
    Difference(
        _ALL, 1, "EBX", 0xFF << 16, "SDM: the number of IDs set aside, a power of two; QEMU counts vCPUs"
    ),
    Difference(_INTEL, 2, "EAX EBX ECX EDX", None, "leaf 4 says it; QEMU's descriptors are of other caches"),
    Difference(
        _INTEL, 4, "EAX", 0x3F << 26, "SDM: IDs set aside for cores, a power of two; QEMU counts cores"
    ),
    Difference(
        _INTEL, 4, "EAX", 0xFFF << 14, "threads of a core share its caches; in QEMU's each has its own"
    ),
    Difference(_ALL, 5, "ECX", None, "QEMU describes MONITOR where it has none"),
    Difference(_ALL, 0xD, "EAX EBX ECX", None, "the components that come with AVX, which is not here"),
    Difference(_INTEL, 0x80000000, "EBX ECX EDX", None, "SDM: reserved; QEMU repeats the vendor"),
    Difference(_INTEL, 0x80000001, "EAX", None, "SDM: reserved; QEMU repeats the signature"),
    Difference(_INTEL, 0x80000005, "EAX EBX ECX EDX", None, "SDM: reserved; QEMU describes AMD's caches"),
    Difference(_INTEL, 0x80000006, "EBX ECX EDX", None, "as leaf 4; QEMU describes AMD's caches"),
    Difference(_INTEL, 0x80000008, "ECX", None, "SDM: reserved; QEMU counts as AMD's CPUs do"),
    Difference(_AMD, 0x8000000A, "EAX EBX EDX", None, "QEMU describes SVM where it has none"),
    Difference(_AMD, 0x8000001D, "EAX", 1 << 8, "QEMU's L2 does not initialize itself"),
)
_WARNED: Final = re.compile(r"TCG doesn't support requested feature: CPUID\.\w+:\w+\.(\S+) \[bit \d+\]")
_HYPERVISOR_LEAVES: Final = range(0x40000000, 0x50000000)


def feature_registers() -> dict[CpuidRegister, dict[int, str]]:
    """The names of the bits of every register of features."""
    words: dict[CpuidRegister, dict[int, str]] = {}
    for name, (word, bit) in FEATURES.items():
        source = WORD_SOURCES[word]
        if isinstance(source, CpuidRegister):
            words.setdefault(source, {})[bit] = name
    return words


def explained(vendor: str, function: int, register: int) -> int:
    """The bits of a register that one of `_DIFFERENCES` is about."""
    bits = 0
    for difference in _DIFFERENCES:
        here = difference.function == function and difference.vendor in ("", vendor)
        if here and _REGISTERS[register] in difference.registers.split():
            bits |= 0xFFFFFFFF if difference.bits is None else difference.bits
    return bits


@pytest.mark.parametrize(
    ("name", "smp"), [("Haswell", _TWELVE), ("EPYC-Rome", _TWELVE), ("qemu64", "4"), ("Nehalem", "4")]
)
def test_a_model_is_qemus_but_for_what_is_known(
    launch: Launcher, images: dict[str, Path], name: str, smp: str
) -> None:
    image = images["cpuid"]
    model = resolve_model(name, _UNICORN)
    dumps = dumps_of(launch, image, name, smp)
    options = (*reference.image(image), "-cpu", name, "-smp", smp, *reference.ISA_DEBUG_EXIT)
    run = reference.run(len(dumps), "128M", *options, seconds=100)
    assert run.status == litmus.PASSED, run
    # A feature that one of the two accelerators lacks or switches is no difference of the models.
    lacking = {name for name, _ in model.unavailable} | _UNICORN.default_features.keys()
    lacking |= set(_WARNED.findall(run.messages)) | {"topoext"}
    names = feature_registers()
    vendor = _AMD if model.vendor in AMD_VENDORS else model.vendor
    found = []
    for ours, theirs in zip(dumps, parse(run.console), strict=True):
        assert ours.apic_id == theirs.apic_id
        for function, subleaf in sorted(ours.printed.keys() | theirs.printed.keys()):
            if function in _HYPERVISOR_LEAVES:
                continue
            for register, pair in enumerate(
                zip(ours.leaf(function, subleaf), theirs.leaf(function, subleaf), strict=True)
            ):
                bits = (pair[0] ^ pair[1]) & ~explained(vendor, function, register)
                place = CpuidRegister(function, subleaf if function in (7, 0xD) else None, register)
                for bit, feature in names.get(place, {}).items():
                    if feature in lacking:
                        bits &= ~(1 << bit)
                if bits:
                    found.append(f"{function:#x}.{subleaf} {_REGISTERS[register]}: {pair[0]:#x} {pair[1]:#x}")
    assert found == []


def test_what_is_left_out_is_told_in_one_line_and_enforce_refuses_it(
    launch: Launcher, images: dict[str, Path]
) -> None:
    words = ("run", "--quiet", "--isa-debug-exit", "--timeout", "100", "--kernel", images["cpuid"], "--cpu")
    lacking = "unicorn doesn't support avx (CPUID.01H:ECX)"
    told = launch.run(*words, "SandyBridge")
    assert told.status == litmus.PASSED, told
    assert told.messages == f"mpvm: warning: CPU SandyBridge: {lacking}; `mpvm cpu show` says more\n"
    refused = launch.run(*words, "SandyBridge,enforce")
    assert refused.status == ExitStatus.BAD_CONFIGURATION
    assert refused.messages.startswith(f"mpvm: cpu.model: {lacking}; without")
    assert refused.messages.count("\n") == 1
    assert launch.run(*words, "SandyBridge,-avx,enforce").messages == ""


def test_interrupts_find_cpus_whose_apic_ids_have_gaps(launch: Launcher, images: dict[str, Path]) -> None:
    options = ("--smp", "6,sockets=2,cores=3", "--timeout", "200", "--isa-debug-exit")
    run = launch.run("run", "--quiet", *options, "--kernel", images["interrupts"])
    assert run.status == litmus.PASSED, run


def test_linux_finds_the_topology_that_was_asked_for(launch: Launcher) -> None:
    arranged = _TOPOLOGIES[_TWELVE]
    words = linux.arguments("topology", 12, seconds=200)
    run = launch.run("run", "--quiet", *words, "--smp", _TWELVE, "--cpu", "max", seconds=400)
    assert run.status == 0, run
    assert linux.trouble(run.console) == []
    found = [line.split()[1:] for line in run.console.splitlines() if line.startswith("topology: ")]
    assert len(found) == 12, run
    for index, (cpu, package, die, core, apic_id, siblings, *caches) in enumerate(found):
        place = arranged.place(index)
        first = index - place.thread
        last_cache = f"3:{place.socket * 6}-{place.socket * 6 + 5}"
        assert (int(cpu), int(package), int(die), int(core)) == (index, place.socket, place.die, place.core)
        assert int(apic_id) == arranged.apic_id(index)
        assert siblings == f"{first}-{first + 1}"
        assert caches == [*[f"{level}:{first}-{first + 1}" for level in (1, 1, 2)], last_cache]
