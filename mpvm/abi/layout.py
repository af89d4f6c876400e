"""The shared-memory layouts, declared once.

Python reads them through `ctypes`, C through the header that `mpvm.abi.cheader` generates from
these classes at build time. Field names follow the SDM (volume 3, chapters 10 and 24 on) and KVM's API.
All integers are little-endian and naturally aligned; the generated header asserts every offset.

One shared-memory block, the *VM block*, holds in this order::

    VmPage | VcpuArea * maxcpus | page map: holders u64 * npages | page map: writers u64 * npages
    | dirty log: a bit a page

Pages of the page map are numbered by their offset in guest RAM, which is one more shared-memory block or, in
one process, any memory of it (`VmPage.backend`); `VmPage.slot` says which part of it the guest sees where.
"""

import ctypes
from enum import IntEnum, IntFlag

from mpvm.abi.control_block import ControlBlock, i64, u8, u16, u32, u64
from mpvm.abi.feature_words import FEATURE_WORDS

ABI_MAGIC = 0x4D56504D  # "MPVM"
ABI_VERSION = 1

PAGE_SIZE = 4096
MAX_VCPUS = 64
MAX_MEMORY_SLOTS = 64
MAX_CPUID_ENTRIES = 64
MAX_EXIT_REASONS = 144
POSTED_RING_ENTRIES = 1024
MAILBOX_ENTRIES = 64
IO_PORTS = 0x10000
MAX_SHADOWS = 64
MAX_MEMORY_SHADOWS = 4
MAX_DEVICE_RANGES = 32
IOAPIC_REGISTERS = 64
NMIS_MAX = 2


class RunState(IntEnum):
    """What the whole VM is doing; written by the coordinator only."""

    PRELAUNCH = 0
    RUNNING = 1
    PAUSED = 2
    SHUTDOWN = 3


class VcpuMode(IntEnum):
    """Where a vCPU's process is; written by its worker only.

    Mail to a vCPU that is not `IN_GUEST` needs no waiting for: it is read before the next entry.
    """

    OUTSIDE = 0
    IN_GUEST = 1
    HALTED = 2
    WAIT_FOR_SIPI = 3
    PAUSED = 4
    STOPPED = 5


class Request(IntFlag):
    """What the coordinator asks of a worker by `VcpuArea.request`, which only it writes, and a kick."""

    PAUSE = 1
    STOP = 2


class ResumeFlag(IntFlag):
    """How a worker goes on (field of the RESUME message). LOAD_STATE alone: with what another has saved.

    FIRMWARE, with a RESET: with what firmware has set on each CPU beside the boot processor's state.
    """

    RESET = 1
    LOAD_STATE = 2
    CONTROLS = 4
    FIRMWARE = 8


class MailKind(IntEnum):
    """A request in a mailbox (docs/coherence.md)."""

    NONE = 0
    DROP_CODE = 1
    WATCH_WRITES = 2


class Startup(IntFlag):
    """What `InterruptInbox.startup` holds; the low byte is the SIPI's vector."""

    SIPI = 0x100
    INIT = 0x200


class PostedKind(IntEnum):
    """What a posted-write ring entry carries. FERR: the vCPU's x87 has an error that #MF does not tell of."""

    PORT = 0
    MMIO = 1
    EOI = 2
    FERR = 3


class PortWrite(IntEnum):
    """Who hears of a write to a port, in `VmPage.port_posted`: the coordinator now, it later, or nobody.

    IGNORED: the device there does nothing with it. NOBODY: there is no device, until one comes.
    """

    SYNCHRONOUS = 0
    POSTED = 1
    IGNORED = 2
    NOBODY = 3


class ShadowKind(IntEnum):
    """How a worker computes a shadowed read."""

    NONE = 0
    CONSTANT = 1
    COUNTER = 2
    NOBODY = 3  # all ones, in every width: nothing answers


class SlotFlag(IntFlag):
    """Flags of a memory slot, as KVM_MEM_<name>."""

    LOG_DIRTY_PAGES = 1 << 0
    READONLY = 1 << 1


class MemorySlot(ctypes.Structure):
    """A piece of guest RAM: `size` bytes at guest-physical `gpa`, found at `offset` of guest RAM."""

    _fields_ = [("gpa", u64), ("size", u64), ("offset", u64), ("flags", u64)]


class MemoryBackend(ctypes.Structure):
    """`size` bytes of guest RAM from `offset` on; no two backends overlap.

    They lie at the same offset of the RAM block or, where `host` is not 0, at that address of the one
    process that all vCPUs are in.
    """

    _fields_ = [("offset", u64), ("size", u64), ("host", u64)]


class PostedWrite(ctypes.Structure):
    """One entry of the ring of posted writes; `seq` is its ticket + 1 once it is complete."""

    _fields_ = [
        ("seq", u64),
        ("address", u64),
        ("value", u64),
        ("kind", u8),
        ("size", u8),
        ("vcpu", u16),
        ("reserved", u32),
    ]


class Shadow(ctypes.Structure):
    """A register whose read has no side effect.

    CONSTANT: the value is `value`. COUNTER: ``(value + (now - base_ns) * hz / 10**9) & mask`` with
    `now` CLOCK_MONOTONIC in ns. `seq` is odd while the device writes (seqlock).
    """

    _fields_ = [
        ("seq", u32),
        ("kind", u32),
        ("value", u64),
        ("base_ns", u64),
        ("hz", u64),
        ("mask", u64),
    ]


class MemoryShadow(ctypes.Structure):
    """A shadowed register of 8 bytes in memory: the guest-physical address, and which of `VmPage.shadow`."""

    _fields_ = [("gpa", u64), ("shadow", u64)]


class DeviceRange(ctypes.Structure):
    """Guest-physical addresses from `start` up to `end`, where a device answers."""

    _fields_ = [("start", u64), ("end", u64)]


class VmPage(ctypes.Structure):
    """State of the whole VM.

    `smp`: how many vCPUs were there from the start, of those that can be and have areas; `present` has a bit
    for each that is there, `runnable` for each that has something to do.

    Backends, slots and `dirty_logging` (whether any slot's dirty pages are logged) are changed only while no
    vCPU runs; each takes them over on its way back into the guest when `memory_generation` has changed.
    `precise_exits`: an I/O, MMIO or window exit leaves the vCPU between two instructions, its whole state is
    in the control block and may be changed before the next entry; else it stands in the middle of one.
    `state_port`: without that, too, an access to this port, if it is not 0, exits with the whole state in the
    control block, and the answer may change it.

    `device_ranges_seq` is odd while the list of ranges changes, and 0 where nobody tells of any: then each
    access is the coordinator's. The I/O APIC at `ioapic_base` (0: none) has its index register and what its
    other registers read as here; workers write the index register themselves.
    """

    _fields_ = [
        ("magic", u32),
        ("version", u32),
        ("smp", u32),
        ("run_state", u32),
        ("vm_block_size", u64),
        ("vcpu_stride", u64),
        ("vcpu_offset", u64),
        ("holders_offset", u64),
        ("writers_offset", u64),
        ("page_count", u64),
        ("ram_block_size", u64),
        ("tsc_offset", i64),
        ("tsc_khz", u64),
        ("clock_base_ns", u64),
        ("slot_count", u32),
        ("pic_intr", u32),
        ("a20_mask", u32),
        ("posted_armed", u32),
        ("slot", MemorySlot * MAX_MEMORY_SLOTS),
        ("coherence_lock", u32),
        ("exclusive", u32),
        ("dma_page", u32),
        ("state_port", u32),
        ("runnable", u64),
        ("present", u64),
        ("dirty_offset", u64),
        ("memory_generation", u32),
        ("backend_count", u32),
        ("dirty_logging", u32),
        ("precise_exits", u32),
        ("backend", MemoryBackend * MAX_MEMORY_SLOTS),
        ("reserved", u8 * 8),
        ("posted_tail", u64),
        ("posted_pad0", u8 * 56),
        ("posted_head", u64),
        ("posted_pad1", u8 * 56),
        ("posted", PostedWrite * POSTED_RING_ENTRIES),
        ("shadow", Shadow * MAX_SHADOWS),
        ("memory_shadow", MemoryShadow * MAX_MEMORY_SHADOWS),
        ("memory_shadow_count", u64),
        ("device_ranges_seq", u32),
        ("device_range_count", u32),
        ("device_range", DeviceRange * MAX_DEVICE_RANGES),
        ("ioapic_base", u64),
        ("ioapic_select", u32),
        ("reserved1", u32),
        ("ioapic_registers", u32 * IOAPIC_REGISTERS),
        ("port_posted", u8 * IO_PORTS),
        ("port_shadow", u8 * IO_PORTS),
    ]


class CpuidEntry(ctypes.Structure):
    """As `struct kvm_cpuid_entry2`; flags bit 0: `index` is significant."""

    _fields_ = [
        ("function", u32),
        ("index", u32),
        ("flags", u32),
        ("eax", u32),
        ("ebx", u32),
        ("ecx", u32),
        ("edx", u32),
        ("reserved", u32),
    ]


class InterruptInbox(ctypes.Structure):
    """Interrupts that others have sent and this vCPU has not taken into its local APIC yet.

    A sender stores plain bytes, sets `any` last, then kicks. `vector[v]`: 1 edge, 2 level.
    `nmi`: how many wait, at most `NMIS_MAX`: the one that is delivered next, and one that waits for its end.
    `startup`: an INIT, and the SIPI that came after it (`Startup`), in one word, for they are taken together.
    """

    _fields_ = [
        ("vector", u8 * 256),
        ("any", u8),
        ("nmi", u8),
        ("smi", u8),
        ("extint", u8),
        ("startup", u32),
    ]


class Mail(ctypes.Structure):
    """A request of another vCPU: do `kind` to guest page number `page` of the page map."""

    _fields_ = [("kind", u32), ("page", u32)]


class Mailbox(ctypes.Structure):
    """A ring of requests: `head` is written by its owner, `tail` by whoever holds the coherence lock.

    That one sets `awaited` when it goes to sleep until the owner has read its mail or is outside the guest;
    the owner then counts `answered` up and wakes it.
    """

    _fields_ = [
        ("head", u32),
        ("tail", u32),
        ("overflow", u32),
        ("awaited", u32),
        ("answered", u32),
        ("reserved", u32),
        ("mail", Mail * MAILBOX_ENTRIES),
    ]


class Counters(ctypes.Structure):
    """What one vCPU did. `exits` is indexed by `ExitReason`.

    `guest_ns` is time in guest code, `halted_ns` in HLT and wait-for-SIPI. By the host's scheduler, `run_ns`
    is the worker's thread's time on a CPU, `stolen_ns` what it waited for one while it could have run.
    """

    _fields_ = [
        ("exits", u64 * MAX_EXIT_REASONS),
        ("interrupts", u64),
        ("nmis", u64),
        ("halts", u64),
        ("pauses", u64),
        ("yields", u64),
        ("kicks", u64),
        ("ipis_sent", u64),
        ("posted_writes", u64),
        ("shadowed_reads", u64),
        ("exclusive_steps", u64),
        ("code_drops", u64),
        ("write_watches", u64),
        ("guest_ns", u64),
        ("halted_ns", u64),
        ("run_ns", u64),
        ("stolen_ns", u64),
    ]


class LocalApicPage(ctypes.Structure):
    """The local APIC's register page (SDM vol. 3, table 10-1), each register at its offset / 4.

    Here so that the control room and another accelerator can see it; written by its worker only.
    """

    _fields_ = [
        ("regs", u32 * 256),
        ("timer_start_ns", u64),
        ("timer_expiry_ns", u64),
        ("tsc_deadline", u64),
        ("error_pending", u32),
        ("reserved", u32),
    ]


class VcpuArea(ctypes.Structure):
    """One vCPU's area of the VM block.

    `attention_at`: where, from the area's start, the word lies that translated code tests at each block's
    start, 0 before there is an engine. It is in the page behind the structure, of which the rest is the
    engine's.

    `host_cpus`: how many CPUs of the host its worker may run on; `rivals`: a bit for each vCPU whose worker
    may run on one of them, itself among them (docs/overcommit.md).
    """

    _fields_ = [
        ("index", u32),
        ("apic_id", u32),
        ("pid", u32),
        ("tid", u32),
        ("mode", u32),
        ("wake", u32),
        ("request", u32),
        ("mp_state", u32),
        ("is_bsp", u32),
        ("cpuid_count", u32),
        ("first_entry_ns", u64),
        ("attention_at", u32),
        ("host_cpus", u32),
        ("rivals", u64),
        ("inbox", InterruptInbox),
        ("mailbox", Mailbox),
        ("control", ControlBlock),
        ("counters", Counters),
        ("lapic", LocalApicPage),
        ("features", u64 * FEATURE_WORDS),
        ("cpuid", CpuidEntry * MAX_CPUID_ENTRIES),
    ]


def _round_up(value: int, unit: int) -> int:
    return -(-value // unit) * unit


VCPU_OFFSET = _round_up(ctypes.sizeof(VmPage), PAGE_SIZE)
#: An area, and the page of its engine that has the word at `VcpuArea.attention_at`.
VCPU_STRIDE = _round_up(ctypes.sizeof(VcpuArea), PAGE_SIZE) + PAGE_SIZE


def vm_block_size(maxcpus: int, ram_bytes: int) -> int:
    """Bytes of the VM block for up to `maxcpus` vCPUs and `ram_bytes` of guest RAM."""
    return dirty_offset(maxcpus, ram_bytes) + _round_up(ram_bytes // PAGE_SIZE // 8, PAGE_SIZE)


def holders_offset(maxcpus: int) -> int:
    """Offset in the VM block of the page map's holder words."""
    return VCPU_OFFSET + maxcpus * VCPU_STRIDE


def writers_offset(maxcpus: int, ram_bytes: int) -> int:
    """Offset in the VM block of the page map's writer words."""
    return holders_offset(maxcpus) + _round_up(ram_bytes // PAGE_SIZE * 8, PAGE_SIZE)


def dirty_offset(maxcpus: int, ram_bytes: int) -> int:
    """Offset in the VM block of the dirty log."""
    return writers_offset(maxcpus, ram_bytes) + _round_up(ram_bytes // PAGE_SIZE * 8, PAGE_SIZE)
