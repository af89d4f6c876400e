/* Instructions done here because the engine's translator does them wrong: SDM vol. 2, their pages.
 *
 * Undefined flags are cleared.
 */
#include "translate_fix.h"
#include "instruction.h"
#include "tlb.h"

#include <string.h>

enum { CF = 0x001, PF = 0x004, AF = 0x010, ZF = 0x040, SF = 0x080, OF = 0x800 };

static struct operands unpacked(uint64_t word)
{
    struct operands operands;

    memcpy(&operands, &word, sizeof(operands));
    return operands;
}

static uint64_t low_bytes(uint64_t value, unsigned bytes)
{
    return bytes == 8 ? value : value & ((1ull << 8 * bytes) - 1);
}

static uint64_t address_of(const struct operands *operands, uint64_t displacement)
{
    const struct instruction insn = {
        .segment = operands->segment,
        .address_bytes = operands->address_bytes,
        .base = operands->base,
        .index = operands->index,
        .scale = operands->scale,
        .displacement = (int64_t)displacement,
    };

    return instruction_address(self, &insn, 0);
}

/* SDM vol. 3, 6.15, #AC */
static void check_alignment(CPUX86State *env, uint64_t address, unsigned bytes, uintptr_t retaddr)
{
    if ((address & (bytes - 1)) != 0 && (ENV_EFLAGS(env) & EFLAGS_AC) && (ENV_CR(env)[0] & CR0_AM) &&
        (ENV_HFLAGS(env) & HF_CPL_MASK) == 3) {
        uc.raise_exception_err_ra(env, EXCP_AC, 0, retaddr);
    }
}

static uint64_t source(CPUX86State *env, const struct operands *operands, uint64_t displacement, uintptr_t retaddr)
{
    uint64_t address;

    if (!operands->memory) {
        return low_bytes(ENV_REGS(env)[operands->rm], operands->bytes);
    }
    address = address_of(operands, displacement);
    check_alignment(env, address, operands->bytes, retaddr);
    return operands->bytes == 8 ? uc.cpu_ldq_data_ra(env, address, retaddr)
                                : uc.cpu_ldl_data_ra(env, address, retaddr);
}

static void set_flags(CPUX86State *env, uint64_t flags)
{
    ENV_CC_SRC(env) = flags;
    ENV_CC_OP(env) = CC_OP_EFLAGS;
}

/* ZF and SF */
static uint64_t flags_of(uint64_t result, unsigned bytes)
{
    return (result == 0 ? ZF : 0) | (result >> (8 * bytes - 1) ? SF : 0);
}

/* CF tells that the source is not zero; the translator has it for BLSR's, which is the contrary. */
void fixed_blsi(CPUX86State *env, uint64_t word, uint64_t displacement)
{
    struct operands operands = unpacked(word);
    uint64_t value = source(env, &operands, displacement, RETADDR);
    uint64_t result = value & -value;

    ENV_REGS(env)[operands.other] = result;
    set_flags(env, flags_of(result, operands.bytes) | (value != 0 ? CF : 0));
}

/* An index beyond the operand leaves all of it; the translator clears its last bit. */
void fixed_bzhi(CPUX86State *env, uint64_t word, uint64_t displacement)
{
    struct operands operands = unpacked(word);
    unsigned bits = 8 * operands.bytes;
    uint64_t value = source(env, &operands, displacement, RETADDR);
    unsigned index = ENV_REGS(env)[operands.other] & 0xff;

    if (index < bits) {
        value &= (1ull << index) - 1;
    }
    ENV_REGS(env)[operands.reg] = value;
    set_flags(env, flags_of(value, operands.bytes) | (index >= bits ? CF : 0));
}

/* The translator takes bits from above a 32-bit operand. */
void fixed_bextr(CPUX86State *env, uint64_t word, uint64_t displacement)
{
    struct operands operands = unpacked(word);
    uint64_t value = source(env, &operands, displacement, RETADDR);
    unsigned start = ENV_REGS(env)[operands.other] & 0xff, length = ENV_REGS(env)[operands.other] >> 8 & 0xff;

    value = start < 64 ? value >> start : 0;
    if (length < 64) {
        value &= (1ull << length) - 1;
    }
    ENV_REGS(env)[operands.reg] = value;
    set_flags(env, value == 0 ? ZF : 0);
}

/* CMPXCHG of 32-bit registers in 64-bit mode: what is not exchanged is not written, not even zeros above it. */
void fixed_cmpxchg(CPUX86State *env, uint64_t word, uint64_t displacement)
{
    struct operands operands = unpacked(word);
    uint64_t *to = &ENV_REGS(env)[operands.rm], *accumulator = &ENV_REGS(env)[R_EAX];
    uint32_t was = (uint32_t)*to, expected = (uint32_t)*accumulator;
    uint64_t flags;

    (void)displacement;
    __asm__("cmpl %2, %1\n\tpushfq\n\tpopq %0" : "=r"(flags) : "r"(expected), "r"(was) : "cc", "memory");
    if (was == expected) {
        *to = (uint32_t)ENV_REGS(env)[operands.reg];
    } else {
        *accumulator = was;
    }
    set_flags(env, flags & EFLAGS_ARITHMETIC);
}

/* One exchange with memory; what was there. `seen` is what is expected. */
static uint64_t exchange(CPUX86State *env, uint64_t address, uint64_t seen, uint64_t value, unsigned bytes,
                         uintptr_t retaddr)
{
    uint32_t oi = (uint32_t)__builtin_ctz(bytes) << OI_SIZE_SHIFT | (uint32_t)mmu_index_now(env);

    switch (bytes) {
    case 1:
        return uc.helper_atomic_cmpxchgb_mmu(env, address, (uint32_t)seen, (uint32_t)value, oi, retaddr);
    case 2:
        return uc.helper_atomic_cmpxchgw_le_mmu(env, address, (uint32_t)seen, (uint32_t)value, oi, retaddr);
    case 4:
        return uc.helper_atomic_cmpxchgl_le_mmu(env, address, (uint32_t)seen, (uint32_t)value, oi, retaddr);
    default:
        return uc.helper_atomic_cmpxchgq_le_mmu(env, address, seen, value, oi, retaddr);
    }
}

static uint64_t flags_of_neg(uint64_t source, uint64_t result, unsigned bytes)
{
    return flags_of(result, bytes) | (source != 0 ? CF : 0) | (source & 15 ? AF : 0) |
           (source == 1ull << (8 * bytes - 1) ? OF : 0) | (__builtin_parity((unsigned)result & 0xff) ? 0 : PF);
}

/* The translator takes the flags from what was negated. */
void fixed_lock_neg(CPUX86State *env, uint64_t word, uint64_t displacement)
{
    struct operands operands = unpacked(word);
    unsigned bytes = operands.bytes;
    uint64_t address = address_of(&operands, displacement), seen = 0, found, result;

    check_alignment(env, address, bytes, RETADDR);
    while ((found = exchange(env, address, seen, result = low_bytes(-seen, bytes), bytes, RETADDR)) != seen) {
        seen = found;
    }
    set_flags(env, flags_of_neg(seen, result, bytes));
}

static uint64_t load(CPUX86State *env, uint64_t address, unsigned bytes, uintptr_t retaddr)
{
    int mmu_index = mmu_index_now(env);

    check_alignment(env, address, bytes, retaddr);
    switch (bytes) {
    case 1:
        return uc.cpu_ldub_mmuidx_ra(env, address, mmu_index, retaddr);
    case 2:
        return uc.cpu_lduw_mmuidx_ra(env, address, mmu_index, retaddr);
    case 4:
        return uc.cpu_ldl_mmuidx_ra(env, address, mmu_index, retaddr);
    default:
        return uc.cpu_ldq_mmuidx_ra(env, address, mmu_index, retaddr);
    }
}

static void store(CPUX86State *env, uint64_t address, uint64_t value, unsigned bytes, uintptr_t retaddr)
{
    int mmu_index = mmu_index_now(env);

    switch (bytes) {
    case 1:
        uc.cpu_stb_mmuidx_ra(env, address, (uint32_t)value, mmu_index, retaddr);
        break;
    case 2:
        uc.cpu_stw_mmuidx_ra(env, address, (uint32_t)value, mmu_index, retaddr);
        break;
    case 4:
        uc.cpu_stl_mmuidx_ra(env, address, (uint32_t)value, mmu_index, retaddr);
        break;
    default:
        uc.cpu_stq_mmuidx_ra(env, address, value, mmu_index, retaddr);
        break;
    }
}

/* The same while no other CPU runs. */
void fixed_neg_alone(CPUX86State *env, uint64_t word, uint64_t displacement)
{
    struct operands operands = unpacked(word);
    unsigned bytes = operands.bytes;
    uint64_t address = address_of(&operands, displacement);
    uint64_t seen = load(env, address, bytes, RETADDR), result = low_bytes(-seen, bytes);

    store(env, address, result, bytes, RETADDR);
    set_flags(env, flags_of_neg(seen, result, bytes));
}

/* By how many bits `operands` has RCL and RCR rotate, CF among the bits. */
static unsigned rotation(const CPUX86State *env, const struct operands *operands)
{
    unsigned count = operands->other == ROTATE_BY_CL ? ENV_REGS(env)[R_ECX] & 0xff : operands->other;

    count &= operands->bytes == 8 ? 63 : 31;
    return operands->bytes < 4 ? count % (8 * operands->bytes + 1u) : count;
}

/* RCL and RCR with memory: the helpers change CF before the store that may fault, and again when it is repeated. */
static void rotate_with_carry(CPUX86State *env, uint64_t word, uint64_t displacement, bool right, uintptr_t retaddr)
{
    struct operands operands = unpacked(word);
    unsigned top = 8u * operands.bytes - 1, count = rotation(env, &operands);
    uint64_t address = address_of(&operands, displacement), flags = ENV_CC_SRC(env), carry = flags & CF;
    uint64_t was = load(env, address, operands.bytes, retaddr), value = was;

    for (unsigned i = 0; i < count; i++) {
        uint64_t out = right ? value & 1 : value >> top;

        value = right ? value >> 1 | carry << top : low_bytes(value << 1 | carry, operands.bytes);
        carry = out;
    }
    store(env, address, value, operands.bytes, retaddr);
    if (count != 0) {
        set_flags(env, (flags & ~(uint64_t)(CF | OF)) | carry | ((was ^ value) >> top != 0 ? OF : 0));
    }
}

void fixed_rcl(CPUX86State *env, uint64_t word, uint64_t displacement)
{
    rotate_with_carry(env, word, displacement, false, RETADDR);
}

void fixed_rcr(CPUX86State *env, uint64_t word, uint64_t displacement)
{
    rotate_with_carry(env, word, displacement, true, RETADDR);
}

/* Compute the flags before an instruction that may fault after the translator has computed them: those at its
 * beginning are remembered as what they were computed from, which is gone by then. */
void fixed_settle_flags(CPUX86State *env, uint64_t cc_op)
{
    if (cc_op != CC_OP_DYNAMIC) {
        ENV_CC_OP(env) = (uint32_t)cc_op;
    }
    set_flags(env, uc.cpu_cc_compute_all(env, (int)ENV_CC_OP(env)));
}

/* All of CR0; the translator stores 16 bits. Before it the flags are settled. */
void fixed_smsw(CPUX86State *env, uint64_t word, uint64_t displacement)
{
    struct operands operands = unpacked(word);

    (void)displacement;
    if ((ENV_HFLAGS(env) & HF_CPL_MASK) != 0 && (ENV_CR(env)[4] & CR4_UMIP)) {
        uc.raise_exception_err_ra(env, EXCP_GP, 0, RETADDR);
    }
    ENV_REGS(env)[operands.rm] = (uint32_t)ENV_CR(env)[0];
}
