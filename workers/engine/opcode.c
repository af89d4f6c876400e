/* What the engine's translator makes of an instruction and the SDM does not: LOCK before what can't be locked, INT1,
 * 16-byte operands that have to be aligned.
 *
 * Each instruction is looked at where its code begins. Most are told by their first byte. One that is not what the
 * translator would take it for is fed to it as another one; a memory operand asks for its alignment in the
 * access itself, which costs translated code nothing.
 */
#include "controls.h"
#include "opcode.h"

#include <string.h>

enum { OPCODE_POP_MODRM = 0x8f };

/* --- The instruction's bytes ---------------------------------------------------------------------------------- */

/* The byte at `at`, which faults as the instruction's own fetch does. Beyond the longest instruction: 0. */
static inline uint8_t byte_at(const struct head *head, uint64_t at)
{
    const struct translation_state *state = &head->vcpu->translation;

    if (at - head->start >= MAX_INSTRUCTION_LENGTH) {
        return 0;
    }
    if ((at & ~(uint64_t)(PAGE_BYTES - 1)) == state->code_page) {
        return state->code_host[at & (PAGE_BYTES - 1)];
    }
    return (uint8_t)REPLACEMENT(cpu_ldub_code)(head->vcpu->env, at);
}

uint8_t head_next(struct head *head)
{
    return byte_at(head, head->at++);
}

uint8_t head_peek(const struct head *head)
{
    return byte_at(head, head->at);
}

/* The translator reads these bytes in place of the guest's. */
void opcode_feed(struct vcpu *vcpu, uint64_t at, const void *bytes, unsigned count)
{
    struct translation_state *state = &vcpu->translation;

    state->fed_at = at;
    state->fed_count = count;
    memcpy(state->fed, bytes, count);
}

/* A load of code by the translator of more than a byte: what it is to see. */
uint64_t opcode_fed(const struct translation_state *state, uint64_t address, unsigned size, uint64_t value)
{
    for (unsigned i = 0; i < size; i++) {
        uint64_t at = address + i - state->fed_at;

        if (at < state->fed_count) {
            value = (value & ~(0xffull << 8 * i)) | (uint64_t)state->fed[at] << 8 * i;
        }
    }
    return value;
}

static void feed_ud2(const struct head *head)
{
    static const uint8_t ud2[] = {OPCODE_ESCAPE, 0x0b};

    opcode_feed(head->vcpu, head->start, ud2, sizeof(ud2));
}

/* --- LOCK (SDM vol. 2, its page) ------------------------------------------------------------------------------ */

/* Of the one-byte opcodes: ADD OR ADC SBB AND SUB XOR, XCHG, NOT NEG, INC DEC. */
static bool one_byte_lockable(uint8_t opcode, uint8_t modrm)
{
    unsigned reg = MODRM_REG(modrm);

    switch (opcode) {
    case 0x80:
    case 0x81:
    case 0x82:
    case 0x83:
        return reg != 7;
    case 0x86:
    case 0x87:
        return true;
    case 0xf6:
    case 0xf7:
        return reg == 2 || reg == 3;
    case 0xfe:
    case 0xff:
        return reg < 2;
    default:
        return opcode < 0x38 && (opcode & 7) < 2;
    }
}

/* BTS BTR BTC, CMPXCHG, XADD, CMPXCHG8B and 16B. */
static bool two_byte_lockable(uint8_t opcode, uint8_t modrm)
{
    switch (opcode) {
    case 0xab:
    case 0xb0:
    case 0xb1:
    case 0xb3:
    case 0xbb:
    case 0xc0:
    case 0xc1:
        return true;
    case 0xba:
        return MODRM_REG(modrm) > 4;
    case 0xc7:
        return MODRM_REG(modrm) == 1;
    default:
        return false;
    }
}

/* AMD's way to CR8 outside 64-bit mode: LOCK MOV CR0. */
static bool names_cr8(const struct vcpu *vcpu, uint8_t opcode, uint8_t modrm)
{
    return (opcode & ~2u) == 0x20 && MODRM_REG(modrm) == 0 &&
           (ENV_FEATURES(vcpu->env)[MPVM_FEATURE_WORD_CPUID_8000_0001_ECX] & CPUID_EXT3_CR8LEG);
}

static bool has_modrm(bool escaped, uint8_t opcode)
{
    return escaped ? (opcode & ~2u) == 0x20 || two_byte_lockable(opcode, 0xff) || opcode == 0xc7
                   : one_byte_lockable(opcode, 0) || one_byte_lockable(opcode, 2 << 3);
}

static bool lockable(const struct head *head)
{
    bool escaped = head->map == MAP_0F;
    uint8_t modrm;

    if (head->map > MAP_0F || !has_modrm(escaped, head->opcode)) {
        return false;
    }
    modrm = head_peek(head);
    if (escaped && names_cr8(head->vcpu, head->opcode, modrm)) {
        return true;
    }
    return MODRM_MOD(modrm) != 3 &&
           (escaped ? two_byte_lockable(head->opcode, modrm) : one_byte_lockable(head->opcode, modrm));
}

/* --- 16-byte operands (SDM vol. 2, table 2-18: exception class 1, 2, 4) ------------------------------------------ */

/* Whether a 16-byte memory operand of this SSE instruction has to be aligned. Others have none of 16 bytes, which is
 * seen where they load it. */
static bool wide_operand_aligned(const struct head *head)
{
    uint8_t opcode = head->opcode;

    switch (head->map) {
    case MAP_ONE:
        return false;
    case MAP_0F38:
        return true;
    case MAP_0F3A: /* PCMPESTRM PCMPESTRI PCMPISTRM PCMPISTRI */
        return (opcode & ~3u) != 0x60;
    default:
        break;
    }
    switch (opcode) {
    case 0x10: /* MOVUPS MOVUPD */
    case 0x11:
        return false;
    case 0x6f: /* MOVDQU */
    case 0x7f:
        return !(head->prefixes & PREFIX_REP);
    case 0xf0: /* LDDQU */
        return !(head->prefixes & PREFIX_REPNE);
    default:
        return (opcode >= 0x12 && opcode <= 0x17) || (opcode >= 0x28 && opcode <= 0x2f) ||
               (opcode >= 0x50 && opcode <= 0x7e) || (opcode >= 0xc2 && opcode <= 0xc6) || opcode >= 0xd0;
    }
}

/* How many bytes there are of a memory operand of which the translator loads more; 0 for others. */
static unsigned narrow_operand(const struct head *head)
{
    bool plain = !(head->prefixes & (PREFIX_OPERAND | PREFIX_REP | PREFIX_REPNE));

    switch (head->map << 8 | head->opcode) {
    case MAP_0F << 8 | 0x2c: /* CVTTPS2PI CVTPS2PI */
    case MAP_0F << 8 | 0x2d:
    case MAP_0F << 8 | 0x5a: /* CVTPS2PD */
        return plain ? 8 : 0;
    case MAP_0F << 8 | 0x60: /* PUNPCKLBW PUNPCKLWD PUNPCKLDQ of MMX */
    case MAP_0F << 8 | 0x61:
    case MAP_0F << 8 | 0x62:
        return plain ? 4 : 0;
    case MAP_0F << 8 | 0xe6: /* CVTDQ2PD */
        return head->prefixes & PREFIX_REP ? 8 : 0;
    case MAP_0F3A << 8 | 0x0a: /* ROUNDSS */
        return head->prefixes & PREFIX_OPERAND ? 4 : 0;
    case MAP_0F3A << 8 | 0x0b: /* ROUNDSD */
        return head->prefixes & PREFIX_OPERAND ? 8 : 0;
    default:
        return 0;
    }
}

/* --- Forms that the translator does not tell from the valid ones ---------------------------------------------- */

/* 0F 38 F0 and F1 without F2, which would be CRC32. */
static bool movbe_without_memory(const struct head *head)
{
    return head->map == MAP_0F38 && !(head->prefixes & PREFIX_REPNE) && (head->opcode & ~1u) == 0xf0 &&
           MODRM_MOD(head_peek(head)) == 3;
}

/* MOVMSKPS and MOVMSKPD; shifts of a vector by an immediate byte (groups 12 to 14). */
static bool vector_form_with_memory(const struct head *head)
{
    return head->map == MAP_0F && (head->opcode == 0x50 || (head->opcode >= 0x71 && head->opcode <= 0x73)) &&
           MODRM_MOD(head_peek(head)) != 3;
}

/* --- Instructions that the translator runs without their feature ------------------------------------------------- */

/* RDSEED; EXTRQ, INSERTQ, MOVNTSS and MOVNTSD; and TPAUSE, UMONITOR and UMWAIT, which no model has. */
static bool feature_missing(const struct head *head)
{
    enum { CPUID_7_EBX_RDSEED = 1u << 18, CPUID_EXT3_SSE4A = 1u << 6 };
    const uint64_t *features = ENV_FEATURES(head->vcpu->env);
    bool sse4a = (features[MPVM_FEATURE_WORD_CPUID_8000_0001_ECX] & CPUID_EXT3_SSE4A) != 0;
    uint8_t modrm;

    if (head->map != MAP_0F) {
        return false;
    }
    switch (head->opcode) {
    case 0x2b:
        return (head->prefixes & (PREFIX_REP | PREFIX_REPNE)) && !sse4a;
    case 0x78:
    case 0x79:
        return (head->prefixes & (PREFIX_OPERAND | PREFIX_REPNE)) && !sse4a;
    case 0xae:
        modrm = head_peek(head);
        return MODRM_MOD(modrm) == 3 && MODRM_REG(modrm) == 6 &&
               (head->prefixes & (PREFIX_OPERAND | PREFIX_REP | PREFIX_REPNE));
    case 0xc7:
        modrm = head_peek(head);
        return MODRM_MOD(modrm) == 3 && MODRM_REG(modrm) == 7 &&
               !(features[MPVM_FEATURE_WORD_CPUID_7_0_EBX] & CPUID_7_EBX_RDSEED);
    default:
        return false;
    }
}

/* --- CR0.TS and CR0.EM (SDM vol. 3, 2.5 and table 13-1) --------------------------------------------------------- */

/* MMX and SSE, as far as the translator asks TS first; and which of them are SSE's. Others have the prefixes, too. */
static bool is_simd(uint8_t opcode, unsigned prefixes, bool *sse)
{
    bool mmx = (opcode >= 0x60 && opcode <= 0x7f) || opcode == 0xc4 || opcode == 0xc5 || opcode >= 0xd0;

    *sse = (mmx && (prefixes & (PREFIX_OPERAND | PREFIX_REP | PREFIX_REPNE))) || (opcode >= 0x10 && opcode <= 0x17) ||
           (opcode >= 0x28 && opcode <= 0x2f) || (opcode >= 0x50 && opcode <= 0x5f) || opcode == 0xc2 || opcode == 0xc6;
    return *sse || mmx;
}

/* With TS set: what is #UD all the same, and XSAVE and XRSTOR, which are #NM. */
static void task_switched(const struct head *head)
{
    enum { GROUP_15 = 0xae };
    static const uint8_t fld1[] = {0xd9, 0xe8};
    struct vcpu *vcpu = head->vcpu;
    bool simd, sse;

    if (head->map != MAP_0F) {
        return;
    }
    if (head->opcode == GROUP_15) {
        uint8_t modrm = head_peek(head);

        if (MODRM_MOD(modrm) != 3 && MODRM_REG(modrm) >= 4 && MODRM_REG(modrm) <= 6 &&
            !(head->prefixes & PREFIX_OPERAND) && (ENV_CR(vcpu->env)[4] & CR4_OSXSAVE)) {
            opcode_feed(vcpu, head->start, fld1, sizeof(fld1));
        }
        return;
    }
    simd = is_simd(head->opcode, head->prefixes, &sse);
    if (simd && ((vcpu->translating_flags & HF_EM_MASK) || (sse && !(vcpu->translating_flags & HF_OSFXSR_MASK)))) {
        feed_ud2(head);
    }
}

/* --- LGDT, LIDT ------------------------------------------------------------------------------------------------- */

/* Called by translated code before them in 64-bit mode: the base has to be canonical. */
static void table_base_check(CPUX86State *env)
{
    struct vcpu *vcpu = self;
    uintptr_t retaddr = RETADDR;
    struct instruction insn;
    uint64_t address;

    uc.cpu_restore_state(vcpu->cpu, retaddr, false);
    if ((ENV_HFLAGS(env) & HF_CPL_MASK) == 0 &&
        instruction_decode(env, ENV_SEGS(env)[R_CS].base + ENV_EIP(env), &insn)) {
        address = instruction_address(vcpu, &insn, ENV_EIP(env) + insn.length);
        if (!is_canonical(env, uc.cpu_ldq_data_ra(env, address + sizeof(uint16_t), retaddr))) {
            uc.raise_exception_err_ra(env, EXCP_GP, 0, retaddr);
        }
    }
}

static bool loads_table(const struct head *head)
{
    enum { GROUP_7 = 0x01, LGDT = 2 };
    uint8_t modrm;

    if (head->map != MAP_0F || head->opcode != GROUP_7) {
        return false;
    }
    modrm = head_peek(head);
    return MODRM_MOD(modrm) != 3 && (MODRM_REG(modrm) & ~1u) == LGDT;
}

/* --- Where an instruction begins ------------------------------------------------------------------------------ */

static bool prefix_take(struct head *head, uint8_t byte)
{
    static const struct {
        uint8_t byte, segment;
    } overrides[] = {{0x26, R_ES}, {0x2e, R_CS}, {0x36, R_SS}, {0x3e, R_DS}, {0x64, R_FS}, {0x65, R_GS}};

    if (head->code64 && (byte & 0xf0) == 0x40) {
        head->rex = byte & 0xf;
        return true;
    }
    switch (byte) {
    case 0x66:
        head->prefixes |= PREFIX_OPERAND;
        break;
    case 0x67:
        head->prefixes |= PREFIX_ADDRESS;
        break;
    case 0xf0:
        head->prefixes |= PREFIX_LOCK;
        break;
    case 0xf2:
        head->prefixes = (head->prefixes & ~(unsigned)PREFIX_REP) | PREFIX_REPNE;
        break;
    case 0xf3:
        head->prefixes = (head->prefixes & ~(unsigned)PREFIX_REPNE) | PREFIX_REP;
        break;
    default:
        for (unsigned i = 0; i < sizeof(overrides) / sizeof(overrides[0]); i++) {
            if (byte == overrides[i].byte) {
                head->segment = overrides[i].segment;
                head->rex = 0;
                return true;
            }
        }
        return false;
    }
    /* REX counts right before the opcode alone. */
    head->rex = 0;
    return true;
}

/* Prefixes and opcode of the instruction at `linear`. False for one that is too long, which the translator sees. */
bool head_take(struct head *head, struct vcpu *vcpu, uint64_t linear)
{
    uint32_t flags = vcpu->translating_flags;

    *head = (struct head){
        .vcpu = vcpu,
        .start = linear,
        .at = linear,
        .code64 = (flags & HF_CS64_MASK) != 0,
        .code32 = (flags & HF_CS32_MASK) != 0,
        .segment = NO_REGISTER,
    };
    while (prefix_take(head, head->opcode = head_next(head))) {
        if (head->at - linear >= MAX_INSTRUCTION_LENGTH) {
            return false;
        }
    }
    if (head->opcode == OPCODE_ESCAPE) {
        head->map = MAP_0F;
        head->opcode = head_next(head);
        if (head->opcode == 0x38 || head->opcode == 0x3a) {
            head->map = head->opcode == 0x38 ? MAP_0F38 : MAP_0F3A;
            head->opcode = head_next(head);
        }
    }
    return head->at - linear <= MAX_INSTRUCTION_LENGTH;
}

/* Whether the block's accesses have to be aligned (SDM vol. 3, 6.15, #AC). */
static bool alignment_checked(struct vcpu *vcpu)
{
    uint32_t flags = vcpu->translating_flags;

    if (!(flags & EFLAGS_AC) || (flags & HF_CPL_MASK) != 3) {
        return false;
    }
    vcpu->translation.alignment_matters = true;
    return (ENV_CR(vcpu->env)[0] & CR0_AM) != 0;
}

/* CR0.AM is about to change, of which blocks know nothing. */
void opcode_cr0_changes(struct vcpu *vcpu, uint64_t value)
{
    if (((value ^ ENV_CR(vcpu->env)[0]) & CR0_AM) && vcpu->translation.alignment_matters) {
        vcpu->controls->changed = true;
        attention_raise(vcpu);
    }
}

/* A block of the page `page`, or of none, is about to be translated. */
void opcode_block_begin(struct vcpu *vcpu, uint64_t pc, uint32_t page)
{
    struct translation_state *state = &vcpu->translation;

    state->fed_count = 0;
    state->code_host = page == NO_PAGE ? NULL : host_of_page(vcpu, page);
    state->alignment_checked = alignment_checked(vcpu);
    state->code_page = state->code_host == NULL ? NO_CODE_PAGE : pc & ~(uint64_t)(PAGE_BYTES - 1);
}

/* The first bytes, after a REX, of instructions that are looked at. */
static const bool looked_at[256] = {
    [0x26] = true, [0x2e] = true, [0x36] = true, [0x3e] = true, [0x64] = true, [0x65] = true,
    [0x66] = true, [0x67] = true, [0xf0] = true, [0xf2] = true, [0xf3] = true, [OPCODE_ESCAPE] = true,
    [OPCODE_POP_MODRM] = true, [OPCODE_INT1] = true,
    /* Rotations, VEX, LOOPcc, FCMOV (translate_fix.c) */
    [0xc0] = true, [0xc1] = true, [0xd0] = true, [0xd1] = true, [0xd2] = true, [0xd3] = true, [0xc4] = true,
    [0xe0] = true, [0xe1] = true, [0xda] = true, [0xdb] = true,
    /* Another REX: it is none in the end. */
    [0x40] = true, [0x41] = true, [0x42] = true, [0x43] = true, [0x44] = true, [0x45] = true, [0x46] = true,
    [0x47] = true, [0x48] = true, [0x49] = true, [0x4a] = true, [0x4b] = true, [0x4c] = true, [0x4d] = true,
    [0x4e] = true, [0x4f] = true,
};

/* Whether the instruction at `linear` is one that nobody has to look at. */
bool opcode_plain(const struct vcpu *vcpu, uint64_t linear)
{
    const struct translation_state *state = &vcpu->translation;
    bool code64 = (vcpu->translating_flags & HF_CS64_MASK) != 0;
    unsigned offset = linear & (PAGE_BYTES - 1);
    const uint8_t *code = state->code_host + offset;

    if ((linear ^ state->code_page) >= PAGE_BYTES || offset == PAGE_BYTES - 1) {
        return false;
    }
    return !looked_at[code64 && (*code & 0xf0) == 0x40 ? code[1] : *code];
}

/* Nothing is known yet of the next instruction. */
void opcode_begin(struct vcpu *vcpu)
{
    struct translation_state *state = &vcpu->translation;

    state->fed_count = 0;
    state->wide_operand_aligned = false;
    state->narrow_operand = 0;
    state->operand_half = NULL;
}

/* The code of the instruction begins here; the translator has not read it yet. */
void opcode_check(const struct head *head, TCGContext *tcg)
{
    static const uint8_t int3 = OPCODE_INT3;
    struct translation_state *state = &head->vcpu->translation;

    state->wide_operand_aligned = wide_operand_aligned(head);
    state->narrow_operand = narrow_operand(head);
    if (head->prefixes & PREFIX_LOCK) {
        if (!lockable(head)) {
            feed_ud2(head);
        }
    } else if (head->map != MAP_ONE
                   ? movbe_without_memory(head) || vector_form_with_memory(head) || feature_missing(head)
                   : head->opcode == OPCODE_POP_MODRM && MODRM_REG(head_peek(head)) != 0) {
        feed_ud2(head);
    } else if (head->map == MAP_ONE && head->opcode == OPCODE_INT1) {
        /* raise_interrupt() sees by the guest's byte what it was. */
        opcode_feed(head->vcpu, head->at - 1, &int3, sizeof(int3));
    } else if (head->map != MAP_ONE && (head->vcpu->translating_flags & HF_TS_MASK)) {
        task_switched(head);
    } else if (head->code64 && loads_table(head)) {
        void *env = (void *)TCG_TEMP(tcg, TCG_CPU_ENV(tcg));

        translate_call(tcg, (void *)table_base_check, CALL_TOUCHES_ALL, NULL, 1, &env);
    }
}

/* An access to memory of the instruction, as TCG has it: what is loaded or stored, the address, size and kind. */
void opcode_memory_access(struct vcpu *vcpu, TCGContext *tcg, int opcode, uint64_t a, uint64_t b, uint64_t oi)
{
    struct translation_state *state = &vcpu->translation;
    uint64_t *arguments;

    if (state->narrow_operand != 0 && opcode == INDEX_OP_QEMU_LD_I64) {
        if (state->operand_half != NULL) {
            return; /* beyond the operand: what is there already will do, for nothing looks at it */
        }
        if (state->narrow_operand == 4) {
            oi = (oi & ~(uint64_t)OI_SIZE_MASK) | OI_SIZE_4;
        }
    }
    arguments = TCG_OP_ARGS(uc.tcg_emit_op(tcg, opcode));
    if (state->narrow_operand != 0) {
        state->operand_half = arguments;
    }
    if (state->alignment_checked) {
        oi |= OI_ALIGNED;
    }
    arguments[0] = a;
    arguments[1] = b;
    arguments[2] = oi;
    if (!state->wide_operand_aligned || state->narrow_operand != 0 || opcode < INDEX_OP_QEMU_LD_I64) {
        return;
    }
    /* 16 bytes are two accesses of 8 each. */
    if (state->operand_half == NULL) {
        state->operand_half = arguments;
    } else {
        state->operand_half[2] = (state->operand_half[2] & ~(uint64_t)OI_ALIGNED) | OI_ALIGNED_16;
    }
}
