/* Port and memory-mapped I/O: shadowed reads and posted writes here, the rest exits. */
#include "engine.h"

#define TSS_BUSY_TYPE 9
#define TSS_IO_MAP_BASE 0x66

/* SDM vol. 1, 19.5.2: below IOPL the TSS's bitmap decides. */
static void port_check(struct vcpu *vcpu, uint32_t port, unsigned size, uintptr_t retaddr)
{
    CPUX86State *env = vcpu->env;
    uint32_t hflags = ENV_HFLAGS(env);
    const struct SegmentCache *tr = ENV_TR(env);
    uint64_t eflags = ENV_EFLAGS(env);
    uint32_t offset, bits;

    if (!(hflags & HF_PE_MASK) ||
        ((hflags & HF_CPL_MASK) <= (eflags >> 12 & 3) && !(eflags & EFLAGS_VM))) {
        return;
    }
    /* Type 9 or 11: an available or busy 32-bit (or 64-bit) TSS. */
    if ((tr->flags & DESC_P_MASK) && (tr->flags >> 8 & 0xd) == TSS_BUSY_TYPE && tr->limit >= 103) {
        offset = uc.cpu_lduw_mmuidx_ra(env, tr->base + TSS_IO_MAP_BASE, MMU_KNOSMAP_IDX, retaddr) + (port >> 3);
        if (offset + 1 <= tr->limit) {
            bits = uc.cpu_lduw_mmuidx_ra(env, tr->base + offset, MMU_KNOSMAP_IDX, retaddr) >> (port & 7);
            if ((bits & ((1u << size) - 1)) == 0) {
                return;
            }
        }
    }
    uc.raise_exception_err_ra(env, EXCP_GP, 0, retaddr);
}

static bool shadow_read(struct vcpu *vcpu, unsigned slot, unsigned size, uint64_t *value)
{
    const struct mpvm_shadow *shadow = &vcpu->vm->shadow[slot];
    struct mpvm_shadow copy;
    uint32_t seq;

    do {
        seq = __atomic_load_n(&shadow->seq, __ATOMIC_ACQUIRE);
        copy = *(const volatile struct mpvm_shadow *)shadow;
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
    } while ((seq & 1) != 0 || seq != __atomic_load_n(&shadow->seq, __ATOMIC_ACQUIRE));
    switch (copy.kind) {
    case MPVM_SHADOW_NOBODY:
        *value = UINT64_MAX;
        break;
    case MPVM_SHADOW_CONSTANT:
        *value = copy.value;
        break;
    case MPVM_SHADOW_COUNTER: {
        uint64_t ns = monotonic_ns() - copy.base_ns;

        *value = (copy.value + (uint64_t)((unsigned __int128)ns * copy.hz / 1000000000u)) & copy.mask;
        break;
    }
    default:
        return false;
    }
    *value &= size == 8 ? UINT64_MAX : (1ull << 8 * size) - 1;
    vcpu->area->counters.shadowed_reads++;
    return true;
}

/* Constants are byte registers, counters are four bytes wide; an access beyond that is two registers. Where nobody
 * answers, nobody answers a wider access whose other ports are nobody's, too. */
static bool shadow_covers(const struct vcpu *vcpu, uint32_t port, unsigned size)
{
    unsigned shadow = vcpu->vm->port_shadow[port];

    switch (vcpu->vm->shadow[shadow - 1].kind) {
    case MPVM_SHADOW_COUNTER:
        return size <= 4;
    case MPVM_SHADOW_NOBODY:
        for (unsigned i = 1; i < size; i++) {
            if (vcpu->vm->port_shadow[(port + i) & 0xffff] != shadow) {
                return false;
            }
        }
        return true;
    default:
        return size == 1;
    }
}

/* Who hears of a write to these ports: the one that hears soonest. */
static unsigned who_hears(const struct vcpu *vcpu, uint32_t port, unsigned size)
{
    unsigned who = vcpu->vm->port_posted[port];

    for (unsigned i = 1; i < size; i++) {
        unsigned other = vcpu->vm->port_posted[(port + i) & 0xffff];

        if (other < who) {
            who = other;
        }
    }
    return who;
}

/* Append to the ring of posted writes; false when it is full. Tickets give all vCPUs' writes one order. */
static bool post(struct vcpu *vcpu, uint32_t kind, uint64_t address, unsigned size, uint64_t value)
{
    struct mpvm_vm_page *vm = vcpu->vm;
    uint64_t ticket = __atomic_load_n(&vm->posted_tail, __ATOMIC_RELAXED);
    struct mpvm_posted_write *entry;

    do {
        if (ticket - __atomic_load_n(&vm->posted_head, __ATOMIC_ACQUIRE) >= MPVM_POSTED_RING_ENTRIES) {
            return false;
        }
    } while (!__atomic_compare_exchange_n(&vm->posted_tail, &ticket, ticket + 1, true, __ATOMIC_SEQ_CST,
                                          __ATOMIC_RELAXED));
    entry = &vm->posted[ticket % MPVM_POSTED_RING_ENTRIES];
    entry->address = address;
    entry->value = value;
    entry->kind = (uint8_t)kind;
    entry->size = (uint8_t)size;
    entry->vcpu = (uint16_t)vcpu->index;
    __atomic_store_n(&entry->seq, ticket + 1, __ATOMIC_SEQ_CST);
    vcpu->area->counters.posted_writes++;
    if (__atomic_load_n(&vm->posted_armed, __ATOMIC_SEQ_CST) &&
        __atomic_exchange_n(&vm->posted_armed, 0, __ATOMIC_SEQ_CST)) {
        doorbell_ring(vcpu);
    }
    return true;
}

static uint64_t exit_io(struct vcpu *vcpu, uint32_t reason, uint8_t direction, uint64_t address, unsigned size,
                        uint64_t value, uintptr_t retaddr)
{
    struct mpvm_exit_information *exit = &vcpu->area->control.exit;

    exit->direction = direction;
    exit->size = (uint8_t)size;
    exit->port = (uint16_t)address;
    exit->guest_physical_address = address;
    exit->count = 1;
    exit->data = value;
    /* Who runs alone holds all others up, and stays where it is. */
    return vcpu->vm->precise_exits && retaddr != 0 && vcpu->exclusive_step == 0
               ? replay_or_leave(vcpu, reason, retaddr)
               : exit_to_host(vcpu, reason);
}

/* The registers are in the middle of a block: bring RIP and the flags up to the instruction. */
void sync_registers(struct vcpu *vcpu, uintptr_t retaddr)
{
    if (retaddr != 0) {
        uc.cpu_restore_state(vcpu->cpu, retaddr, false);
    }
}

/* A read that needs nobody else. */
bool port_read_here(struct vcpu *vcpu, uint32_t port, unsigned size, uint64_t *value)
{
    unsigned shadow = vcpu->vm->port_shadow[port];

    return shadow != 0 && shadow_covers(vcpu, port, size) && shadow_read(vcpu, shadow - 1, size, value);
}

/* A write that nobody waits for. */
bool port_write_here(struct vcpu *vcpu, uint32_t port, unsigned size, uint64_t value)
{
    switch (who_hears(vcpu, port, size)) {
    case MPVM_PORT_WRITE_IGNORED:
    case MPVM_PORT_WRITE_NOBODY:
        return true;
    case MPVM_PORT_WRITE_POSTED:
        return post(vcpu, MPVM_POSTED_PORT, port, size, value);
    default:
        return false;
    }
}

/* Whether an access to it exits with all registers, which whoever serves it may change. */
static bool port_exits_with_state(struct vcpu *vcpu, uint32_t port, unsigned size)
{
    return (vcpu->ports_controlled && port_exits(vcpu, port, size)) ||
           (port == vcpu->vm->state_port && port != 0);
}

uint64_t port_read(struct vcpu *vcpu, uint32_t port, unsigned size, uintptr_t retaddr)
{
    uint64_t value;

    port_check(vcpu, port, size, retaddr);
    if (port_exits_with_state(vcpu, port, size)) {
        return port_control_exit(vcpu, MPVM_IO_IN, port, size, 0, retaddr);
    }
    if (port_read_here(vcpu, port, size, &value)) {
        return value;
    }
    sync_registers(vcpu, retaddr);
    return exit_io(vcpu, MPVM_EXIT_IO, MPVM_IO_IN, port, size, 0, retaddr);
}

void port_write(struct vcpu *vcpu, uint32_t port, unsigned size, uint64_t value, uintptr_t retaddr)
{
    port_check(vcpu, port, size, retaddr);
    if (vcpu->ferr == FERR_ASSERTED && port == FERR_PORT) {
        vcpu->ferr = FERR_IGNORED;
    }
    if (port_exits_with_state(vcpu, port, size)) {
        port_control_exit(vcpu, MPVM_IO_OUT, port, size, value, retaddr);
        return;
    }
    if (port_write_here(vcpu, port, size, value)) {
        return;
    }
    sync_registers(vcpu, retaddr);
    exit_io(vcpu, MPVM_EXIT_IO, MPVM_IO_OUT, port, size, value, retaddr);
    /* The next instruction of this block shall see the gate that this one has moved. */
    a20_update(vcpu);
}

/* FERR#, which a PC's board makes interrupt 13. False: nobody has heard of it. */
bool post_ferr(struct vcpu *vcpu)
{
    return !vcpu->vm->precise_exits && post(vcpu, MPVM_POSTED_FERR, 0, 1, 0);
}

/* The end of a level-triggered interrupt: the I/O APICs hear of it. A line that is still up asks again, and the guest
 * sees that after its EOI, so it waits for them, but where it can't in the middle of an instruction. */
void post_eoi(struct vcpu *vcpu, int vector)
{
    if (!vcpu->vm->precise_exits && vcpu->engine != NULL) {
        exit_io(vcpu, MPVM_EXIT_IOAPIC_EOI, MPVM_IO_OUT, (uint64_t)vector, 1, 0, 0);
    } else if (!vcpu->vm->precise_exits) {
        vcpu->owed_eoi = vector;
    } else if (post(vcpu, MPVM_POSTED_EOI, (uint64_t)vector, 1, 0)) {
        vcpu->area->counters.exits[MPVM_EXIT_IOAPIC_EOI]++;
    } else if (vcpu->engine == NULL) {
        vcpu->owed_eoi = vector;
    } else {
        exit_io(vcpu, MPVM_EXIT_IOAPIC_EOI, MPVM_IO_OUT, (uint64_t)vector, 1, 0, 0);
    }
}

/* The register of an address in the local APIC's page; the upper three quarters have none. */
#define APIC_OFFSET(address) ((uint32_t)((address) & 0xff0))
#define APIC_REGISTERS_END 0x400u

static bool is_local_apic(const struct vcpu *vcpu, uint64_t address)
{
    uint64_t base = vcpu->area->control.guest.apic_base;

    return (base & (APIC_BASE_ENABLE | APIC_BASE_EXTD)) == APIC_BASE_ENABLE &&
           (address ^ base) >> PAGE_SHIFT == 0;
}

/* All registers are accessed by aligned 32-bit loads and stores; others are undefined (SDM vol. 3, 10.4.1): such a
 * load gets the part that it asks for, such a store is ignored. False: the address is not in the local APIC's page. */
static bool apic_page_read(struct vcpu *vcpu, uint64_t address, uint64_t *value)
{
    if (!is_local_apic(vcpu, address)) {
        return false;
    }
    *value = APIC_OFFSET(address) < APIC_REGISTERS_END
                 ? lapic_read(vcpu, APIC_OFFSET(address)) >> 8 * (address & 3)
                 : 0;
    return true;
}

bool apic_page_write(struct vcpu *vcpu, uint64_t address, unsigned size, uint64_t value)
{
    if (!is_local_apic(vcpu, address)) {
        return false;
    }
    if (APIC_OFFSET(address) < APIC_REGISTERS_END && address % 16 == 0 && size >= sizeof(uint32_t)) {
        lapic_write(vcpu, APIC_OFFSET(address), (uint32_t)value);
    }
    return true;
}

/* A register of 8 bytes that needs nobody else, or the part of it that is asked for. */
static bool memory_shadow_read(struct vcpu *vcpu, uint64_t address, uint64_t *value)
{
    for (uint64_t i = 0; i < vcpu->vm->memory_shadow_count; i++) {
        const struct mpvm_memory_shadow *at = &vcpu->vm->memory_shadow[i];

        if (address - at->gpa < sizeof(*value)) {
            if (!shadow_read(vcpu, (unsigned)at->shadow, sizeof(*value), value)) {
                return false;
            }
            *value >>= 8 * (address - at->gpa);
            return true;
        }
    }
    return false;
}

/* A read that needs nobody else; the value's lower bytes are what is asked for. */
bool memory_read_here(struct vcpu *vcpu, uint64_t address, uint64_t *value)
{
    return apic_page_read(vcpu, address, value) || memory_shadow_read(vcpu, address, value);
}

/* The I/O APIC's two registers that all others are behind (82093AA data sheet, 3.1), by aligned dwords. */
enum { IOREGSEL = 0x00, IOWIN = 0x10 };

static bool is_ioapic(const struct vcpu *vcpu, uint64_t address, unsigned size, uint64_t reg)
{
    const struct mpvm_vm_page *vm = vcpu->vm;

    return vm->ioapic_base != 0 && address == vm->ioapic_base + reg && size == sizeof(uint32_t) && !vm->precise_exits;
}

static bool ioapic_read_here(struct vcpu *vcpu, uint64_t address, unsigned size, uint64_t *value)
{
    uint32_t select = vcpu->vm->ioapic_select & 0xff;

    if (is_ioapic(vcpu, address, size, IOREGSEL)) {
        *value = select;
        return true;
    }
    if (is_ioapic(vcpu, address, size, IOWIN)) {
        *value = select < MPVM_IOAPIC_REGISTERS ? __atomic_load_n(&vcpu->vm->ioapic_registers[select], __ATOMIC_RELAXED)
                                                : 0;
        return true;
    }
    return false;
}

static bool ioapic_write_here(struct vcpu *vcpu, uint64_t address, unsigned size, uint64_t value)
{
    if (!is_ioapic(vcpu, address, size, IOREGSEL)) {
        return false;
    }
    __atomic_store_n(&vcpu->vm->ioapic_select, (uint32_t)value & 0xff, __ATOMIC_RELAXED);
    return true;
}

/* Whether it is known that no device is there. */
static bool nobody_at(const struct vcpu *vcpu, uint64_t address, unsigned size)
{
    const struct mpvm_vm_page *vm = vcpu->vm;
    uint32_t seq = __atomic_load_n(&vm->device_ranges_seq, __ATOMIC_ACQUIRE);

    if (seq == 0 || (seq & 1) != 0 || vm->precise_exits) {
        return false;
    }
    for (uint32_t i = 0; i < vm->device_range_count && i < MPVM_MAX_DEVICE_RANGES; i++) {
        if (address < vm->device_range[i].end && address + size > vm->device_range[i].start) {
            return false;
        }
    }
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return seq == __atomic_load_n(&vm->device_ranges_seq, __ATOMIC_ACQUIRE);
}

uint64_t mmio_read(uc_engine *engine, uint64_t address, unsigned size, void *data)
{
    struct vcpu *vcpu = self;
    uint64_t value;

    (void)engine;
    (void)data;
    if (memory_read_here(vcpu, address, &value) || ioapic_read_here(vcpu, address, size, &value)) {
        return value;
    }
    if (nobody_at(vcpu, address, size)) {
        return UINT64_MAX;
    }
    return exit_io(vcpu, MPVM_EXIT_MMIO, MPVM_IO_IN, address, size, 0, CPU_MEM_IO_PC(vcpu->cpu));
}

void mmio_write(uc_engine *engine, uint64_t address, unsigned size, uint64_t value, void *data)
{
    struct vcpu *vcpu = self;

    (void)engine;
    (void)data;
    if (!apic_page_write(vcpu, address, size, value) && !ioapic_write_here(vcpu, address, size, value) &&
        !nobody_at(vcpu, address, size)) {
        exit_io(vcpu, MPVM_EXIT_MMIO, MPVM_IO_OUT, address, size, value, CPU_MEM_IO_PC(vcpu->cpu));
    }
}
