"""5-level paging: 57-bit linear addresses (SDM vol. 3, 4.5.4)."""

from collections.abc import Callable

import pytest

from tests.unit.engine.long_mode import CR4_PAE, NX, PS, TABLES, A, LongModeMachine, P, W
from tests.unit.engine.real_mode import RealModeMachine

PF, GP = 14, 13
PRESENT, RESERVED, FETCH = 1, 8, 16
CR4_LA57 = 1 << 12
PML5, PML4, PDPT = 0xF0000, 0xF1000, 0xF2000
# 0x12 in the topmost table, 0x34 in the next, then a page of 1 GiB.
HIGH = 0x12 << 48 | 0x34 << 39


def boot_5_levels(machine: LongModeMachine, source: str, pml5e: int = PML4 | P | W) -> None:
    """`source` with the usual map below, and 1 GiB from physical 0 on at HIGH."""
    machine.build_tables()
    machine.program = machine.place(source, 64, 0x10000)
    machine.store(PML5, TABLES | P | W | 4, 8)
    machine.store(PML5 + 8 * 0x12, pml5e, 8)
    machine.store(PML4 + 8 * 0x34, PDPT | P | W, 8)
    machine.store(PDPT, P | W | PS, 8)
    machine.start(machine.initial_state().replace(cr3=PML5, cr4=CR4_PAE | CR4_LA57))


def test_the_top_level_translates_and_is_marked(long_mode: LongModeMachine) -> None:
    boot_5_levels(long_mode, f"movabsq ${HIGH | 0x30010:#x}, %rsi; movl (%rsi), %ebx; done")
    long_mode.store(0x30010, 0x600D, 4)
    assert long_mode.finish().rbx == 0x600D
    assert long_mode.load(PML5 + 8 * 0x12, 8) == PML4 | P | W | A


@pytest.mark.parametrize(
    ("pml5e", "code"),
    [(PML4, 0), (PML4 | P | W | PS, PRESENT | RESERVED), (PML4 | P | W | 1 << 40, PRESENT | RESERVED)],
    ids=["absent", "PS", "beyond MAXPHYADDR"],
)
def test_a_bad_entry_of_the_top_level_is_a_page_fault(
    long_mode: LongModeMachine, pml5e: int, code: int
) -> None:
    boot_5_levels(long_mode, f"movabsq ${HIGH:#x}, %rsi; movl (%rsi), %ebx; done", pml5e)
    event = long_mode.event()
    assert (event.vector, event.error_code, event.cr2) == (PF, code, HIGH)
    assert long_mode.load(PML5 + 8 * 0x12, 8) == pml5e, "not accessed"


def test_nx_of_the_top_level_holds_for_all_below(long_mode: LongModeMachine) -> None:
    boot_5_levels(long_mode, f"movabsq ${HIGH:#x}, %rsi; jmp *%rsi", PML4 | P | W | NX)
    event = long_mode.event()
    assert (event.vector, event.error_code) == (PF, PRESENT | FETCH)


@pytest.mark.parametrize("address", [1 << 56, (1 << 64) - (1 << 57), 0xAAAAAAAAAAAAAAAA])
def test_addresses_have_57_bits(long_mode: LongModeMachine, address: int) -> None:
    boot_5_levels(long_mode, f"movabsq ${address:#x}, %rsi; movl (%rsi), %ebx; done")
    event = long_mode.event()
    assert (event.vector, event.error_code) == (GP, 0)


@pytest.mark.parametrize("address", [(1 << 56) - 4096, (1 << 64) - (1 << 56), 1 << 47])
def test_addresses_of_57_bits_are_canonical(long_mode: LongModeMachine, address: int) -> None:
    boot_5_levels(long_mode, f"movabsq ${address:#x}, %rsi; movl (%rsi), %ebx; done")
    event = long_mode.event()
    assert (event.vector, event.error_code, event.cr2) == (PF, 0, address)


@pytest.mark.parametrize("before", [0, CR4_LA57])
def test_la57_can_not_change_in_long_mode(long_mode: LongModeMachine, before: int) -> None:
    boot_5_levels(long_mode, f"movl ${CR4_PAE | before ^ CR4_LA57}, %eax; at: movq %rax, %cr4; done")
    state = long_mode.initial_state()
    long_mode.start(state.replace(cr3=PML5 if before else TABLES, cr4=CR4_PAE | before))
    event = long_mode.event()
    assert (event.vector, event.error_code, event.rip) == (GP, 0, long_mode.label("at"))
    assert long_mode.pause().cr4 == CR4_PAE | before


def test_la57_can_change_outside_long_mode(real_mode: RealModeMachine) -> None:
    real_mode.boot(f"movl ${CR4_LA57}, %eax; movl %eax, %cr4; movl %cr4, %ebx; done")
    assert real_mode.finish().rbx == CR4_LA57


def test_la57_is_reserved_where_the_cpu_lacks_it(make_long_mode: Callable[..., LongModeMachine]) -> None:
    machine = make_long_mode(model="max,-la57")
    machine.boot("xorl %eax, %eax; movq %rax, %cr4; done", cr4=CR4_PAE)
    assert machine.event().vector == GP
