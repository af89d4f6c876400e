/* Instructions that the engine's translator gets wrong, told by their bytes where their code begins.
 *
 * Three ways: our function is called before the instruction; or in its place, and the translator sees a NOP of the
 * same length instead; or it sees a displacement that makes up for its error.
 */
#include "translate_fix.h"
#include "opcode.h"

#include <string.h>

#define CPUID_7_EBX_BMI1 (1u << 3)
#define CPUID_7_EBX_BMI2 (1u << 8)
enum { CONDITION_O = 0, CONDITION_BE = 3, CONDITION_P = 5, CONDITION_L = 6, CONDITION_LE = 7 };

uint32_t cpu_ldub_code_x86_64(CPUX86State *env, uint64_t address);
uint32_t cpu_ldl_code_x86_64(CPUX86State *env, uint64_t address);

/* --- What is emitted ----------------------------------------------------------------------------------- */

static void call(TCGContext *tcg, void *function, unsigned count, const uint64_t *words)
{
    void *arguments[3] = {(void *)TCG_TEMP(tcg, TCG_CPU_ENV(tcg))};
    void *constants[2];

    for (unsigned i = 0; i < count; i++) {
        constants[i] = arguments[1 + i] = (void *)TCG_TEMP(tcg, uc.tcg_const_i64(tcg, (int64_t)words[i]));
    }
    translate_call(tcg, function, CALL_TOUCHES_ALL, NULL, (int)(1 + count), arguments);
    for (unsigned i = 0; i < count; i++) {
        uc.tcg_temp_free_internal(tcg, constants[i]);
    }
}

/* From here on the flags are in CC_SRC, and the translator knows it. */
static void flags_known(struct vcpu *vcpu)
{
    DISAS_CC_OP(vcpu->translating) = CC_OP_EFLAGS;
    DISAS_CC_OP_DIRTY(vcpu->translating) = false;
}

static uint64_t settle(struct vcpu *vcpu, TCGContext *tcg, uint64_t cc_op)
{
    call(tcg, (void *)fixed_settle_flags, 1, &cc_op);
    flags_known(vcpu);
    return CC_OP_EFLAGS;
}

static void feed_nop(struct vcpu *vcpu, uint64_t from, unsigned length)
{
    uint8_t nop[MAX_INSTRUCTION_LENGTH];

    memset(nop, 0x66, sizeof(nop));
    nop[length - 1] = 0x90;
    opcode_feed(vcpu, from, nop, length);
}

/* --- Which they are ------------------------------------------------------------------------------------ */

static unsigned operand_bytes(const struct head *head)
{
    return head->rex & REX_W ? 8 : head->code32 != ((head->prefixes & PREFIX_OPERAND) != 0) ? 4 : 2;
}

/* `function` does the instruction, whose ModRM byte is next. A byte behind its operand, an `immediate`, is `other`. */
static void replace(struct vcpu *vcpu, TCGContext *tcg, struct head *head, fixed_instruction *function, unsigned bytes,
                    uint8_t other, bool immediate)
{
    bool address_prefix = (head->prefixes & PREFIX_ADDRESS) != 0;
    struct instruction insn = {
        .rex = (uint8_t)head->rex,
        .segment = head->segment,
        .address_bytes = head->code64 ? (address_prefix ? 4 : 8) : (head->code32 != address_prefix ? 4 : 2),
    };
    unsigned length = instruction_operand(vcpu->env, head->at, &insn);
    uint64_t end = head->at + length + (immediate ? 1 : 0);
    struct operands operands = {
        .reg = insn.extension,
        .other = other,
        .rm = insn.operand,
        .base = insn.base,
        .index = insn.index,
        .scale = insn.scale & 3,
        .segment = insn.segment & 7,
        .memory = insn.memory,
        .address_bytes = insn.address_bytes & 15,
        .bytes = (uint8_t)bytes,
    };
    uint64_t words[2] = {0, (uint64_t)insn.displacement};

    if (end - head->start > MAX_INSTRUCTION_LENGTH) {
        return;
    }
    if (immediate) {
        /* If it faults, then now. */
        operands.other = (uint8_t)REPLACEMENT(cpu_ldub_code)(vcpu->env, end - 1) & 63;
    }
    if (insn.memory && insn.base != NO_REGISTER && insn.base >= 16) {
        operands.base = NO_REGISTER;
        words[1] += end;
    }
    memcpy(words, &operands, sizeof(operands));
    call(tcg, (void *)function, 2, words);
    flags_known(vcpu);
    feed_nop(vcpu, head->start, (unsigned)(end - head->start));
}

/* An address relative to RIP with an immediate byte behind it: the translator forgets the byte. */
static void relative_with_immediate(struct vcpu *vcpu, struct head *head)
{
    uint8_t modrm = head_next(head);

    if (head->code64 && (modrm & 0xc7) == 5) {
        uint32_t displacement = (uint32_t)REPLACEMENT(cpu_ldl_code)(vcpu->env, head->at) + 1;

        /* If it faults, then now. */
        REPLACEMENT(cpu_ldub_code)(vcpu->env, head->at + sizeof(displacement));
        opcode_feed(vcpu, head->at, &displacement, sizeof(displacement));
    }
}

static bool is_vex(const struct head *head, uint8_t *second)
{
    if (head->map != MAP_ONE || head->opcode != 0xc4 || (head->prefixes & ~(unsigned)PREFIX_ADDRESS) != 0 || head->rex != 0) {
        return false;
    }
    *second = head_peek(head);
    return head->code64 || *second >= 0xc0;
}

#define VEX(prefix, map, opcode) ((prefix) << 16 | (map) << 8 | (opcode))
enum { VEX_NP, VEX_66, VEX_F3, VEX_F2 };

static void vex(struct vcpu *vcpu, TCGContext *tcg, struct head *head, uint8_t second)
{
    uint8_t third, other;
    unsigned bytes;

    head_next(head);
    third = head_next(head);
    head->opcode = head_next(head);
    head->rex = (~(unsigned)second >> 5 & 7) | (third & 0x80 ? REX_W : 0);
    if (!head->code64) {
        head->rex = 0;
    }
    other = ~third >> 3 & (head->code64 ? 15 : 7);
    bytes = head->rex & REX_W ? 8 : 4;
    if (third & 4 || !(ENV_FEATURES(vcpu->env)[MPVM_FEATURE_WORD_CPUID_7_0_EBX] &
                       ((head->opcode == 0xf5 || (second & 31) == MAP_0F3A) ? CPUID_7_EBX_BMI2 : CPUID_7_EBX_BMI1))) {
        return;
    }
    switch (VEX((unsigned)third & 3, second & 31u, head->opcode)) {
    case VEX(VEX_NP, MAP_0F38, 0xf3):
        if ((head_peek(head) >> 3 & 7) == 3) {
            replace(vcpu, tcg, head, fixed_blsi, bytes, other, false);
        }
        return;
    case VEX(VEX_NP, MAP_0F38, 0xf5):
        replace(vcpu, tcg, head, fixed_bzhi, bytes, other, false);
        return;
    case VEX(VEX_NP, MAP_0F38, 0xf7):
        replace(vcpu, tcg, head, fixed_bextr, bytes, other, false);
        return;
    case VEX(VEX_F2, MAP_0F38, 0xf5):
    case VEX(VEX_F3, MAP_0F38, 0xf5):
        vcpu->deposit_bytes = bytes;
        return;
    case VEX(VEX_F2, MAP_0F3A, 0xf0):
        relative_with_immediate(vcpu, head);
        return;
    default:
        return;
    }
}

/* Whether the translator computes all flags for a condition, which it does in CC_SRC. */
static bool condition_computes(unsigned condition, uint64_t cc_op)
{
    bool subtraction = cc_op >= CC_OP_SUBB && cc_op <= CC_OP_SUBQ;

    switch (condition >> 1) {
    case CONDITION_O:
    case CONDITION_P:
        return true;
    case CONDITION_BE:
    case CONDITION_L:
    case CONDITION_LE:
        return !subtraction;
    default:
        return cc_op == CC_OP_DYNAMIC;
    }
}

/* MMX registers that are written: by opcode, ModRM.reg, or rm for shifts by an immediate. */
static bool mmx_destination(const struct head *head, uint8_t modrm, uint8_t *reg)
{
    uint8_t opcode = head->opcode;
    bool plain = (head->prefixes & (PREFIX_OPERAND | PREFIX_REP | PREFIX_REPNE)) == 0;

    *reg = modrm >> 3 & 7;
    switch (head->map) {
    case MAP_0F38:
        return plain && (opcode <= 0x0b || (opcode >= 0x1c && opcode <= 0x1e));
    case MAP_0F3A:
        return plain && opcode == 0x0f;
    case MAP_0F:
        break;
    default:
        return false;
    }
    if (opcode == 0xd6) {
        return (head->prefixes & PREFIX_REPNE) != 0; /* MOVDQ2Q */
    }
    if (opcode == 0x2c || opcode == 0x2d) {
        return (head->prefixes & (PREFIX_REP | PREFIX_REPNE)) == 0; /* CVTPS2PI and its like */
    }
    if (!plain) {
        return false;
    }
    if (opcode == 0x7f) {
        *reg = modrm & 7;
        return modrm >= 0xc0;
    }
    if (opcode >= 0x71 && opcode <= 0x73) {
        *reg = modrm & 7;
        return true;
    }
    return (opcode >= 0x60 && opcode <= 0x70 && opcode != 0x6c && opcode != 0x6d) ||
           (opcode >= 0x74 && opcode <= 0x76) || opcode == 0xc4 ||
           (opcode >= 0xd1 && opcode <= 0xfe && opcode != 0xd7 && opcode != 0xe6 && opcode != 0xe7 &&
            opcode != 0xf0 && opcode != 0xf7);
}

/* Whether the engine would run it: without the feature, with CR0.EM or CR0.TS it is an exception. */
static bool mmx_usable(const CPUX86State *env, const struct head *head)
{
    enum { CPUID_1_EDX_MMX = 1u << 23, CPUID_1_ECX_SSSE3 = 1u << 9, EM_TS = 6u << HF_MP_SHIFT };

    return (ENV_HFLAGS(env) & EM_TS) == 0 && ENV_FEATURES(env)[MPVM_FEATURE_WORD_CPUID_1_EDX] & CPUID_1_EDX_MMX &&
           (head->map == MAP_0F || ENV_FEATURES(env)[MPVM_FEATURE_WORD_CPUID_1_ECX] & CPUID_1_ECX_SSSE3);
}

static void mmx(struct vcpu *vcpu, TCGContext *tcg, struct head *head)
{
    uint8_t modrm = head_next(head), reg;
    uint64_t word;

    if (!(head->prefixes & PREFIX_LOCK) && mmx_destination(head, modrm, &reg) && mmx_usable(vcpu->env, head)) {
        word = reg;
        call(tcg, (void *)x87_enter_mmx, 1, &word);
        vcpu->mmx_entered = true;
    }
}

/* SMSW of a 32-bit register; in 64-bit code the translator has it right. */
static bool is_smsw_of_32_bits(const struct head *head)
{
    return head->map == MAP_0F && head->opcode == 0x01 && !head->code64 && operand_bytes(head) == 4 &&
           (head_peek(head) & 0xf8) == 0xe0;
}

static void two_byte(struct vcpu *vcpu, TCGContext *tcg, struct head *head)
{
    uint8_t opcode = head->opcode;

    switch (opcode) {
    case 0x01:
        if (is_smsw_of_32_bits(head)) {
            replace(vcpu, tcg, head, fixed_smsw, 4, 0, false);
        }
        break;
    case 0xa4:
    case 0xac:
        relative_with_immediate(vcpu, head);
        break;
    case 0xb1:
        if (head->code64 && operand_bytes(head) == 4) {
            if (head_peek(head) < 0xc0) {
                vcpu->accumulator_compared = true;
            } else if (!(head->prefixes & PREFIX_LOCK)) {
                replace(vcpu, tcg, head, fixed_cmpxchg, 4, 0, false);
            }
        }
        break;
    default:
        if (opcode == 0x2c || opcode == 0x2d || (opcode >= 0x60 && opcode <= 0x7f) || opcode >= 0xc4) {
            mmx(vcpu, tcg, head);
        }
        break;
    }
}

/* Of opcodes C0, C1 and D0 to D3 */
static bool is_rotation_of_memory_with_carry(uint8_t modrm)
{
    return modrm < 0xc0 && (modrm >> 4 & 3) == 1;
}

static void rotate_with_carry(struct vcpu *vcpu, TCGContext *tcg, struct head *head)
{
    uint8_t opcode = head->opcode, modrm = head_peek(head);

    if (is_rotation_of_memory_with_carry(modrm)) {
        replace(vcpu, tcg, head, modrm & 8 ? fixed_rcr : fixed_rcl, opcode & 1 ? operand_bytes(head) : 1,
                opcode & 2 ? ROTATE_BY_CL : 1, opcode < 0xd0);
    }
}

static void one_byte(struct vcpu *vcpu, TCGContext *tcg, struct head *head)
{
    uint8_t second;
    uint64_t word;

    switch (head->opcode) {
    case 0xc0:
    case 0xc1:
    case 0xd0:
    case 0xd1:
    case 0xd2:
    case 0xd3:
        rotate_with_carry(vcpu, tcg, head);
        break;
    case 0xc4:
        if (is_vex(head, &second)) {
            vex(vcpu, tcg, head, second);
        }
        break;
    case 0xda:
    case 0xdb:
        second = head_next(head);
        if (second >= 0xc0 && second < 0xe0 && (ENV_HFLAGS(vcpu->env) & 6u << HF_MP_SHIFT) == 0) {
            word = second & 7;
            call(tcg, (void *)x87_before_fcmov, 1, &word);
        }
        break;
    case 0xf6:
    case 0xf7:
        if (head->prefixes & PREFIX_LOCK) {
            second = head_peek(head);
            if (second < 0xc0 && (second >> 3 & 7) == 3) {
                bool parallel = (TCG_TB_CFLAGS(tcg) & CF_PARALLEL) != 0;

                replace(vcpu, tcg, head, parallel ? fixed_lock_neg : fixed_neg_alone,
                        head->opcode & 1 ? operand_bytes(head) : 1, 0, false);
            }
        }
        break;
    default:
        break;
    }
}

/* Whether the flags must be in CC_SRC before the instruction begins, and in memory be known to be there. */
static bool needs_settling(const struct vcpu *vcpu, struct head head, uint64_t cc_op)
{
    bool computed = cc_op == CC_OP_EFLAGS, known = computed && !DISAS_CC_OP_DIRTY(vcpu->translating);
    uint8_t opcode = head.opcode;

    if (head.map == MAP_ONE) {
        if ((opcode & 0xfe) == 0xc0 || (opcode & 0xfc) == 0xd0) {
            return !known && is_rotation_of_memory_with_carry(head_next(&head));
        }
        /* LOOPcc goes on, if the count is over, without a word of where the flags are. */
        return (opcode & 0xfe) == 0xe0 && !known;
    }
    if (head.map != MAP_0F) {
        return false;
    }
    if (opcode == 0x01) {
        return !known && is_smsw_of_32_bits(&head); /* it leaves them as they are */
    }
    if ((opcode & 0xf0) == 0x90) {
        return !computed && condition_computes(opcode & 15, cc_op) && head_next(&head) < 0xc0; /* SETcc */
    }
    /* CMPXCHG8B and CMPXCHG16B keep the other flags, but take them from where they may not be. */
    return opcode == 0xc7 && !known && (head_next(&head) >> 3 & 7) == 1;
}

/* CMPXCHG has found `found` in memory, and RAX gets it. Where they are equal RAX is not written, not even zeros above
 * its lower half: there the translator forgets to ask. */
void translate_accumulator(struct vcpu *vcpu, TCGContext *tcg, uint64_t found)
{
    uint64_t rax = TCG_TEMP(tcg, TCG_CPU_REGS(tcg, R_EAX));
    uint64_t seen = (uint64_t)(uintptr_t)uc.tcg_temp_new_internal(tcg, TCG_TYPE_I64, false);
    uint64_t expected = (uint64_t)(uintptr_t)uc.tcg_temp_new_internal(tcg, TCG_TYPE_I64, false);

    vcpu->accumulator_compared = false;
    uc.tcg_gen_op2(tcg, INDEX_OP_EXT32U_I64, seen, found);
    uc.tcg_gen_op2(tcg, INDEX_OP_EXT32U_I64, expected, rax);
    uc.tcg_gen_op6(tcg, INDEX_OP_MOVCOND_I64, rax, seen, expected, rax, seen, TCG_COND_EQ);
    uc.tcg_temp_free_internal(tcg, (void *)(uintptr_t)expected);
    uc.tcg_temp_free_internal(tcg, (void *)(uintptr_t)seen);
}

/* The code of the instruction at `linear` begins, with the flags as `cc_op` says. */
void translate_instruction(struct vcpu *vcpu, TCGContext *tcg, uint64_t linear, uint64_t cc_op)
{
    struct head head;
    bool looked_at;

    opcode_begin(vcpu);
    vcpu->mmx_entered = false;
    vcpu->deposit_bytes = 8;
    vcpu->accumulator_compared = false;
    looked_at = !opcode_plain(vcpu, linear) && head_take(&head, vcpu, linear);
    if (looked_at && needs_settling(vcpu, head, cc_op)) {
        cc_op = settle(vcpu, tcg, cc_op);
    }
    uc.tcg_gen_op2(tcg, INDEX_OP_INSN_START, linear, cc_op);
    vcpu->translation.at = linear;
    if (vcpu->intercepting) {
        intercept_emit(vcpu, tcg, linear);
    }
    if (vcpu->translating_flags & EFLAGS_RF) {
        resume_flag_emit(tcg);
    }
    if (!looked_at) {
        return;
    }
    opcode_check(&head, tcg);
    if (vcpu->translation.fed_count != 0) {
        return;
    }
    switch (head.map) {
    case MAP_ONE:
        one_byte(vcpu, tcg, &head);
        break;
    case MAP_0F:
        two_byte(vcpu, tcg, &head);
        break;
    default:
        mmx(vcpu, tcg, &head);
        break;
    }
}
