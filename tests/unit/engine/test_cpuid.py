"""CPUID from the coordinator's table, and what in it follows the CPU's state (SDM vol. 2, CPUID)."""

import pytest

from mpvm.abi.layout import CpuidEntry
from mpvm.cpu.state import CpuState
from tests.unit.engine.long_mode import CR4_OSXSAVE, CR4_PAE, LongModeMachine

OSXSAVE, OSPKE = 1 << 27, 1 << 4
CR4_PKE = 1 << 22
INDEXED = 1


def cpuid(
    machine: LongModeMachine, function: int, index: int = 0, **registers: int
) -> tuple[int, int, int, int]:
    machine.boot(f"movl ${function:#x}, %eax; movl ${index}, %ecx; cpuid; done", **registers)
    state: CpuState = machine.finish()
    return state.rax, state.rbx, state.rcx, state.rdx


def table(machine: LongModeMachine, *entries: CpuidEntry) -> None:
    for number, entry in enumerate(entries):
        machine.area.cpuid[number] = entry
    machine.area.cpuid_count = len(entries)


def test_every_entry_of_the_table_is_what_the_guest_gets(long_mode: LongModeMachine) -> None:
    for number in range(long_mode.area.cpuid_count):
        entry = long_mode.area.cpuid[number]
        if entry.function in (1, 7, 0xD):
            continue
        got = cpuid(long_mode, entry.function, entry.index)
        assert got == (entry.eax, entry.ebx, entry.ecx, entry.edx), hex(entry.function)


def test_the_answer_is_zero_extended(long_mode: LongModeMachine) -> None:
    long_mode.boot("movq $-1, %rbx; movq $-1, %rdx; movq $-1, %rcx; xorl %eax, %eax; cpuid; done")
    state = long_mode.finish()
    assert max(state.rax, state.rbx, state.rcx, state.rdx) < 1 << 32


def test_a_subleaf_is_chosen_by_ecx(long_mode: LongModeMachine) -> None:
    table(
        long_mode,
        CpuidEntry(function=0, eax=0xB),
        CpuidEntry(function=0xB, index=0, flags=INDEXED, eax=1, ebx=2),
        CpuidEntry(function=0xB, index=1, flags=INDEXED, eax=3, ebx=4),
    )
    assert cpuid(long_mode, 0xB, 0) == (1, 2, 0, 0)
    assert cpuid(long_mode, 0xB, 1) == (3, 4, 0, 0)


def test_a_subleaf_beyond_the_last_level_of_the_topology_tells_itself_and_the_apic_id(
    long_mode: LongModeMachine,
) -> None:
    table(
        long_mode,
        CpuidEntry(function=0, eax=0x1F),
        CpuidEntry(function=0x1F, index=0, flags=INDEXED, eax=1, ebx=2, edx=5),
    )
    long_mode.area.apic_id = 5
    assert cpuid(long_mode, 0x1F, 1) == (0, 0, 1, 5)
    assert cpuid(long_mode, 0x1F, 0x307) == (0, 0, 7, 5)
    assert cpuid(long_mode, 0xB, 0) == (0, 0, 0, 0), "there is no such leaf"


def test_a_leaf_without_subleaves_does_not_look_at_ecx(long_mode: LongModeMachine) -> None:
    table(long_mode, CpuidEntry(function=0, eax=2, ebx=7))
    assert cpuid(long_mode, 0, 0x12345) == (2, 7, 0, 0)


def test_a_leaf_within_the_range_that_has_no_entry_is_all_zeros(long_mode: LongModeMachine) -> None:
    table(long_mode, CpuidEntry(function=0, eax=5), CpuidEntry(function=5, eax=1, ebx=2, ecx=3, edx=4))
    assert cpuid(long_mode, 3) == (0, 0, 0, 0)


@pytest.mark.parametrize("function", [6, 0x10000, 0x40000005, 0x80000009, 0xFFFFFFFF])
def test_a_leaf_beyond_the_last_is_the_last_basic_one(long_mode: LongModeMachine, function: int) -> None:
    table(
        long_mode,
        CpuidEntry(function=0, eax=5),
        CpuidEntry(function=5, eax=1, ebx=2, ecx=3, edx=4),
        CpuidEntry(function=0x40000000, eax=0x40000001),
        CpuidEntry(function=0x80000000, eax=0x80000008),
    )
    assert cpuid(long_mode, function) == (1, 2, 3, 4)


def test_osxsave_follows_cr4(long_mode: LongModeMachine) -> None:
    off = cpuid(long_mode, 1, cr4=CR4_PAE)
    on = cpuid(long_mode, 1, cr4=CR4_PAE | CR4_OSXSAVE)
    assert (off[2] & OSXSAVE, on[2]) == (0, off[2] | OSXSAVE)


def test_osxsave_follows_cr4_at_once(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"""
        movl $1, %eax; cpuid; movl %ecx, %esi
        movq %cr4, %rax; orl ${CR4_OSXSAVE}, %eax; movq %rax, %cr4
        movl $1, %eax; cpuid
        done
    """)
    state = long_mode.finish()
    assert state.rcx == state.rsi | OSXSAVE != state.rsi


def test_ospke_follows_cr4(long_mode: LongModeMachine) -> None:
    off = cpuid(long_mode, 7, cr4=CR4_PAE)
    on = cpuid(long_mode, 7, cr4=CR4_PAE | CR4_PKE)
    assert off[2] & 1 << 3, "the model has PKU"
    assert (off[2] & OSPKE, on[2]) == (0, off[2] | OSPKE)


def test_the_size_of_the_xsave_area_follows_xcr0(long_mode: LongModeMachine) -> None:
    long_mode.boot("""
        movq %cr4, %rax; orl $0x40000, %eax; movq %rax, %cr4
        movl $0xd, %eax; xorl %ecx, %ecx; cpuid
        movl %ebx, %esi
        movl %eax, %edi
        xorl %ecx, %ecx; movl %edi, %eax; xorl %edx, %edx; xsetbv
        movl $0xd, %eax; xorl %ecx, %ecx; cpuid
        done
    """)
    entry = next(e for e in long_mode.area.cpuid if e.function == 0xD and e.index == 0)
    state = long_mode.finish()
    assert state.rsi == 576
    assert state.rbx == entry.ecx


def test_the_apic_id_is_that_of_the_vcpu(long_mode: LongModeMachine) -> None:
    assert cpuid(long_mode, 1)[1] >> 24 == 0
    for number in range(long_mode.area.cpuid_count):
        long_mode.area.cpuid[number] = long_mode.other.cpuid[number]
    assert cpuid(long_mode, 1)[1] >> 24 == 1


def test_cpuid_works_for_programs_too(long_mode: LongModeMachine) -> None:
    long_mode.boot("xorl %eax, %eax; cpuid; int $0x80", cpl=3)
    assert long_mode.event().vector == 0x80
