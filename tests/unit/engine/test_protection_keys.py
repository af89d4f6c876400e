"""Protection keys of supervisor pages: IA32_PKRS (SDM vol. 3, 4.6.2)."""

from collections.abc import Callable

import pytest

from tests.unit.engine.apic import msr_read, msr_write
from tests.unit.engine.long_mode import CR0_PE, CR0_PG, CR4_PAE, DATA, LongModeMachine, P, U, W

PF, GP = 14, 13
PRESENT, WRITE, PROTECTION_KEY = 1, 2, 32
CR4_PKE, CR4_PKS = 1 << 22, 1 << 24
PKEY_SHIFT, PKRS = 59, 0x6E1
KEY = 5
ACCESS_DISABLE, WRITE_DISABLE = 1 << 2 * KEY, 2 << 2 * KEY
LOAD, STORE = f"at: movl {DATA:#x}, %ebx", f"at: movl %ebx, {DATA:#x}"


def boot_keyed(machine: LongModeMachine, source: str, rights: int = P | W, **registers: int) -> None:
    registers.setdefault("cr4", CR4_PAE | CR4_PKS)
    machine.boot(source, **registers)
    machine.map(DATA, DATA, rights | KEY << PKEY_SHIFT)


@pytest.mark.parametrize(
    ("rights", "access", "code"),
    [
        (ACCESS_DISABLE, LOAD, PRESENT | PROTECTION_KEY),
        (ACCESS_DISABLE, STORE, PRESENT | PROTECTION_KEY | WRITE),
        (WRITE_DISABLE, STORE, PRESENT | PROTECTION_KEY | WRITE),
    ],
)
@pytest.mark.parametrize("looked", [True, False], ids=["after a load", "at once"])
def test_pkrs_forbids_data_accesses_to_supervisor_pages(
    long_mode: LongModeMachine, rights: int, access: str, code: int, looked: bool
) -> None:
    before = f"movl {DATA:#x}, %ebx; movl %ebx, {DATA:#x};" if looked else ""
    boot_keyed(long_mode, f"{before} {msr_write(PKRS, rights)} {access}; done")
    event = long_mode.event()
    assert (event.vector, event.error_code, event.cr2) == (PF, code, DATA)
    assert event.rip == long_mode.label("at")


@pytest.mark.parametrize(
    ("rights", "access", "registers"),
    [
        (WRITE_DISABLE, LOAD, {}),
        (WRITE_DISABLE, STORE, {"cr0": CR0_PE | CR0_PG | 0x10}),
        (ACCESS_DISABLE, STORE, {"cr4": CR4_PAE | CR4_PKE}),
        (ACCESS_DISABLE << 2, STORE, {}),
        (ACCESS_DISABLE, f"movb $0xc3, {DATA:#x}; call {DATA:#x}", {"cr4": CR4_PAE}),
    ],
    ids=["a load", "a store without WP", "without CR4.PKS", "another key", "without keys"],
)
def test_pkrs_lets_through(
    long_mode: LongModeMachine, rights: int, access: str, registers: dict[str, int]
) -> None:
    boot_keyed(long_mode, f"{msr_write(PKRS, rights)} {access}; done", P | W, **registers)
    long_mode.finish()


def test_pkrs_does_not_keep_from_fetching(long_mode: LongModeMachine) -> None:
    boot_keyed(long_mode, f"movb $0xc3, {DATA:#x}; {msr_write(PKRS, ACCESS_DISABLE)} call {DATA:#x}; done")
    long_mode.finish()


def test_pkrs_is_not_about_user_pages_and_pkru_not_about_others(long_mode: LongModeMachine) -> None:
    keys = CR4_PAE | CR4_PKE | CR4_PKS
    boot_keyed(long_mode, f"{msr_write(PKRS, ACCESS_DISABLE)} {STORE}; done", P | W | U, cr4=keys)
    long_mode.finish()
    deny = f"movl ${ACCESS_DISABLE}, %eax; xorl %ecx, %ecx; xorl %edx, %edx; wrpkru"
    boot_keyed(long_mode, f"{msr_write(PKRS, 0)} {deny}; {STORE}; done", cr4=keys)
    long_mode.finish()


def test_pkrs_can_be_read_and_survives_a_move(long_mode: LongModeMachine) -> None:
    boot_keyed(long_mode, f"{msr_write(PKRS, ACCESS_DISABLE)} mark; {msr_read(PKRS, 'rbx')} {LOAD}; done")
    long_mode.mark()
    assert long_mode.pause().pkrs == ACCESS_DISABLE
    long_mode.move()
    assert long_mode.event().error_code == PRESENT | PROTECTION_KEY
    assert long_mode.pause().rbx == ACCESS_DISABLE


def test_the_upper_half_of_pkrs_is_reserved(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{msr_write(PKRS, 1 << 32)} done")
    assert long_mode.event().vector == GP


@pytest.mark.parametrize("source", [msr_read(PKRS, "rbx"), msr_write(PKRS, 0)])
def test_without_the_feature_there_is_no_pkrs(
    make_long_mode: Callable[..., LongModeMachine], source: str
) -> None:
    machine = make_long_mode(model="max,-pks")
    machine.boot(f"{source} done")
    assert machine.event().vector == GP
