/* Guest memory as this vCPU's engine has it: memory slots, and the host memory behind them.
 *
 * The engine's own map of physical memory never sees a slot: registers fill all that a guest can address, and RAM
 * lies behind that, each backend at its offset. What is where to the guest is ours alone, in the entries that we make
 * in the TLB, so that a slot comes, goes or changes by a flush.
 */
#include "engine.h"

#include <string.h>

/* slot_of_gpa() of another slot than the last one. */
const struct ram_slot *slot_search(struct vcpu *vcpu, uint64_t gpa)
{
    for (unsigned i = 0; i < vcpu->slot_count; i++) {
        const struct ram_slot *slot = &vcpu->slot[i];

        if (gpa - slot->gpa < slot->size) {
            vcpu->slot_last = i;
            return slot;
        }
    }
    return NULL;
}

uint32_t page_of_ram_addr(const struct vcpu *vcpu, ram_addr_t address)
{
    for (unsigned i = 0; i < vcpu->backend_count; i++) {
        const struct ram_backend *backend = &vcpu->backend[i];

        if (address - backend->ram_addr < backend->size) {
            return (uint32_t)((backend->offset + address - backend->ram_addr) >> PAGE_SHIFT);
        }
    }
    return NO_PAGE;
}

static const struct ram_backend *backend_of(const struct vcpu *vcpu, uint64_t offset)
{
    for (unsigned i = 0; i < vcpu->backend_count; i++) {
        if (offset - vcpu->backend[i].offset < vcpu->backend[i].size) {
            return &vcpu->backend[i];
        }
    }
    return NULL;
}

ram_addr_t ram_addr_of_page(const struct vcpu *vcpu, uint32_t page)
{
    uint64_t offset = (uint64_t)page << PAGE_SHIFT;
    const struct ram_backend *backend = backend_of(vcpu, offset);

    return backend == NULL ? UINT64_MAX : backend->ram_addr + (offset - backend->offset);
}

uint8_t *host_of_page(const struct vcpu *vcpu, uint32_t page)
{
    uint64_t offset = (uint64_t)page << PAGE_SHIFT;
    const struct ram_backend *backend = backend_of(vcpu, offset);

    return backend == NULL ? NULL : backend->host + (offset - backend->offset);
}

static bool same_backend(const struct vcpu *vcpu, const struct ram_backend *ours,
                         const struct mpvm_memory_backend *theirs)
{
    uint8_t *host = theirs->host != 0 ? (uint8_t *)(uintptr_t)theirs->host : vcpu->ram + theirs->offset;

    return ours->offset == theirs->offset && ours->size == theirs->size && ours->host == host;
}

static bool backend_listed(const struct vcpu *vcpu, const struct ram_backend *ours)
{
    for (unsigned i = 0; i < vcpu->vm->backend_count; i++) {
        if (same_backend(vcpu, ours, &vcpu->vm->backend[i])) {
            return true;
        }
    }
    return false;
}

static bool backend_mapped(const struct vcpu *vcpu, const struct mpvm_memory_backend *theirs)
{
    for (unsigned i = 0; i < vcpu->backend_count; i++) {
        if (same_backend(vcpu, &vcpu->backend[i], theirs)) {
            return true;
        }
    }
    return false;
}

static bool backend_unmap(struct vcpu *vcpu, const struct ram_backend *backend)
{
    CPUState *cpu = UC_CPU(vcpu->engine);
    bool done;

    /* The engine would look through its TLB and its blocks by these addresses, which are none of the guest's. */
    UC_CPU(vcpu->engine) = NULL;
    done = uc.uc_mem_unmap(vcpu->engine, ENGINE_RAM_BASE + backend->offset, backend->size) == 0;
    UC_CPU(vcpu->engine) = cpu;
    return done;
}

static bool backend_map(struct vcpu *vcpu, const struct mpvm_memory_backend *from)
{
    struct ram_backend *to = &vcpu->backend[vcpu->backend_count];

    *to = (struct ram_backend){
        .offset = from->offset,
        .size = from->size,
        .host = from->host != 0 ? (uint8_t *)(uintptr_t)from->host : vcpu->ram + from->offset,
    };
    if ((from->offset + from->size) >> PAGE_SHIFT > vcpu->vm->page_count ||
        uc.uc_mem_map_ptr(vcpu->engine, ENGINE_RAM_BASE + to->offset, to->size, UC_PROT_ALL, to->host) != 0) {
        return false;
    }
    to->ram_addr = uc.qemu_ram_addr_from_host(vcpu->engine, to->host);
    vcpu->backend_count++;
    return true;
}

static bool backends_take(struct vcpu *vcpu)
{
    for (unsigned i = 0; i < vcpu->backend_count;) {
        if (backend_listed(vcpu, &vcpu->backend[i])) {
            i++;
        } else if (!backend_unmap(vcpu, &vcpu->backend[i])) {
            return false;
        } else {
            vcpu->backend[i] = vcpu->backend[--vcpu->backend_count];
        }
    }
    for (unsigned i = 0; i < vcpu->vm->backend_count; i++) {
        if (!backend_mapped(vcpu, &vcpu->vm->backend[i]) && !backend_map(vcpu, &vcpu->vm->backend[i])) {
            return false;
        }
    }
    return true;
}

static bool slots_take(struct vcpu *vcpu)
{
    vcpu->slot_count = vcpu->vm->slot_count;
    vcpu->slot_last = 0;
    vcpu->slot[0].size = 0;
    for (unsigned i = 0; i < vcpu->slot_count; i++) {
        const struct mpvm_memory_slot *from = &vcpu->vm->slot[i];
        const struct ram_backend *backend = backend_of(vcpu, from->offset);

        if (backend == NULL || from->offset - backend->offset + from->size > backend->size) {
            return false;
        }
        vcpu->slot[i] = (struct ram_slot){
            .gpa = from->gpa,
            .size = from->size,
            .host = backend->host + (from->offset - backend->offset),
            .ram_addr = backend->ram_addr + (from->offset - backend->offset),
            .first_page = (uint32_t)(from->offset >> PAGE_SHIFT),
            .read_only = (from->flags & MPVM_SLOT_READONLY) != 0,
        };
    }
    return true;
}

/* Take over the slots and what is behind them. All that was known of the old ones goes, so this may not run while
 * a block is being looked for or an entry of the TLB is in use; an exit in the middle of an instruction is fine. */
bool memory_take(struct vcpu *vcpu)
{
    vcpu->memory_generation = vcpu->vm->memory_generation;
    code_and_claims_forget(vcpu);
    vcpu->drop_page = NO_PAGE;
    if (!backends_take(vcpu) || !slots_take(vcpu)) {
        return false;
    }
    vcpu->dirty_logging = vcpu->vm->dirty_logging != 0;
    tlb_flush_all(vcpu);
    return true;
}

/* All that a guest can address, as registers or as nobody's, and then RAM. Code can be fetched from registers, too: it
 * reads what a load would. */
bool memory_map(struct vcpu *vcpu)
{
    return uc.uc_mmio_map(vcpu->engine, 0, PHYSICAL_LIMIT, (void *)mmio_read, NULL, (void *)mmio_write, NULL) == 0 &&
           uc.uc_mem_protect(vcpu->engine, 0, PHYSICAL_LIMIT, UC_PROT_ALL) == 0 && memory_take(vcpu);
}
