/* Segments in protected mode (SDM vol. 3, chapters 3, 5, 6 and 7): what the files about descriptors, far
 * transfers, events and tasks share.
 *
 * Everything is checked before anything changes, so that a fault finds the state of before the instruction. What is
 * pushed goes by a copy of the stack pointer.
 */
#ifndef MPVM_SEGMENTS_H
#define MPVM_SEGMENTS_H

#include "engine.h"

#define SELECTOR_RPL 3u
#define SELECTOR_TI 4u
#define SELECTOR_ERROR 0xfffcu /* what an error code has of a selector */

#define DESC_TYPE_SHIFT 8
#define DESC_TSS_BUSY_MASK (1u << 9)
#define DESC_C_MASK (1u << 10)
#define DESC_EXPAND_DOWN_MASK (1u << 10)

/* Types of system descriptors (SDM vol. 3, table 3-2) */
enum system_type {
    TYPE_NONE = 0, /* reserved */
    TYPE_TSS16 = 1,
    TYPE_LDT = 2,
    TYPE_TSS16_BUSY = 3,
    TYPE_CALL_GATE16 = 4,
    TYPE_TASK_GATE = 5,
    TYPE_INTERRUPT_GATE16 = 6,
    TYPE_TRAP_GATE16 = 7,
    TYPE_TSS32 = 9,
    TYPE_TSS32_BUSY = 11,
    TYPE_CALL_GATE32 = 12,
    TYPE_INTERRUPT_GATE32 = 14,
    TYPE_TRAP_GATE32 = 15,
    TYPE_SIZE32 = 8, /* the bit of a gate or TSS of 32 bits */
};

/* What a push or pop moves: 2 << size bytes. */
enum operand { OPERAND16, OPERAND32, OPERAND64 };

struct descriptor {
    uint32_t low, high;
    uint64_t address; /* linear */
};

/* A stack that is pushed to or popped from, and that becomes the CPU's when all has gone well. */
struct stack {
    struct vcpu *vcpu;
    struct SegmentCache segment;
    uint64_t sp;
    uint64_t mask;
    int mmu_index;
    uint32_t error_code; /* of the #SS when there is no room */
    uintptr_t retaddr;
};

static inline unsigned descriptor_type(const struct descriptor *descriptor)
{
    return descriptor->high >> DESC_TYPE_SHIFT & 15;
}

static inline unsigned descriptor_dpl(const struct descriptor *descriptor)
{
    return descriptor->high >> DESC_DPL_SHIFT & 3;
}

static inline bool descriptor_present(const struct descriptor *descriptor)
{
    return (descriptor->high & DESC_P_MASK) != 0;
}

static inline bool is_system(const struct descriptor *descriptor)
{
    return !(descriptor->high & DESC_S_MASK);
}

static inline bool is_code(const struct descriptor *descriptor)
{
    return (descriptor->high & (DESC_S_MASK | DESC_CS_MASK)) == (DESC_S_MASK | DESC_CS_MASK);
}

static inline bool is_conforming(const struct descriptor *code)
{
    return (code->high & DESC_C_MASK) != 0;
}

static inline bool is_writable_data(const struct descriptor *descriptor)
{
    return (descriptor->high & (DESC_S_MASK | DESC_CS_MASK | DESC_W_MASK)) == (DESC_S_MASK | DESC_W_MASK);
}

static inline bool is_null(uint32_t selector)
{
    return (selector & SELECTOR_ERROR) == 0;
}

static inline bool long_mode(CPUX86State *env)
{
    return (ENV_HFLAGS(env) & HF_LMA_MASK) != 0;
}

static inline unsigned current_cpl(CPUX86State *env)
{
    return ENV_HFLAGS(env) & HF_CPL_MASK;
}

/* How descriptor tables and the TSS are accessed: as the supervisor, and SMAP knows no exception (SDM vol. 3, 4.6.1). */
static inline int system_mmu_index(CPUX86State *env)
{
    return ENV_HFLAGS(env) & HF_SMAP_MASK ? MMU_KSMAP_IDX : MMU_KNOSMAP_IDX;
}

/* How code at `cpl` accesses its stack. */
static inline int stack_mmu_index(CPUX86State *env, unsigned cpl)
{
    if (cpl == 3) {
        return MMU_USER_IDX;
    }
    return ENV_EFLAGS(env) & EFLAGS_AC ? MMU_KNOSMAP_IDX : system_mmu_index(env);
}

/* ldst.c: what helpers load and store by. */
uint32_t REPLACEMENT(cpu_lduw_mmuidx_ra)(CPUX86State *env, uint64_t address, int mmu_index, uintptr_t retaddr);
uint32_t REPLACEMENT(cpu_ldl_mmuidx_ra)(CPUX86State *env, uint64_t address, int mmu_index, uintptr_t retaddr);
uint64_t REPLACEMENT(cpu_ldq_mmuidx_ra)(CPUX86State *env, uint64_t address, int mmu_index, uintptr_t retaddr);
uint32_t REPLACEMENT(cpu_ldub_mmuidx_ra)(CPUX86State *env, uint64_t address, int mmu_index, uintptr_t retaddr);
void REPLACEMENT(cpu_stb_mmuidx_ra)(CPUX86State *env, uint64_t address, uint32_t value, int mmu_index,
                                    uintptr_t retaddr);
void REPLACEMENT(cpu_stw_mmuidx_ra)(CPUX86State *env, uint64_t address, uint32_t value, int mmu_index,
                                    uintptr_t retaddr);
void REPLACEMENT(cpu_stl_mmuidx_ra)(CPUX86State *env, uint64_t address, uint32_t value, int mmu_index,
                                    uintptr_t retaddr);
void REPLACEMENT(cpu_stq_mmuidx_ra)(CPUX86State *env, uint64_t address, uint64_t value, int mmu_index,
                                    uintptr_t retaddr);
#define LOAD16 REPLACEMENT(cpu_lduw_mmuidx_ra)
#define LOAD32 REPLACEMENT(cpu_ldl_mmuidx_ra)
#define LOAD64 REPLACEMENT(cpu_ldq_mmuidx_ra)
#define STORE16 REPLACEMENT(cpu_stw_mmuidx_ra)
#define STORE32 REPLACEMENT(cpu_stl_mmuidx_ra)
#define STORE64 REPLACEMENT(cpu_stq_mmuidx_ra)

/* control_registers.c */
void REPLACEMENT(cpu_x86_update_cr3)(CPUX86State *env, uint64_t value);

/* descriptor.c */
_Noreturn void segment_fault(struct vcpu *vcpu, int vector, uint32_t error_code, uintptr_t retaddr);
bool descriptor_read(struct vcpu *vcpu, uint32_t selector, struct descriptor *descriptor, uintptr_t retaddr);
void descriptor_write_high(struct vcpu *vcpu, const struct descriptor *descriptor, uint32_t high, uintptr_t retaddr);
uint64_t descriptor_base(const struct descriptor *descriptor);
uint32_t descriptor_limit(const struct descriptor *descriptor);
uint64_t descriptor_upper_half(struct vcpu *vcpu, uint32_t selector, const struct descriptor *descriptor,
                               uintptr_t retaddr);
struct SegmentCache cache_of(uint32_t selector, const struct descriptor *descriptor);
void descriptor_accessed(struct vcpu *vcpu, struct descriptor *descriptor, uintptr_t retaddr);
void segment_enter(CPUX86State *env, int reg, uint32_t selector, const struct descriptor *descriptor);
void segment_enter_vm86(CPUX86State *env, int reg, uint32_t selector);
void data_segment_load(struct vcpu *vcpu, int reg, uint32_t selector, uintptr_t retaddr);
void ldt_load(struct vcpu *vcpu, uint32_t selector, uintptr_t retaddr);
void task_register_load(struct vcpu *vcpu, uint32_t selector, uintptr_t retaddr);
bool access_rights_of(struct vcpu *vcpu, uint32_t selector, uint32_t *rights, uintptr_t retaddr);
bool limit_of(struct vcpu *vcpu, uint32_t selector, uint32_t *limit, uintptr_t retaddr);
bool verify(struct vcpu *vcpu, uint32_t selector, bool write, uintptr_t retaddr);

/* stack.c */
uint64_t stack_mask(const struct SegmentCache *ss);
struct stack stack_now(struct vcpu *vcpu, uintptr_t retaddr);
void stack_push(struct stack *stack, enum operand size, uint64_t value);
uint64_t stack_pop(struct stack *stack, enum operand size);
void stack_pointer_set(CPUX86State *env, uint64_t sp, uint64_t mask);
struct stack stack_of_ring(struct vcpu *vcpu, unsigned cpl, struct descriptor *ss, uintptr_t retaddr);

/* far_transfer.c, far_return.c */
void code_target_check(struct vcpu *vcpu, const struct descriptor *code, uint64_t target, uintptr_t retaddr);
void far_jump(struct vcpu *vcpu, uint32_t selector, uint64_t target, uint64_t next_rip, uintptr_t retaddr);
void far_call(struct vcpu *vcpu, uint32_t selector, uint64_t target, enum operand size, uint64_t next_rip,
              uintptr_t retaddr);
void far_return(struct vcpu *vcpu, enum operand size, uint32_t release, uintptr_t retaddr);
void real_far_call(struct vcpu *vcpu, uint32_t selector, uint32_t target, enum operand size, uint32_t next_ip,
                   uintptr_t retaddr);
void real_interrupt_return(struct vcpu *vcpu, enum operand size, uintptr_t retaddr);
void interrupt_return(struct vcpu *vcpu, enum operand size, uint64_t next_rip, uintptr_t retaddr);

/* task_switch.c */
enum task_switch_source { TASK_JUMP, TASK_CALL, TASK_RETURN };
#define NO_ERROR_CODE (-1)
void task_switch(struct vcpu *vcpu, uint32_t selector, enum task_switch_source source, uint64_t next_rip,
                 int64_t error_code, uintptr_t retaddr);
void task_switch_by_gate(struct vcpu *vcpu, const struct descriptor *gate, enum task_switch_source source,
                         uint64_t next_rip, int64_t error_code, uintptr_t retaddr);
void task_switch_back(struct vcpu *vcpu, uint64_t next_rip, uintptr_t retaddr);

#endif
