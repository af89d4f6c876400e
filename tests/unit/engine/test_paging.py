"""The page walk: faults, rights, accessed and dirty bits, page sizes (SDM vol. 3, chapter 4)."""

import pytest

from mpvm.abi import layout
from mpvm.cpu.state import AR_CODE32, AR_DATA32, DescriptorTableState, SegmentState, reset_state
from tests.unit.engine.long_mode import (
    CR0_PE,
    CR0_PG,
    CR0_WP,
    CR4_PAE,
    DATA,
    EFER_LMA,
    EFER_LME,
    EFER_SCE,
    NX,
    PS,
    STACK_TOP,
    USER_DATA,
    A,
    D,
    G,
    LongModeMachine,
    P,
    U,
    W,
)
from tests.unit.engine.machine import Machine
from tests.unit.engine.real_mode import RealModeMachine

PF, GP, SS = 14, 13, 12
# Bits of the error code.
PRESENT, WRITE, USER, RESERVED, FETCH = 1, 2, 4, 8, 16
LOAD, STORE = f"movl {DATA:#x}, %eax", f"movl %eax, {DATA:#x}"
USER_LOAD, USER_STORE = f"movl {USER_DATA:#x}, %eax", f"movl %eax, {USER_DATA:#x}"
CF = 1
CR4_PSE, CR4_PGE, CR4_SMEP, CR4_SMAP = 1 << 4, 1 << 7, 1 << 20, 1 << 21


def remap(machine: LongModeMachine, address: int, flags: int) -> None:
    """Give an identity-mapped page other flags."""
    machine.store(machine.entry(address), address & ~0xFFF | flags, 8)


@pytest.mark.parametrize(
    ("flags", "instruction", "code"),
    [
        (0, LOAD, 0),
        (0, STORE, WRITE),
        (P, STORE, PRESENT | WRITE),
        (P | W | 1 << 51, LOAD, PRESENT | RESERVED),
        (P | W | 1 << 51, STORE, PRESENT | RESERVED | WRITE),
    ],
)
def test_a_kernels_fault_has_its_code_address_and_rip(
    long_mode: LongModeMachine, flags: int, instruction: str, code: int
) -> None:
    long_mode.boot(f"nop; at: {instruction}; done")
    remap(long_mode, DATA, flags)
    event = long_mode.event()
    assert (event.vector, event.error_code, event.cr2) == (PF, code, DATA)
    assert event.rip == long_mode.label("at")


@pytest.mark.parametrize(
    ("flags", "instruction", "code"),
    [
        (0, USER_LOAD, USER),
        (0, USER_STORE, USER | WRITE),
        (P | W, USER_LOAD, PRESENT | USER),
        (P | W, USER_STORE, PRESENT | USER | WRITE),
        (P | U, USER_STORE, PRESENT | USER | WRITE),
        (P | W | U | 1 << 45, USER_LOAD, PRESENT | USER | RESERVED),
    ],
)
def test_a_programs_fault_says_user(
    long_mode: LongModeMachine, flags: int, instruction: str, code: int
) -> None:
    long_mode.boot(f"{instruction}; hlt", cpl=3)
    remap(long_mode, USER_DATA, flags)
    event = long_mode.event()
    assert (event.vector, event.error_code, event.cr2) == (PF, code, USER_DATA)


def test_a_fetch_from_a_page_with_nx_is_a_fault_with_the_fetch_bit(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"movl ${DATA}, %eax; jmp *%rax")
    remap(long_mode, DATA, P | W | NX)
    event = long_mode.event()
    assert (event.vector, event.error_code, event.cr2, event.rip) == (PF, PRESENT | FETCH, DATA, DATA)


def test_a_fetch_from_a_page_that_is_not_there_is_a_fault_with_the_fetch_bit(
    long_mode: LongModeMachine,
) -> None:
    long_mode.boot(f"movl ${DATA}, %eax; jmp *%rax")
    remap(long_mode, DATA, 0)
    event = long_mode.event()
    assert (event.vector, event.error_code, event.cr2, event.rip) == (PF, FETCH, DATA, DATA)


def test_nx_in_an_upper_level_holds_for_all_below(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"movl ${4 << 20}, %eax; jmp *%rax")
    at = long_mode.entry(4 << 20, 2)
    long_mode.store(at, long_mode.load(at, 8) | NX, 8)
    event = long_mode.event()
    assert (event.vector, event.error_code, event.cr2) == (PF, PRESENT | FETCH, 4 << 20)


def test_nx_is_a_reserved_bit_without_nxe(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{LOAD}; done", efer=EFER_LME | EFER_LMA | EFER_SCE)
    remap(long_mode, DATA, P | W | NX)
    event = long_mode.event()
    assert (event.vector, event.error_code) == (PF, PRESENT | RESERVED)


def test_a_page_with_nx_can_be_read_and_written(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"movl $7, {DATA:#x}; movl {DATA:#x}, %ebx; done")
    remap(long_mode, DATA, P | W | NX)
    assert long_mode.finish().rbx == 7


def test_the_kernel_may_write_to_read_only_pages_without_wp(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"movl $7, {DATA:#x}; done", cr0=CR0_PE | CR0_PG | 0x10)
    remap(long_mode, DATA, P)
    long_mode.finish()
    assert long_mode.load(DATA, 4) == 7


def test_setting_wp_takes_effect_at_once(long_mode: LongModeMachine) -> None:
    long_mode.boot(
        f"movl $7, {DATA:#x}; movq %cr0, %rax; orl ${CR0_WP}, %eax; movq %rax, %cr0; {STORE}; done",
        cr0=CR0_PE | CR0_PG | 0x10,
    )
    remap(long_mode, DATA, P)
    event = long_mode.event()
    assert (event.vector, event.error_code) == (PF, PRESENT | WRITE)


def test_rights_are_those_that_all_levels_give(long_mode: LongModeMachine) -> None:
    long_mode.boot("movl 0x50000000, %eax; movl %eax, 0x50000000; hlt", cpl=3)
    long_mode.map(0x50000000, USER_DATA, P | W | U)
    at = long_mode.entry(0x50000000, 2)
    long_mode.store(at, long_mode.load(at, 8) & ~W, 8)
    event = long_mode.event()
    assert (event.vector, event.error_code) == (PF, PRESENT | WRITE | USER)


def test_a_load_sets_accessed_and_not_dirty(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{LOAD}; done")
    long_mode.finish()
    assert long_mode.flags(DATA) == P | W | A
    for level in (2, 3, 4):
        assert long_mode.flags(DATA, level) & (A | D) == A


def test_a_store_sets_accessed_and_dirty(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{STORE}; done")
    long_mode.finish()
    assert long_mode.flags(DATA) == P | W | A | D


def test_a_store_after_a_load_sets_dirty(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{LOAD}; mark; {STORE}; done")
    long_mode.mark()
    assert long_mode.flags(DATA) == P | W | A
    long_mode.finish()
    assert long_mode.flags(DATA) == P | W | A | D


def test_a_fetch_sets_accessed_only(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"movl ${DATA}, %eax; call *%rax; done")
    long_mode.place("ret", 64, DATA)
    long_mode.finish()
    assert long_mode.flags(DATA) == P | W | A


def test_a_large_page_has_accessed_and_dirty_in_its_directory_entry(long_mode: LongModeMachine) -> None:
    long_mode.boot("movl 0x400000, %eax; movl %eax, 0x600000; done")
    long_mode.finish()
    assert long_mode.flags(0x400000, 2) & (A | D | PS) == A | PS
    assert long_mode.flags(0x600000, 2) & (A | D | PS) == A | D | PS


def test_a_page_that_nobody_touches_stays_as_it_is(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{STORE}; done")
    long_mode.finish()
    assert long_mode.flags(DATA + 0x1000) == P | W
    assert long_mode.flags(DATA - 0x1000) == P | W
    assert not long_mode.flags(0x400000, 2) & (A | D)


def test_an_access_that_faults_sets_no_bit_in_the_leaf(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{STORE}; done")
    remap(long_mode, DATA, P)
    assert long_mode.event().vector == PF
    assert long_mode.flags(DATA) == P


HOLE = 0xA0000
FAR = 0x50000000


def with_table_at(machine: LongModeMachine, table: int, source: str) -> None:
    """Boot `source` with a page table at physical `table` for the 2 MiB from FAR on."""
    machine.boot(source)
    machine.entry(FAR, create=True)
    machine.store(machine.entry(FAR, 2), table | P | W, 8)


@pytest.mark.parametrize("table", [HOLE, 0x8000000000], ids=["a hole", "beyond all memory"])
def test_a_page_table_that_nobody_has_reads_as_ones(long_mode: LongModeMachine, table: int) -> None:
    """Which are present, with reserved bits set."""
    with_table_at(long_mode, table, f"movl {FAR:#x}, %eax; done")
    event = long_mode.event()
    assert (event.vector, event.error_code, event.cr2) == (PF, PRESENT | RESERVED, FAR)


def test_a_page_table_in_rom_translates_and_is_not_marked(long_mode: LongModeMachine) -> None:
    with_table_at(long_mode, HOLE, f"movl {FAR:#x}, %ebx; movl $7, {FAR:#x}; done")
    slot = layout.MemorySlot(gpa=HOLE, size=0x1000, offset=HOLE, flags=layout.SlotFlag.READONLY)
    long_mode.vm.slot[2], long_mode.vm.slot_count = slot, 3
    long_mode.vm.memory_generation += 1
    long_mode.store(HOLE, DATA | P | W, 8)
    long_mode.store(DATA, 0x600D, 4)
    assert long_mode.finish().rbx == 0x600D
    assert long_mode.load(DATA, 4) == 7
    assert long_mode.load(HOLE, 8) == DATA | P | W


def test_dirty_is_set_again_after_it_was_cleared_and_the_tlb_flushed(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{STORE}; mark; invlpg {DATA:#x}; {STORE}; done")
    long_mode.mark()
    remap(long_mode, DATA, P | W)
    long_mode.finish()
    assert long_mode.flags(DATA) == P | W | A | D


@pytest.mark.parametrize("flush", [f"invlpg {DATA:#x}", "movq %cr3, %rcx; movq %rcx, %cr3"])
def test_a_changed_entry_is_used_after_a_flush(long_mode: LongModeMachine, flush: str) -> None:
    long_mode.boot(f"movl {DATA:#x}, %eax; mark; {flush}; movl {DATA:#x}, %ebx; done")
    long_mode.store(DATA, 1, 4)
    long_mode.store(DATA + 0x1000, 2, 4)
    long_mode.mark()
    long_mode.map(DATA, DATA + 0x1000, P | W)
    state = long_mode.finish()
    assert (state.rax, state.rbx) == (1, 2)


def test_an_entry_that_became_present_needs_no_flush(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{LOAD}; done")
    remap(long_mode, DATA, 0)
    long_mode.store(DATA, 0x77, 4)
    assert long_mode.event().vector == PF
    remap(long_mode, DATA, P)
    assert long_mode.finish().rax == 0x77


def test_an_entry_that_allows_more_than_the_tlb_needs_no_flush(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{LOAD}; {STORE}; done")
    remap(long_mode, DATA, P)
    assert long_mode.event().error_code == PRESENT | WRITE
    remap(long_mode, DATA, P | W)
    long_mode.finish()


@pytest.mark.parametrize("before", ["stc", "movl $-1, %edx; addl $2, %edx"], ids=["known", "pending"])
@pytest.mark.parametrize(
    ("instruction", "result", "carry"),
    [
        ("rcll {at}", 0x22446689, 0),
        ("rcrl {at}", 0x889119A2, 0),
        ("rclb $3, {at}", 0x11223325, 0),
        ("rcrw $17, {at}", 0x11223344, 1),
        ("rclq %cl, {at}", 0x11223344 << 4 | 8, 0),
    ],
)
def test_a_rotation_through_carry_whose_store_faults_has_changed_nothing(
    long_mode: LongModeMachine, instruction: str, result: int, carry: int, before: str
) -> None:
    """As a kernel sees it that copies on writing: the load is right, the store is not, and then both are."""
    source = instruction.format(at=f"{DATA:#x}")
    long_mode.boot(f"movb $4, %cl; {before}; at: {source}; setc %bl; done", rbx=0)
    long_mode.store(DATA, 0x11223344, 8)
    remap(long_mode, DATA, P)
    event = long_mode.event()
    assert (event.vector, event.error_code, event.rip) == (PF, PRESENT | WRITE, long_mode.label("at"))
    assert event.rflags & CF
    remap(long_mode, DATA, P | W)
    assert long_mode.finish().rbx == carry
    assert long_mode.load(DATA, 8) & 0xFFFFFFFFFF == result


def test_two_addresses_of_one_frame_show_the_same_bytes(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"movl $0x1234, 0x50000000; movl {DATA:#x}, %ebx; done")
    long_mode.map(0x50000000, DATA, P | W)
    assert long_mode.finish().rbx == 0x1234


def test_a_page_fault_in_the_second_page_of_an_access_names_that_page(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"movl ${DATA + 0xFFE}, %esi; at: movl $0x11223344, (%rsi); done")
    long_mode.store(DATA + 0xFFE, 0xAAAA, 2)
    remap(long_mode, DATA + 0x1000, 0)
    event = long_mode.event()
    assert (event.vector, event.cr2, event.rip) == (PF, DATA + 0x1000, long_mode.label("at"))
    assert long_mode.load(DATA + 0xFFE, 2) == 0xAAAA, "nothing of the access is done"


def test_smep_forbids_the_kernel_to_run_a_programs_page(long_mode: LongModeMachine) -> None:
    long_mode.boot("done")
    remap(long_mode, DATA, P | W | U)
    long_mode.place("done", 64, DATA)
    state = long_mode.initial_state()
    long_mode.map(0x10000, 0x10000, P | W)
    long_mode.start(state.replace(rip=DATA, cr4=state.cr4 | CR4_SMEP))
    event = long_mode.event()
    assert (event.vector, event.error_code, event.cr2) == (PF, PRESENT | FETCH, DATA)


def test_smap_forbids_the_kernel_a_programs_data_unless_ac_is_set(long_mode: LongModeMachine) -> None:
    long_mode.boot(
        f"stac; {USER_LOAD}; clac; at: {USER_LOAD}; done",
        cr4=CR4_PAE | CR4_SMAP,
    )
    event = long_mode.event()
    assert (event.vector, event.error_code, event.cr2) == (PF, PRESENT, USER_DATA)
    assert event.rip == long_mode.label("at")


def test_ac_does_not_lift_smap_for_descriptor_tables(long_mode: LongModeMachine) -> None:
    """They are implicit accesses (SDM vol. 3, 4.6.1)."""
    table = USER_DATA & ~0xFFF
    long_mode.boot(
        f"stac; movl {USER_DATA:#x}, %ebx; movl $0x14, %eax; at: movl %eax, %es; done",
        cr4=CR4_PAE | CR4_SMAP,
        ldtr=SegmentState(table, 0x17, 0x50, 0x82),
    )
    long_mode.store(table + 0x10, 0x00CF93000000FFFF, 8)
    event = long_mode.event()
    assert (event.vector, event.error_code, event.cr2) == (PF, PRESENT, table + 0x10)
    assert event.rip == long_mode.label("at")


def test_invlpg_takes_global_pages_too(long_mode: LongModeMachine) -> None:
    long_mode.boot(
        f"movl {DATA:#x}, %eax; mark; invlpg {DATA:#x}; movl {DATA:#x}, %ebx; done", cr4=CR4_PAE | CR4_PGE
    )
    remap(long_mode, DATA, P | W | G)
    long_mode.store(DATA + 0x1000, 2, 4)
    long_mode.mark()
    long_mode.map(DATA, DATA + 0x1000, P | W | G)
    assert long_mode.finish().rbx == 2


def test_a_1_gib_page_maps_its_frame(long_mode: LongModeMachine) -> None:
    long_mode.boot("movabsq $0x4000345678, %rsi; movl (%rsi), %ebx; done")
    long_mode.entry(0x4000000000, 3, create=True)
    long_mode.store(long_mode.entry(0x4000000000, 3), P | W | PS, 8)
    long_mode.store(0x345678, 0x600D, 4)
    assert long_mode.finish().rbx == 0x600D


def test_ps_is_reserved_in_the_top_level(long_mode: LongModeMachine) -> None:
    long_mode.boot("movabsq $0x8000000000, %rsi; movl (%rsi), %ebx; done")
    long_mode.store(long_mode.entry(0x8000000000, 4), P | W | PS, 8)
    event = long_mode.event()
    assert (event.vector, event.error_code) == (PF, PRESENT | RESERVED)


def test_low_frame_bits_of_a_large_page_are_reserved(long_mode: LongModeMachine) -> None:
    long_mode.boot("movl 0x400000, %eax; done")
    at = long_mode.entry(0x400000, 2)
    long_mode.store(at, long_mode.load(at, 8) | 1 << 13, 8)
    event = long_mode.event()
    assert (event.vector, event.error_code) == (PF, PRESENT | RESERVED)


# --- 32-bit and PAE paging ----------------------------------------------------------------------------


def protected_mode(machine: Machine, source: str, **registers: int | DescriptorTableState) -> None:
    """Boot `source` in 32-bit protected mode with flat segments and paging on."""
    machine.program = machine.place(source, 32, 0x10000)
    state = reset_state()
    state.cs = SegmentState(0, 0xFFFFFFFF, 0x08, AR_CODE32)
    flat = SegmentState(0, 0xFFFFFFFF, 0x10, AR_DATA32)
    state.ss = state.ds = state.es = state.fs = state.gs = flat
    state.cr0, state.rip, state.rsp = CR0_PE | CR0_PG | CR0_WP | 0x10, 0x10000, STACK_TOP
    machine.start(state.replace(**registers))


def identity_32bit(machine: Machine) -> None:
    """4 KiB pages for the first 4 MiB: directory at 0x100000, table at 0x101000."""
    machine.store(0x100000, 0x101000 | P | W, 4)
    for page in range(1024):
        machine.store(0x101000 + page * 4, page << 12 | P | W, 4)


def test_32_bit_paging_maps_4_kib_pages_and_marks_them(real_mode: RealModeMachine) -> None:
    identity_32bit(real_mode)
    real_mode.store(0x101000 + 0x30 * 4, 0x35000 | P | W, 4)
    real_mode.store(0x35010, 0x600D, 4)
    protected_mode(real_mode, "movl 0x30010, %ebx; movl $7, 0x31000; done", cr3=0x100000)
    assert real_mode.finish().rbx == 0x600D
    assert real_mode.load(0x101000 + 0x30 * 4, 4) == 0x35000 | P | W | A
    assert real_mode.load(0x101000 + 0x31 * 4, 4) == 0x31000 | P | W | A | D
    assert real_mode.load(0x100000, 4) == 0x101000 | P | W | A


def test_32_bit_paging_maps_4_mib_pages_with_pse(real_mode: RealModeMachine) -> None:
    identity_32bit(real_mode)
    real_mode.store(0x100000 + 0x100 * 4, 0x800000 | P | W | PS, 4)
    real_mode.store(0x812344, 0x600D, 4)
    protected_mode(real_mode, "movl 0x40012344, %ebx; done", cr3=0x100000, cr4=CR4_PSE)
    assert real_mode.finish().rbx == 0x600D
    assert real_mode.load(0x100000 + 0x100 * 4, 4) == 0x800000 | P | W | PS | A


def test_pae_paging_maps_4_kib_and_2_mib_pages(real_mode: RealModeMachine) -> None:
    real_mode.store(0x100000, 0x102000 | P, 8)
    real_mode.store(0x100008, 0x103000 | P, 8)
    real_mode.store(0x102000, 0x104000 | P | W, 8)
    for page in range(512):
        real_mode.store(0x104000 + page * 8, page << 12 | P | W, 8)
    real_mode.store(0x103000, 0x800000 | P | W | PS, 8)
    real_mode.store(0x812344, 0x600D, 4)
    protected_mode(real_mode, "movl 0x40012344, %ebx; movl %ebx, 0x30000; done", cr3=0x100000, cr4=CR4_PAE)
    assert real_mode.finish().rbx == 0x600D
    assert real_mode.load(0x30000, 4) == 0x600D
    assert real_mode.load(0x104000 + 0x30 * 8, 8) == 0x30000 | P | W | A | D
    assert real_mode.load(0x103000, 8) == 0x800000 | P | W | PS | A
    assert real_mode.load(0x100000, 8) == 0x102000 | P, "a PDPTE has no accessed bit"


PAE_SOURCE = "movl 0x40012344, %ebx; {}; invlpg 0x40012344; movl 0x40012344, %ecx; done"


def pae(machine: Machine, source: str, **registers: int | DescriptorTableState) -> None:
    """The first GiB by 2 MiB pages, and RAM from 8 MiB on at 1 GiB; PDPTEs at 0x100000."""
    for index, frame in ((0, 0), (1, 0x800000)):
        machine.store(0x100000 + 8 * index, 0x102000 + 0x1000 * index | P, 8)
        machine.store(0x102000 + 0x1000 * index, frame | P | W | PS, 8)
    machine.store(0x104000, P | W | PS, 8)
    machine.store(0x812344, 0x600D, 4)
    machine.store(0x12344, 0xBAD, 4)
    protected_mode(machine, source, cr3=0x100000, cr4=CR4_PAE, **registers)


MOVE_PDPTE = "movl $0x104001, 0x100008"


@pytest.mark.parametrize(
    ("reload", "loaded"),
    [
        ("nop", False),
        ("movl %cr3, %eax; movl %eax, %cr3", True),
        ("movl %cr4, %eax; orl $0x80, %eax; movl %eax, %cr4", True),
        ("movl %cr4, %eax; orl $0x4, %eax; movl %eax, %cr4", False),
        ("movl %cr0, %eax; orl $0x40000000, %eax; movl %eax, %cr0", True),
        ("movl %cr0, %eax; orl $0x20, %eax; movl %eax, %cr0", False),
    ],
    ids=["INVLPG", "CR3", "CR4.PGE", "CR4.TSD", "CR0.CD", "CR0.NE"],
)
def test_pdptes_are_registers(real_mode: RealModeMachine, reload: str, loaded: bool) -> None:
    pae(real_mode, PAE_SOURCE.format(f"{MOVE_PDPTE}; {reload}"))
    state = real_mode.finish()
    assert (state.rbx, state.rcx) == (0x600D, 0xBAD if loaded else 0x600D)
    assert state.pdpte == [0x102001, 0x104001 if loaded else 0x103001, 0, 0]


def test_pdptes_move_with_the_vcpu(real_mode: RealModeMachine) -> None:
    pae(real_mode, PAE_SOURCE.format(f"{MOVE_PDPTE}; mark"))
    real_mode.mark()
    real_mode.pause()
    real_mode.move()
    assert real_mode.finish().rcx == 0x600D


@pytest.mark.parametrize("bit", [1, 2, 5, 8, 40, 51, 52, 63])
def test_a_reserved_bit_of_a_present_pdpte_is_gp_at_the_load(real_mode: RealModeMachine, bit: int) -> None:
    reload = "movl $0x110000, %eax; at: movl %eax, %cr3"
    handler = "gp: popl %edx; popl %ebp; done"
    pae(
        real_mode,
        f"{reload}; hlt; {handler}",
        gdtr=DescriptorTableState(0x1000, 0xF),
        idtr=DescriptorTableState(0x2000, 0x7FF),
    )
    for index, value in enumerate((0x102001, 0x104001 | 1 << bit, 1 << bit, 0)):
        real_mode.store(0x110000 + 8 * index, value, 8)
    real_mode.store(0x1008, 0x00CF9B000000FFFF, 8)
    at = real_mode.label("gp")
    real_mode.store(0x2000 + 8 * GP, at & 0xFFFF | 8 << 16 | 0x8E << 40 | at >> 16 << 48, 8)
    state = real_mode.finish()
    assert (state.rdx, state.rbp, state.cr3) == (0, real_mode.label("at"), 0x100000)
    assert state.pdpte == [0x102001, 0x103001, 0, 0]


def test_a_guest_enters_long_mode_from_real_mode(real_mode: RealModeMachine) -> None:
    real_mode.store(0x100000, 0x101000 | P | W, 8)
    real_mode.store(0x101000, 0x102000 | P | W, 8)
    real_mode.store(0x102000, P | W | PS, 8)
    real_mode.boot("""
        lgdtl gdtr
        movl $0x20, %eax
        movl %eax, %cr4
        movl $0x100000, %eax
        movl %eax, %cr3
        movl $0xc0000080, %ecx
        rdmsr
        orl $0x100, %eax
        wrmsr
        movl $0x80000011, %eax
        movl %eax, %cr0
        ljmpl $8, $in64
    .code64
    in64:
        movabsq $0x123456789abcdef0, %rbx
        movl $0xc0000080, %ecx
        rdmsr
        movl %eax, %ebp
        done
    .code16
    .balign 8
    gdt:
        .quad 0
        .quad 0x00af9b000000ffff
    gdtr:
        .word 15
        .long gdt
    """)
    state = real_mode.finish()
    assert state.rbx == 0x123456789ABCDEF0
    assert state.rbp == EFER_LME | EFER_LMA
    assert state.efer == EFER_LME | EFER_LMA
