"""Generates `workers/engine/abi.h` from `mpvm.abi`, so that no layout is written twice."""

import ctypes
from enum import IntEnum, IntFlag
from typing import Any

from mpvm.abi import control_bits, control_block, entry_checks, exits, feature_words, layout, log

_C_NAMES = {
    ctypes.c_uint8: "uint8_t",
    ctypes.c_uint16: "uint16_t",
    ctypes.c_uint32: "uint32_t",
    ctypes.c_uint64: "uint64_t",
    ctypes.c_int64: "int64_t",
}

_STRUCTS: tuple[type[ctypes.Structure], ...] = (
    layout.MemorySlot,
    layout.MemoryBackend,
    layout.PostedWrite,
    layout.Shadow,
    layout.MemoryShadow,
    layout.DeviceRange,
    layout.VmPage,
    control_block.Segment,
    control_block.DescriptorTable,
    control_block.GuestState,
    control_block.ExecutionControls,
    control_block.MsrEntry,
    control_block.ExitControls,
    control_block.EntryControls,
    control_block.ExitInformation,
    control_block.ControlBlock,
    layout.CpuidEntry,
    layout.InterruptInbox,
    layout.Mail,
    layout.Mailbox,
    layout.Counters,
    layout.LocalApicPage,
    layout.VcpuArea,
)

_ENUMS: tuple[tuple[str, type[IntEnum] | type[IntFlag]], ...] = (
    ("EXIT", exits.ExitReason),
    ("IO", exits.IoDirection),
    ("EXTINT", exits.ExtInt),
    ("LOG", log.LogItem),
    ("RUN", layout.RunState),
    ("MODE", layout.VcpuMode),
    ("REQUEST", layout.Request),
    ("MAIL", layout.MailKind),
    ("STARTUP", layout.Startup),
    ("POSTED", layout.PostedKind),
    ("PORT_WRITE", layout.PortWrite),
    ("SHADOW", layout.ShadowKind),
    ("FEATURE_WORD", feature_words.FeatureWord),
    ("SLOT", layout.SlotFlag),
    ("PIN_BASED", control_bits.PinBased),
    ("PROCESSOR_BASED", control_bits.ProcessorBased),
    ("SECONDARY", control_bits.Secondary),
    ("UNCONDITIONAL", control_bits.Unconditional),
    ("CAUSE", control_bits.ExitCause),
    ("ANSWER", control_bits.Answer),
    ("ENTRY_CHECK", entry_checks.EntryCheck),
    ("EVENT", control_bits.EventType),
    ("INTERRUPTION", control_bits.InterruptionInformation),
    ("ACTIVITY", control_bits.ActivityState),
    ("INTERRUPTIBILITY", control_bits.Interruptibility),
    ("RESET", control_block.ResetValue),
)

_CONSTANTS = (
    "ABI_MAGIC",
    "ABI_VERSION",
    "MAX_VCPUS",
    "MAX_MEMORY_SLOTS",
    "MAX_CPUID_ENTRIES",
    "MAX_EXIT_REASONS",
    "POSTED_RING_ENTRIES",
    "MAILBOX_ENTRIES",
    "MAX_SHADOWS",
    "MAX_MEMORY_SHADOWS",
    "MAX_DEVICE_RANGES",
    "IOAPIC_REGISTERS",
    "NMIS_MAX",
    "FEATURE_WORDS",
)


_INT_MAX = (1 << 31) - 1

_CONTROL_BLOCK_CONSTANTS = (
    "XSAVE_BYTES",
    "IO_BITMAP_BYTES",
    "MSR_BITMAP_BYTES",
    "MAX_MSR_LIST",
    "MTRR_FIXED",
    "MTRR_VARIABLE",
    "MC_BANK_MSRS",
)


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


def _declare(name: str, field_type: Any) -> str:
    dimensions = ""
    while issubclass(field_type, ctypes.Array):
        dimensions += f"[{field_type._length_}]"
        field_type = field_type._type_
    c_name = _C_NAMES.get(field_type)
    if c_name is None:
        c_name = f"struct mpvm_{_snake(field_type.__name__)}"
    return f"{c_name} {name}{dimensions}"


def _declare_enum(prefix: str, enum: type[IntEnum] | type[IntFlag]) -> list[str]:
    # An enumerator is an int (C11, 6.7.2.2): bit 31 does not fit.
    if max(enum) > _INT_MAX:
        return [f"#define MPVM_{prefix}_{member.name} {int(member):#x}u" for member in enum]
    return ["enum {", *(f"    MPVM_{prefix}_{member.name} = {int(member)}," for member in enum), "};"]


def generate() -> str:
    """The text of `abi.h`."""
    lines = [
        "/* Generated from mpvm/abi by mpvm.abi.cheader. Do not edit. */",
        "#ifndef MPVM_ABI_H",
        "#define MPVM_ABI_H",
        "#include <stddef.h>",
        "#include <stdint.h>",
        "",
    ]
    lines += [f"#define MPVM_{name} {getattr(layout, name)}u" for name in _CONSTANTS]
    lines += [f"#define MPVM_{name} {getattr(control_block, name)}u" for name in _CONTROL_BLOCK_CONSTANTS]
    for prefix, enum in _ENUMS:
        lines += ["", *_declare_enum(prefix, enum)]
    for struct in _STRUCTS:
        name = f"struct mpvm_{_snake(struct.__name__)}"
        lines += ["", f"{name} {{"]
        lines += [f"    {_declare(field[0], field[1])};" for field in struct._fields_]
        lines += ["};"]
        for field in struct._fields_:
            offset = getattr(struct, field[0]).offset
            lines.append(
                f'_Static_assert(offsetof({name}, {field[0]}) == {offset}, "{struct.__name__}.{field[0]}");'
            )
        lines.append(f'_Static_assert(sizeof({name}) == {ctypes.sizeof(struct)}, "{struct.__name__}");')
    lines += ["", "#endif", ""]
    return "\n".join(lines)
