"""A vCPU sees its own stores to code: at once, through every mapping, however often (SDM vol. 3, 11.6)."""

import pytest

from mpvm.abi.layout import PAGE_SIZE
from tests.unit.engine.long_mode import CR4_PAE, DATA, A, D, LongModeMachine, P, W
from tests.unit.engine.real_mode import RealModeMachine

CR4_SMAP = 1 << 21
ALIAS = 0x50000000
ROUNDS = 40


def test_an_instruction_that_was_changed_in_the_same_block_runs_changed(long_mode: LongModeMachine) -> None:
    long_mode.boot("movb $0x22, at+1(%rip); at: movb $0x11, %bl; done")
    assert long_mode.finish().rbx & 0xFF == 0x22


def test_the_next_instruction_can_be_changed_in_real_mode(real_mode: RealModeMachine) -> None:
    real_mode.boot("movb $0x22, %cs:at+1; at: movb $0x11, %bl; done")
    assert real_mode.finish().rbx & 0xFF == 0x22


def test_a_store_that_changes_its_own_block_is_done_once(long_mode: LongModeMachine) -> None:
    long_mode.boot("movl $5, %esi; addl %esi, at+1(%rip); at: movl $0x10, %ebx; done")
    assert long_mode.finish().rbx == 0x15


def test_a_block_sees_its_store_to_itself_after_one_to_data_of_its_page(long_mode: LongModeMachine) -> None:
    long_mode.boot(
        "movl $1, data(%rip); movb $0x22, at+1(%rip); at: movb $0x11, %bl; done; .balign 64; data: .quad 0"
    )
    assert long_mode.finish().rbx & 0xFF == 0x22


def test_a_push_onto_its_own_block_is_done_once(long_mode: LongModeMachine) -> None:
    long_mode.boot(
        """
        leaq at+8(%rip), %rsp
        movabsq $0x9090909090909043, %rax
        pushq %rax
        jmp at
        .balign 8
    at: .quad 0x9090909090909090
        done
    """
    )
    state = long_mode.finish()
    assert state.rsp == long_mode.label("at")
    assert long_mode.load(long_mode.label("at"), 8) == 0x9090909090909043


@pytest.mark.parametrize("alias", [DATA, ALIAS], ids=["same mapping", "alias"])
def test_a_function_that_is_written_anew_runs_anew_each_time(long_mode: LongModeMachine, alias: int) -> None:
    # mov $imm32, %eax; ret: the immediate counts the rounds.
    long_mode.boot(f"""
        movl ${ROUNDS}, %ecx
    1:  movl %ecx, {alias + 1:#x}
        movl ${DATA:#x}, %eax
        call *%rax
        cmpl %eax, %ecx
        jne 2f
        addl %eax, %ebx
        decl %ecx
        jnz 1b
    2:  done
    """)
    long_mode.write(DATA, b"\xb8\0\0\0\0\xc3")
    long_mode.map(ALIAS, DATA, P | W)
    assert long_mode.finish().rbx == ROUNDS * (ROUNDS + 1) // 2


def test_a_store_through_an_alias_changes_the_block_that_makes_it(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"movb $0x22, at+1-_start+{ALIAS:#x}; at: movb $0x11, %bl; done")
    long_mode.map(ALIAS, long_mode.program.origin, P | W)
    assert long_mode.finish().rbx & 0xFF == 0x22


def test_code_can_run_through_an_alias_of_what_is_written(long_mode: LongModeMachine) -> None:
    long_mode.boot(
        f"call *%rsi; movl %eax, %ebx; movb $2, {DATA + 1:#x}; call *%rsi; done",
        rsi=ALIAS,
    )
    long_mode.write(DATA, b"\xb8\1\0\0\0\xc3")
    long_mode.map(ALIAS, DATA, P | W)
    state = long_mode.finish()
    assert (state.rbx, state.rax) == (1, 2)


@pytest.mark.parametrize("offset", [PAGE_SIZE - 1, PAGE_SIZE - 2, PAGE_SIZE - 4])
def test_an_instruction_across_two_pages_can_be_changed_in_either(
    long_mode: LongModeMachine, offset: int
) -> None:
    long_mode.boot(
        """
        call *%rsi
        movl %eax, %ebx
        movb $0x22, 1(%rsi)
        call *%rsi
        movl %eax, %ecx
        movb $0x33, 4(%rsi)
        call *%rsi
        done
    """,
        rsi=DATA + offset,
    )
    long_mode.write(DATA + offset, b"\xb8\x11\0\0\0\xc3")
    state = long_mode.finish()
    assert (state.rbx, state.rcx, state.rax) == (0x11, 0x22, 0x33000022)


def test_a_string_copy_over_code_is_seen(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"""
        movl ${DATA}, %eax
        call *%rax
        movl %eax, %ebx
        movl ${DATA + 0x1000}, %esi
        movl ${DATA}, %edi
        movl $6, %ecx
        rep movsb
        movl ${DATA}, %eax
        call *%rax
        done
    """)
    long_mode.write(DATA, b"\xb8\1\0\0\0\xc3")
    long_mode.write(DATA + 0x1000, b"\xb8\2\0\0\0\xc3")
    state = long_mode.finish()
    assert (state.rbx, state.rax) == (1, 2)


@pytest.mark.parametrize(
    "store",
    [
        "movb $2, 1(%rsi)",
        "lock orb $2, 1(%rsi)",
        "xchgb %dl, 1(%rsi)",
        "movups %xmm1, (%rsi)",
        "lock cmpxchgl %edx, (%rsi)",
    ],
)
def test_every_kind_of_store_is_seen(long_mode: LongModeMachine, store: str) -> None:
    long_mode.boot(
        f"call *%rsi; movups 0x31000, %xmm1; movl $0x2b8, %edx; {prepare(store)} {store}; call *%rsi; done",
        rsi=DATA,
    )
    long_mode.write(DATA, b"\xb8\0\0\0\0\xc3")
    long_mode.write(0x31000, b"\xb8\2\0\0\0\xc3")
    assert long_mode.finish().rax == 2


def prepare(store: str) -> str:
    """Registers that make the store put 2 where the immediate is."""
    if "xchgb" in store:
        return "movb $2, %dl;"
    return "movl $0xb8, %eax;" if "cmpxchg" in store else ""


def test_data_beside_code_in_one_page_can_be_written_without_end(long_mode: LongModeMachine) -> None:
    long_mode.boot(
        f"""
        movl $200, %ecx
    1:  call *%rsi
        incl {DATA + 0x800:#x}
        decl %ecx
        jnz 1b
        movb $7, 1(%rsi)
        call *%rsi
        done
    """,
        rsi=DATA,
    )
    long_mode.write(DATA, b"\xb8\1\0\0\0\xc3")
    assert long_mode.finish().rax == 7
    assert long_mode.load(DATA + 0x800, 4) == 200


def test_a_page_given_other_code_by_the_page_tables_runs_the_other_code(long_mode: LongModeMachine) -> None:
    long_mode.boot("call *%rsi; movl %eax, %ebx; mark; invlpg (%rsi); call *%rsi; done", rsi=DATA)
    long_mode.write(DATA, b"\xb8\1\0\0\0\xc3")
    long_mode.write(DATA + 0x1000, b"\xb8\2\0\0\0\xc3")
    long_mode.mark()
    long_mode.map(DATA, DATA + 0x1000, P | W)
    state = long_mode.finish()
    assert (state.rbx, state.rax) == (1, 2)


@pytest.mark.parametrize("rounds", [0, 40])
def test_a_store_across_two_lines_changes_the_code_in_the_second(
    long_mode: LongModeMachine, rounds: int
) -> None:
    # Rounds of data stores beside the code first: the engine then looks at each store byte by byte.
    long_mode.boot(
        f"""
        movl ${rounds + 1}, %ecx
    1:  call *%rsi
        incl {DATA + 0x800:#x}
        decl %ecx
        jnz 1b
        movabsq $0x000007b800000000, %rdx
        movq %rdx, -4(%rsi)
        call *%rsi
        done
    """,
        rsi=DATA + 64,
    )
    long_mode.write(DATA + 64, b"\xb8\1\0\0\0\xc3")
    assert long_mode.finish().rax == 7


def test_a_store_through_an_entry_of_before_is_seen_in_the_page_that_it_goes_to(
    long_mode: LongModeMachine,
) -> None:
    # With SMAP, RFLAGS.AC chooses between two of the engine's TLBs. One keeps ALIAS as it was, since nobody
    # flushes; the other maps it anew, and a store there says nothing about the page that it was.
    long_mode.boot(
        f"""
        stac; movb $0, {ALIAS + 0x800:#x}; clac
        call *%rsi
        mark
        movl {ALIAS + 0x900:#x}, %ecx
        lock incl {ALIAS + 0x900:#x}
        stac; movb $2, {ALIAS + 1:#x}; clac
        call *%rsi
        done
    """,
        rsi=DATA,
        cr4=CR4_PAE | CR4_SMAP,
    )
    long_mode.write(DATA, b"\xb8\1\0\0\0\xc3")
    long_mode.map(ALIAS, DATA, P | W | A | D)
    long_mode.mark()
    long_mode.map(ALIAS, DATA + PAGE_SIZE, P | W | A | D)
    state = long_mode.finish()
    assert (long_mode.load(DATA + 1, 1), state.rax) == (2, 2)


@pytest.mark.parametrize(
    ("store", "held"),
    [
        ("movb $0xb8, (%rsi)", True),
        ("movw $0x01b8, (%rsi)", True),
        ("movl $0x1b8, (%rsi)", True),
        ("movabsq $0xc300000001b8, %rax; movq %rax, (%rsi)", True),
        ("movl $0x2b8, (%rsi)", False),
        ("movb $1, 6(%rsi)", False),
    ],
)
def test_a_store_of_what_is_there_leaves_the_code(long_mode: LongModeMachine, store: str, held: bool) -> None:
    """Its translation stays, which a store of anything else to the page makes go."""
    long_mode.boot(f"call *%rsi; {store}; jmp 1f; 1: mark; call *%rsi; movl %eax, %ebx; done", rsi=DATA)
    long_mode.write(DATA, bytes.fromhex("b8 01 00 00 00 c3 00 00"))
    long_mode.mark()
    assert (long_mode.holders[DATA // PAGE_SIZE] == 1) is held
    assert long_mode.finish().rbx == (2 if "2b8" in store else 1)


def test_a_store_of_what_is_there_marks_the_page_dirty(long_mode: LongModeMachine) -> None:
    long_mode.boot("call *%rsi; movb $0xc3, (%rsi); done", rsi=DATA)
    long_mode.write(DATA, b"\xc3")
    long_mode.finish()
    assert long_mode.flags(DATA) & D
