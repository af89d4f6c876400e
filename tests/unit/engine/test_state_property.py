"""Any state that a CPU can be in survives a load and a save, bit by bit."""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mpvm.abi import control_block
from mpvm.abi.control_bits import ActivityState, Interruptibility
from mpvm.cpu.state import (
    FXSAVE_BYTES,
    GPR_NAMES,
    MC_ALL_ENABLED,
    REGISTER_NAMES,
    CpuState,
    DescriptorTableState,
    SegmentState,
    reset_state,
)
from tests.unit.engine.long_mode import LongModeMachine

U16, U32, U64 = (st.integers(0, (1 << bits) - 1) for bits in (16, 32, 64))
CANONICAL = st.integers(-(1 << 47), (1 << 47) - 1).map(lambda address: address & MC_ALL_ENABLED)
PDPT, XSTATE_BV_AT, PKRU_AT = 0x180000, 512, 2688
MODES = ("real", "virtual 8086", "protected", "32-bit", "PAE", "long", "compatibility")
UNUSABLE = SegmentState(0, 0, 0, 0x10000)

CR0_PE, CR0_ET, CR0_PG = 1, 1 << 4, 1 << 31
CR0_FREE = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 5 | 1 << 16 | 1 << 18
CR4_PSE, CR4_PAE = 1 << 4, 1 << 5
CR4_FREE = 1 << 2 | 1 << 3 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10
EFER_SCE, EFER_LME, EFER_LMA, EFER_NXE = 1, 1 << 8, 1 << 10, 1 << 11
RFLAGS_FIXED, RFLAGS_IF, RFLAGS_VM = 1 << 1, 1 << 9, 1 << 17
PDPTE_VALID = 0xFFFFFFFFFFE19
RFLAGS_FREE = 0x244DD5 | 0x3000 | 1 << 16


def bits_of(mask: int) -> st.SearchStrategy[int]:
    """Some of the bits of `mask`."""
    return U64.map(lambda bits: bits & mask)


def x87_status(control: int, flags: int) -> int:
    """A status word whose summary bits say what the flags that `control` leaves unmasked are."""
    return flags | (0x8080 if flags & ~control & 0x3F else 0)


@st.composite
def xsave_areas(draw: st.DrawFn, mxcsr: int, pkru: int) -> bytes:
    area = bytearray(control_block.XSAVE_BYTES)
    control = draw(bits_of(0x0F3F)) | 0x40
    area[0:2] = control.to_bytes(2, "little")
    area[2:4] = x87_status(control, draw(bits_of(0x7F7F))).to_bytes(2, "little")
    area[4] = draw(st.integers(0, 255))
    area[24:28] = mxcsr.to_bytes(4, "little")
    area[28:32] = (0xFFFF).to_bytes(4, "little")
    registers = draw(st.binary(min_size=80 + 256, max_size=80 + 256))
    for i in range(8):
        area[32 + 16 * i : 42 + 16 * i] = registers[10 * i : 10 * i + 10]
    area[160:416] = registers[80:]
    assert XSTATE_BV_AT == FXSAVE_BYTES
    area[XSTATE_BV_AT : XSTATE_BV_AT + 8] = (0x203).to_bytes(8, "little")
    area[PKRU_AT : PKRU_AT + 4] = pkru.to_bytes(4, "little")
    return bytes(area)


def segments(base: st.SearchStrategy[int], rights: int) -> st.SearchStrategy[SegmentState]:
    """In the GDT, with limits that the granularity (AR bit 15) can say."""
    limits = U32.map(lambda limit: limit | 0xFFF if rights & 0x8000 else limit & 0xFFFFF)
    return st.builds(SegmentState, base, limits, bits_of(0xFFFB), st.just(rights))


def tables(base: st.SearchStrategy[int]) -> st.SearchStrategy[DescriptorTableState]:
    return st.builds(DescriptorTableState, base, U16)


@st.composite
def modes(draw: st.DrawFn) -> dict[str, Any]:
    """Control registers, flags and segments of one mode; CPL is the DPL of SS."""
    mode = draw(
        st.sampled_from(["real", "virtual 8086", "protected", "32-bit", "PAE", "long", "compatibility"])
    )
    flags = draw(bits_of(RFLAGS_FREE)) | RFLAGS_FIXED
    cr0, cr4 = draw(bits_of(CR0_FREE)) | CR0_ET, draw(bits_of(CR4_FREE))
    efer = draw(bits_of(EFER_SCE | EFER_NXE))
    base = CANONICAL if mode == "long" else U32
    if mode in ("real", "virtual 8086"):
        code = data = st.builds(
            lambda s: SegmentState(s << 4, 0xFFFF, s, 0x93 if mode == "real" else 0xF3), U16
        )
    else:
        user = draw(st.sampled_from([0, 0x60]))
        code = segments(U32, (0xA09B if mode == "long" else 0xC09B) | user)
        data = st.one_of(segments(U32, 0xC093 | user), st.just(UNUSABLE))
    changes: dict[str, Any] = {name: draw(data) for name in ("es", "ds", "fs", "gs")}
    if mode == "long":
        changes |= {name: draw(segments(CANONICAL, 0xC093 | user)) for name in ("fs", "gs")}
    changes["cs"] = draw(code)
    changes["ss"] = draw(code if mode in ("real", "virtual 8086") else segments(U32, 0xC093 | user))
    if mode != "real":
        cr0 |= CR0_PE
    if mode == "virtual 8086":
        flags |= RFLAGS_VM
    if mode in ("32-bit", "PAE", "long", "compatibility"):
        cr0 |= CR0_PG
    if mode == "32-bit":
        cr4 |= draw(bits_of(CR4_PSE))
    if mode in ("PAE", "long", "compatibility"):
        cr4 |= CR4_PAE
    if mode in ("long", "compatibility"):
        efer |= EFER_LME | EFER_LMA
        changes["ldtr"] = draw(st.one_of(st.just(UNUSABLE), segments(CANONICAL, 0x82)))
    changes["tr"] = draw(segments(base, 0x8B))
    changes |= {"gdtr": draw(tables(base)), "idtr": draw(tables(base))}
    rip = draw(CANONICAL if mode == "long" else U32)
    cr3 = PDPT if mode == "PAE" else draw(U32) & ~0xFFF
    return changes | {"rflags": flags, "cr0": cr0, "cr3": cr3, "cr4": cr4, "efer": efer, "rip": rip}


@st.composite
def between_instructions(draw: st.DrawFn, flags: int, ring: int) -> dict[str, Any]:
    """Shadows, blocking, activity and what is pending."""
    shadows = [0, Interruptibility.BLOCKING_BY_MOV_SS]
    if flags & RFLAGS_IF:
        shadows.append(Interruptibility.BLOCKING_BY_STI)
    shadow = draw(st.sampled_from(shadows))
    # A CPU that halts has left the shadow.
    activity = [ActivityState.ACTIVE]
    if not shadow:
        activity += [ActivityState.WAIT_FOR_SIPI, *([] if ring else [ActivityState.HLT])]
    met = draw(st.integers(0, 15))
    return {
        "interruptibility": int(shadow | draw(bits_of(Interruptibility.BLOCKING_BY_NMI))),
        "activity_state": int(draw(st.sampled_from(activity))),
        "pending_debug_exceptions": (met | 1 << 12 if met else 0) | draw(bits_of(1 << 14)),
    }


@st.composite
def states(draw: st.DrawFn) -> CpuState:
    changes = draw(modes())
    changes |= draw(between_instructions(changes["rflags"], changes["ss"].access_rights >> 5 & 3))
    changes |= {name: draw(U64) for name in (*GPR_NAMES, "star", "sfmask", "tsc_adjust", "misc_enable")}
    changes |= {name: draw(U64) for name in ("mtrr_def_type", "mcg_status", "debugctl", "steal_time", "cr2")}
    changes |= {name: draw(CANONICAL) for name in ("lstar", "cstar", "kernel_gs_base")}
    changes |= {name: draw(CANONICAL) for name in ("sysenter_esp", "sysenter_eip")}
    changes |= {"sysenter_cs": draw(U16), "tsc_aux": draw(U32), "cr8": draw(st.integers(0, 15))}
    changes["pat"] = sum(draw(st.sampled_from([0, 1, 4, 5, 6, 7])) << 8 * i for i in range(8))
    changes["xcr0"] = draw(st.sampled_from([1, 3, 0x203]))
    changes["apic_base"] = draw(st.sampled_from([0xFEE00900, 0xFEE00D00, 0xFEE00100, 0xD0000900]))
    changes["dr"] = [draw(U64) for _ in range(4)]
    changes["dr"] += [0, 0, draw(bits_of(0xE00F)) | 0xFFFF0FF0, draw(bits_of(0xFFFF00FF)) | 0x400]
    changes["mtrr_fixed"] = draw(st.lists(U64, min_size=11, max_size=11))
    changes["mtrr_variable"] = draw(st.lists(U64, min_size=16, max_size=16))
    changes["mcg_ctl"] = draw(st.sampled_from([0, MC_ALL_ENABLED]))
    enabled = st.sampled_from([0, MC_ALL_ENABLED])
    changes["mc_banks"] = [draw(U64 if i % 4 else enabled) for i in range(control_block.MC_BANK_MSRS)]
    changes["mxcsr"], changes["pkru"] = draw(U16), draw(U32)
    changes["xsave"] = draw(xsave_areas(changes["mxcsr"], changes["pkru"]))
    if changes["cr4"] & CR4_PAE and not changes["efer"] & EFER_LMA:
        changes["pdpte"] = draw(st.lists(bits_of(PDPTE_VALID), min_size=4, max_size=4))
    return reset_state().replace(**changes)


def differences(got: CpuState, wanted: CpuState) -> list[str]:
    pairs = ((name, getattr(got, name), getattr(wanted, name)) for name in REGISTER_NAMES)
    return [f"{name}: {one!r} is not {other!r}" for name, one, other in pairs if one != other]


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(states(), states())
def test_a_state_survives_a_load_and_a_save_whatever_was_there_before(
    long_mode: LongModeMachine, first: CpuState, second: CpuState
) -> None:
    """By a reset, and over another state."""
    for index, value in enumerate(first.pdpte):
        long_mode.store(PDPT + 8 * index, value, 8)
    long_mode.start(first)
    assert differences(long_mode.pause(), first) == []
    for index, value in enumerate(second.pdpte):
        long_mode.store(PDPT + 8 * index, value, 8)
    second.store(long_mode.area.control.guest)
    long_mode.engine.load_state()
    long_mode.engine.save_state()
    assert differences(CpuState.fetch(long_mode.area.control.guest), second) == []
