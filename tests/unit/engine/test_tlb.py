"""What the TLB keeps and loses (SDM vol. 3, 4.10.4), and that it stays right when it grows."""

from pathlib import Path

import pytest

from mpvm.abi.layout import PAGE_SIZE
from tests.unit.engine.long_mode import CR4_PAE, DATA, PS, G, LongModeMachine, P, U, W

CR4_PGE, CR4_PKE = 1 << 7, 1 << 22
PKEY_SHIFT = 59
UD, GP, PF = 6, 13, 14
PRESENT, PROTECTION_KEY = 1, 32
ELSEWHERE = DATA + 0x1000
# Two large pages with small ones between, in no other use.
LARGE, OTHER_LARGE, SMALL = 0x50000000, 0x50400000, 0x50200000
RELOAD_CR3 = "movq %cr3, %rcx; movq %rcx, %cr3"
TOGGLE_PGE = (
    f"movq %cr4, %rcx; xorl ${CR4_PGE}, %ecx; movq %rcx, %cr4; xorl ${CR4_PGE}, %ecx; movq %rcx, %cr4"
)


def resident_bytes() -> int:
    """The memory that this process uses."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_SIZE


def remapped(machine: LongModeMachine, flush: str, flags: int, cr4: int) -> int:
    """What is read through an entry that was in the TLB with `flags`, was changed, and flushed by `flush`."""
    machine.boot(f"movl {DATA:#x}, %eax; mark; {flush}; movl {DATA:#x}, %ebx; done", cr4=cr4)
    machine.map(DATA, DATA, flags)
    machine.store(DATA, 1, 4)
    machine.store(ELSEWHERE, 2, 4)
    machine.mark()
    machine.map(DATA, ELSEWHERE, flags)
    return machine.finish().rbx


def test_a_cr3_load_keeps_global_entries(long_mode: LongModeMachine) -> None:
    assert remapped(long_mode, RELOAD_CR3, P | W | G, CR4_PAE | CR4_PGE) == 1


def test_a_cr3_load_takes_entries_marked_global_while_cr4_pge_is_off(long_mode: LongModeMachine) -> None:
    assert remapped(long_mode, RELOAD_CR3, P | W | G, CR4_PAE) == 2


def test_a_change_of_cr4_pge_takes_global_entries(long_mode: LongModeMachine) -> None:
    assert remapped(long_mode, TOGGLE_PGE, P | W | G, CR4_PAE | CR4_PGE) == 2


# Three pages that want the same place in a table of any size: two of them are victims.
RIVALS = [LARGE + (number << 34) for number in range(3)]


@pytest.mark.parametrize("flags", [P | W, P | W | G])
@pytest.mark.parametrize("flush", [TOGGLE_PGE, "; ".join(f"invlpg (%r{8 + number})" for number in range(3))])
def test_flushes_take_victims_too(long_mode: LongModeMachine, flush: str, flags: int) -> None:
    loads = "; ".join(f"addl (%r{8 + number}), %e{{0}}x" for number in range(3))
    long_mode.boot(
        f"""
        {loads.format("a")}; mark; {flush}; {loads.format("b")}; done
    """,
        cr4=CR4_PAE | CR4_PGE,
        **{f"r{8 + number}": address for number, address in enumerate(RIVALS)},
    )
    for address in RIVALS:
        long_mode.map(address, DATA, flags)
    long_mode.store(DATA, 1, 4)
    long_mode.store(ELSEWHERE, 2, 4)
    long_mode.mark()
    for address in RIVALS:
        long_mode.map(address, ELSEWHERE, flags)
    state = long_mode.finish()
    assert (state.rax, state.rbx) == (3, 6)


def test_a_cr3_load_takes_local_entries_among_thousands(long_mode: LongModeMachine) -> None:
    # More than are listed one by one, and enough to make the table grow.
    pages = 6000
    long_mode.boot(
        f"""
        call touch; movl %ebx, %ebp; mark; {RELOAD_CR3}; call touch; done
    touch:
        movl ${LARGE:#x}, %esi
        xorl %ebx, %ebx
        movl ${pages}, %ecx
    1:  addl (%rsi), %ebx
        addl $0x1000, %esi
        loop 1b
        ret
    """,
        cr4=CR4_PAE | CR4_PGE,
    )
    for page in range(pages):
        long_mode.map(LARGE + page * 0x1000, DATA, P | W)
    long_mode.store(DATA, 1, 4)
    long_mode.store(ELSEWHERE, 2, 4)
    long_mode.mark()
    for page in range(pages):
        long_mode.map(LARGE + page * 0x1000, ELSEWHERE, P | W)
    state = long_mode.finish()
    assert (state.rbp, state.rbx) == (pages, 2 * pages)


def test_a_tlb_that_has_grown_still_sends_each_store_to_its_page(long_mode: LongModeMachine) -> None:
    # Four frames behind thousands of addresses: each pass adds up what all addresses of a frame were told.
    pages, passes = 3000, 3
    long_mode.boot(
        f"""
        movl ${passes}, %edx
    2:  movl ${LARGE:#x}, %esi
        movl ${pages}, %ecx
    1:  incl (%rsi)
        addl $0x1000, %esi
        loop 1b
        decl %edx
        jnz 2b
        done
    """
    )
    for page in range(pages):
        long_mode.map(LARGE + page * 0x1000, DATA + (page % 4) * 0x1000, P | W)
    long_mode.finish()
    assert [long_mode.load(DATA + frame * 0x1000, 4) for frame in range(4)] == [passes * pages // 4] * 4


@pytest.mark.parametrize("flags", [P | W | PS, P | W | PS | G])
def test_invlpg_of_any_address_takes_all_of_a_large_page(long_mode: LongModeMachine, flags: int) -> None:
    long_mode.boot(
        f"""
        movl {LARGE:#x}, %eax; addl {LARGE + 0x1FF000:#x}, %eax; addl {OTHER_LARGE:#x}, %eax; mark
        invlpg {LARGE + 0x5000:#x}; movl {LARGE:#x}, %ebx; addl {LARGE + 0x1FF000:#x}, %ebx; done
    """,
        cr4=CR4_PAE | CR4_PGE,
    )
    long_mode.map(LARGE, 0x200000, flags)
    long_mode.map(OTHER_LARGE, 0x200000, flags)
    long_mode.map(SMALL, DATA, P | W)
    for frame, value in ((0x200000, 1), (0x400000, 2)):
        long_mode.store(frame, value, 4)
        long_mode.store(frame + 0x1FF000, value, 4)
    long_mode.mark()
    long_mode.map(LARGE, 0x400000, flags)
    state = long_mode.finish()
    assert (state.rax, state.rbx) == (3, 4)


def call_often_then_after(flush: str) -> str:
    """Calls RSI until both caches of jumps know it, result in EBX, and once more after `mark` and `flush`."""
    return f"""
        movl $50, %ebp
    1:  call *%rsi
        decl %ebp
        jnz 1b
        movl %eax, %ebx
        mark
        {flush}
        call *%rsi
        done
    """


@pytest.mark.parametrize("flush", ["invlpg (%rsi)", RELOAD_CR3])
def test_an_indirect_jump_goes_to_what_is_mapped_now(long_mode: LongModeMachine, flush: str) -> None:
    long_mode.boot(
        call_often_then_after(flush),
        rsi=DATA,
    )
    long_mode.write(DATA, b"\xb8\1\0\0\0\xc3")
    long_mode.write(ELSEWHERE, b"\xb8\2\0\0\0\xc3")
    long_mode.mark()
    long_mode.map(DATA, ELSEWHERE, P | W)
    state = long_mode.finish()
    assert (state.rbx, state.rax) == (1, 2)


def test_an_indirect_jump_goes_to_code_that_was_written_meanwhile(long_mode: LongModeMachine) -> None:
    long_mode.boot(
        """
        movl $50, %ebp
    1:  call *%rsi
        addl %eax, %ebx
        movb %bpl, 1(%rsi)
        decl %ebp
        jnz 1b
        done
    """,
        rsi=DATA,
    )
    long_mode.write(DATA, b"\xb8\0\0\0\0\xc3")
    # The first call gives 0, each later one what the round before it has written: 50, 49 ... 2.
    assert long_mode.finish().rbx == sum(range(2, 51))


WRITE_PKRU = "xorl %ecx, %ecx; xorl %edx, %edx; wrpkru"


@pytest.mark.parametrize("key", [0, 5])
def test_a_write_of_pkru_is_obeyed_by_the_next_access(long_mode: LongModeMachine, key: int) -> None:
    deny = 1 << 2 * key
    long_mode.boot(
        f"""
        xorl %eax, %eax; {WRITE_PKRU}; movl {DATA:#x}, %ebx
        movl ${deny}, %eax; {WRITE_PKRU}; movl {DATA:#x}, %ebx; done
    """,
        cr4=CR4_PAE | CR4_PKE,
    )
    long_mode.map(DATA, DATA, P | W | U | key << PKEY_SHIFT)
    event = long_mode.event()
    assert (event.vector, event.error_code, event.cr2) == (PF, PRESENT | PROTECTION_KEY, DATA)


def test_keys_are_looked_at_from_the_load_of_cr4_on(long_mode: LongModeMachine) -> None:
    long_mode.boot(
        f"""
        movl {DATA:#x}, %ebx
        movl ${CR4_PAE | CR4_PKE}, %eax; movq %rax, %cr4
        movl ${1 << 2 * 5}, %eax; {WRITE_PKRU}
        movl {DATA:#x}, %ebx; done
    """,
        cr4=CR4_PAE,
    )
    long_mode.map(DATA, DATA, P | W | U | 5 << PKEY_SHIFT)
    event = long_mode.event()
    assert (event.vector, event.error_code, event.cr2) == (PF, PRESENT | PROTECTION_KEY, DATA)


@pytest.mark.parametrize(
    ("cr4", "registers", "vector"),
    [(CR4_PAE, "xorl %edx, %edx; xorl %ecx, %ecx", UD)]
    + [(CR4_PAE | CR4_PKE, f"movl ${edx}, %edx; movl ${ecx}, %ecx", GP) for ecx, edx in ((1, 0), (0, 1))],
)
def test_wrpkru_faults_without_keys_or_with_other_registers_than_0(
    long_mode: LongModeMachine, cr4: int, registers: str, vector: int
) -> None:
    long_mode.boot(f"{registers}; at: wrpkru; done", cr4=cr4)
    event = long_mode.event()
    assert (event.vector, event.rip) == (vector, long_mode.label("at"))


@pytest.mark.parametrize("flush", [f"invlpg {ELSEWHERE:#x}", RELOAD_CR3])
def test_an_indirect_jump_into_two_pages_goes_to_what_the_second_is_now(
    long_mode: LongModeMachine, flush: str
) -> None:
    long_mode.boot(
        call_often_then_after(flush),
        rsi=DATA + 0xFFE,
    )
    long_mode.write(DATA + 0xFFE, b"\xb8\1\0\0\0\xc3")
    long_mode.write(ELSEWHERE + 0x1000, b"\0\2\0\xc3")
    long_mode.mark()
    long_mode.map(ELSEWHERE, ELSEWHERE + 0x1000, P | W)
    state = long_mode.finish()
    assert (state.rbx, state.rax) == (1, 0x20001)


def test_the_table_does_not_grow_by_entries_that_come_back_from_the_victims(
    long_mode: LongModeMachine,
) -> None:
    # A global page and a local one that want the same place, at any size of the table; each round ends with a
    # flush of all, when the engine chooses the size.
    rounds, times, far = 12, 200, 1 << 34
    long_mode.boot(
        f"""
        movl ${rounds}, %ebp
    2:  movl ${times}, %edx
    1:  movl (%rsi), %eax
        movl (%rdi), %eax
        {RELOAD_CR3}
        movl (%rsi), %eax
        invlpg (%rsi)
        decl %edx
        jnz 1b
        {TOGGLE_PGE}
        decl %ebp
        jnz 2b
        done
    """,
        cr4=CR4_PAE | CR4_PGE,
        rsi=LARGE,
        rdi=LARGE + far,
    )
    long_mode.map(LARGE, DATA, P | W | G)
    long_mode.map(LARGE + far, DATA, P | W)
    before = resident_bytes()
    long_mode.finish()
    assert resident_bytes() - before < 16 << 20
