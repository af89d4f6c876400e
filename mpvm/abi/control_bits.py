"""What the fields of the control block hold (SDM vol. 3, chapters 24 to 27): bits have the SDM's positions.

Apart from the layout, which every start imports: the coordinator needs these only where somebody asks for
exits or state.
"""

from enum import IntEnum, IntFlag


class PinBased(IntFlag):
    """Pin-based controls (SDM vol. 3, table 24-5)."""

    EXTERNAL_INTERRUPT_EXITING = 1 << 0
    NMI_EXITING = 1 << 3
    PREEMPTION_TIMER = 1 << 6


class ProcessorBased(IntFlag):
    """Primary processor-based controls (SDM vol. 3, table 24-6)."""

    INTERRUPT_WINDOW_EXITING = 1 << 2
    USE_TSC_OFFSETTING = 1 << 3
    HLT_EXITING = 1 << 7
    INVLPG_EXITING = 1 << 9
    MWAIT_EXITING = 1 << 10
    RDPMC_EXITING = 1 << 11
    RDTSC_EXITING = 1 << 12
    CR3_LOAD_EXITING = 1 << 15
    CR3_STORE_EXITING = 1 << 16
    CR8_LOAD_EXITING = 1 << 19
    CR8_STORE_EXITING = 1 << 20
    NMI_WINDOW_EXITING = 1 << 22
    MOV_DR_EXITING = 1 << 23
    UNCONDITIONAL_IO_EXITING = 1 << 24
    USE_IO_BITMAPS = 1 << 25
    MONITOR_TRAP_FLAG = 1 << 27
    USE_MSR_BITMAPS = 1 << 28
    MONITOR_EXITING = 1 << 29
    PAUSE_EXITING = 1 << 30
    ACTIVATE_SECONDARY_CONTROLS = 1 << 31


class Secondary(IntFlag):
    """Secondary processor-based controls (SDM vol. 3, table 24-7)."""

    DESCRIPTOR_TABLE_EXITING = 1 << 2
    RDTSCP = 1 << 3
    WBINVD_EXITING = 1 << 6
    RDRAND_EXITING = 1 << 11
    INVPCID = 1 << 12


class Unconditional(IntFlag):
    """Instructions that always exit under VMX (SDM vol. 3, 25.1.2) and that accelerators here serve.

    A bit makes the instruction exit to whoever owns the vCPU. AMD has such intercept bits (APM vol. 2, 15.9).
    """

    CPUID_EXITING = 1 << 0
    XSETBV_EXITING = 1 << 1
    INVD_EXITING = 1 << 2


class ExitCause(IntEnum):
    """Why an exit came: the machine is asked something, or an execution control says so."""

    MACHINE = 0
    CONTROL = 1


class Answer(IntFlag):
    """What the owner asks for when it answers an exit; without any, the event is served as with no control.

    STATE: the guest state was written and is taken over. DONE: the owner has served the event itself.
    """

    STATE = 1
    DONE = 2


class EventType(IntEnum):
    """The type of an event to inject or that was being delivered (SDM vol. 3, table 24-16)."""

    EXTERNAL_INTERRUPT = 0
    NMI = 2
    HARDWARE_EXCEPTION = 3
    SOFTWARE_INTERRUPT = 4
    PRIVILEGED_SOFTWARE_EXCEPTION = 5
    SOFTWARE_EXCEPTION = 6


class InterruptionInformation(IntFlag):
    """The bits around vector (7:0) and `EventType` (10:8) of an interruption-information field."""

    DELIVER_ERROR_CODE = 1 << 11
    NMI_UNBLOCKING = 1 << 12
    VALID = 1 << 31


class ActivityState(IntEnum):
    """What a vCPU does between its instructions (SDM vol. 3, 24.4.2)."""

    ACTIVE = 0
    HLT = 1
    SHUTDOWN = 2
    WAIT_FOR_SIPI = 3


class Interruptibility(IntFlag):
    """Interruptibility state (SDM vol. 3, table 24-3)."""

    BLOCKING_BY_STI = 1 << 0
    BLOCKING_BY_MOV_SS = 1 << 1
    BLOCKING_BY_SMI = 1 << 2
    BLOCKING_BY_NMI = 1 << 3
