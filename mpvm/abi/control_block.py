"""The control block of a vCPU: what the VMCS is to a real CPU (SDM vol. 3, chapters 24 to 27).

Written by whoever owns the stopped vCPU, read by its accelerator at entry; the guest state and the exit
information go the other way at an exit. Names are the SDM's, its bits are in
`mpvm.abi.control_bits`. What no accelerator here has (EPT, VPID, shadow VMCS, APIC virtualization) has
no field.
"""

import ctypes
from enum import IntEnum

u8, u16, u32, u64, i64 = (
    ctypes.c_uint8,
    ctypes.c_uint16,
    ctypes.c_uint32,
    ctypes.c_uint64,
    ctypes.c_int64,
)

XSAVE_BYTES = 4096
IO_BITMAP_BYTES = 8192
MSR_BITMAP_BYTES = 4096
MAX_MSR_LIST = 32
MTRR_FIXED = 11
MTRR_VARIABLE = 16
MC_BANK_MSRS = 40


class ResetValue(IntEnum):
    """Registers that do not start with the SDM's value: what firmware leaves, for a guest without one.

    MTRRs on and write-back by default; IA32_MISC_ENABLE with fast strings, as on every CPU of the models.
    """

    MTRR_DEF_TYPE = 0xC06
    MISC_ENABLE = 1


class Segment(ctypes.Structure):
    """A segment register; `access_rights` in the VMCS format (SDM vol. 3, table 24-2)."""

    _fields_ = [
        ("base", u64),
        ("limit", u32),
        ("selector", u16),
        ("reserved", u16),
        ("access_rights", u32),
        ("reserved1", u32),
    ]


class DescriptorTable(ctypes.Structure):
    """GDTR or IDTR."""

    _fields_ = [("base", u64), ("limit", u32), ("reserved", u32)]


class GuestState(ctypes.Structure):
    """All architectural registers; `gpr` in encoding order: RAX RCX RDX RBX RSP RBP RSI RDI R8..R15.

    `xsave` is the XSAVE area in standard format (SDM vol. 1, 13.4); its first 512 bytes are an FXSAVE image.
    A component whose bit XSTATE_BV has clear is in its initial state. MXCSR and PKRU are there, too; what
    counts is `mxcsr` and `pkru`. In PAE paging `pdpte` is the PDPTE registers; four zeros, as KVM_SET_SREGS
    leaves there, have them loaded from the table at CR3.
    `mtrr_variable` has bases and masks in turn, `mc_banks` CTL, STATUS, ADDR and MISC of each bank.
    """

    _fields_ = [
        ("gpr", u64 * 16),
        ("rip", u64),
        ("rflags", u64),
        ("es", Segment),
        ("cs", Segment),
        ("ss", Segment),
        ("ds", Segment),
        ("fs", Segment),
        ("gs", Segment),
        ("ldtr", Segment),
        ("tr", Segment),
        ("gdtr", DescriptorTable),
        ("idtr", DescriptorTable),
        ("cr0", u64),
        ("cr2", u64),
        ("cr3", u64),
        ("cr4", u64),
        ("cr8", u64),
        ("pdpte", u64 * 4),
        ("efer", u64),
        ("dr", u64 * 8),
        ("star", u64),
        ("lstar", u64),
        ("cstar", u64),
        ("sfmask", u64),
        ("kernel_gs_base", u64),
        ("sysenter_cs", u64),
        ("sysenter_esp", u64),
        ("sysenter_eip", u64),
        ("pat", u64),
        ("tsc_aux", u64),
        ("tsc_adjust", u64),
        ("apic_base", u64),
        ("misc_enable", u64),
        ("mtrr_def_type", u64),
        ("mtrr_fixed", u64 * MTRR_FIXED),
        ("mtrr_variable", u64 * MTRR_VARIABLE),
        ("mcg_status", u64),
        ("mcg_ctl", u64),
        ("mc_banks", u64 * MC_BANK_MSRS),
        ("debugctl", u64),
        ("steal_time", u64),
        ("xcr0", u64),
        ("mxcsr", u32),
        ("interruptibility", u32),
        ("activity_state", u32),
        ("reserved", u32),
        ("pending_debug_exceptions", u64),
        ("pkru", u64),
        ("pkrs", u64),
        ("xsave", u8 * XSAVE_BYTES),
    ]


class ExecutionControls(ctypes.Structure):
    """Which events exit (SDM vol. 3, 24.6).

    `io_bitmap` is A and B together, a bit a port; `msr_bitmap` as 24.6.9 has it: reads of MSRs from 0 on,
    reads from C0000000H on, writes of the one, writes of the other, 1 KiB each; other MSRs always exit.
    Without USE_MSR_BITMAPS none does (under VMX all do): what is not set makes nothing exit here.
    Of a bit that is set in `cr0_guest_host_mask` (`cr4_`), the guest reads the shadow's.
    """

    _fields_ = [
        ("pin_based", u32),
        ("processor_based", u32),
        ("secondary", u32),
        ("unconditional", u32),
        ("exception_bitmap", u32),
        ("page_fault_error_code_mask", u32),
        ("page_fault_error_code_match", u32),
        ("cr3_target_count", u32),
        ("cr3_target", u64 * 4),
        ("cr0_guest_host_mask", u64),
        ("cr0_read_shadow", u64),
        ("cr4_guest_host_mask", u64),
        ("cr4_read_shadow", u64),
        ("tsc_offset", i64),
        ("preemption_timer_value", u32),
        ("reserved", u32),
        ("io_bitmap", u8 * IO_BITMAP_BYTES),
        ("msr_bitmap", u8 * MSR_BITMAP_BYTES),
    ]


class MsrEntry(ctypes.Structure):
    """An MSR and its value in a list (SDM vol. 3, table 24-12)."""

    _fields_ = [("index", u32), ("reserved", u32), ("data", u64)]


class ExitControls(ctypes.Structure):
    """What an exit does beside saving the guest state: the MSRs that it stores (SDM vol. 3, 24.7.2)."""

    _fields_ = [("msr_store_count", u32), ("reserved", u32), ("msr_store", MsrEntry * MAX_MSR_LIST)]


class EntryControls(ctypes.Structure):
    """What the next entry does: MSRs to load, an event to inject (SDM vol. 3, 24.8).

    The VALID bit of `interruption_information` is cleared once the event is in delivery.
    """

    _fields_ = [
        ("interruption_information", u32),
        ("exception_error_code", u32),
        ("instruction_length", u32),
        ("msr_load_count", u32),
        ("msr_load", MsrEntry * MAX_MSR_LIST),
    ]


class ExitInformation(ctypes.Structure):
    """Why the last `run()` came back (SDM vol. 3, 24.9; KVM's `struct kvm_run`).

    `direction` to `data` are an I/O, MMIO or MSR exit's; `failed_check` is the number of the check that a
    FAIL_ENTRY is about. `cause` is an `ExitCause`; `answer` (`Answer`) is its owner's to write.
    """

    _fields_ = [
        ("reason", u32),
        ("instruction_length", u32),
        ("qualification", u64),
        ("guest_physical_address", u64),
        ("guest_linear_address", u64),
        ("direction", u8),
        ("size", u8),
        ("port", u16),
        ("count", u32),
        ("data", u64),
        ("interruption_information", u32),
        ("interruption_error_code", u32),
        ("idt_vectoring_information", u32),
        ("idt_vectoring_error_code", u32),
        ("msr_index", u32),
        ("failed_check", u32),
        ("instruction_information", u32),
        ("cause", u32),
        ("answer", u32),
        ("reserved", u32),
    ]


class ControlBlock(ctypes.Structure):
    """What the VMCS is to a real CPU."""

    _fields_ = [
        ("guest", GuestState),
        ("execution", ExecutionControls),
        ("exit_controls", ExitControls),
        ("entry", EntryControls),
        ("exit", ExitInformation),
    ]
