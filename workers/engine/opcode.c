/* What the engine's translator makes of an instruction and the SDM does not: LOCK before what can't be locked, INT1,
 * 16-byte operands that have to be aligned.
 *
 * Each instruction is looked at where its code begins. Most are told by their first byte. One that is not what the
 * translator would take it for is fed to it as another one; a memory operand asks for its alignment in the
 * access itself, which costs translated code nothing.
 */
#include "controls.h"

enum { OPCODE_POP_MODRM = 0x8f };
enum { PREFIX_OPERAND = 1, PREFIX_REP = 2, PREFIX_REPNE = 4, PREFIX_LOCK = 8 };

/* --- The instruction's bytes ---------------------------------------------------------------------------------- */

struct bytes {
    struct vcpu *vcpu;
    uint64_t at, end;
};

/* The next byte, which faults as the instruction's own fetch does. Beyond the longest instruction: 0. */
static inline uint8_t next(struct bytes *bytes)
{
    struct translation_state *state = &bytes->vcpu->translation;
    uint64_t at = bytes->at;

    if (at == bytes->end) {
        return 0;
    }
    bytes->at++;
    if ((at & ~(uint64_t)(PAGE_BYTES - 1)) == state->code_page) {
        return state->code_host[at & (PAGE_BYTES - 1)];
    }
    return (uint8_t)REPLACEMENT(cpu_ldub_code)(bytes->vcpu->env, at);
}

/* The translator reads these bytes in place of the guest's. */
static void feed(struct translation_state *state, uint64_t at, uint8_t first, uint8_t second)
{
    state->fed_at = at;
    state->fed_count = second == 0 ? 1 : 2;
    state->fed[0] = first;
    state->fed[1] = second;
}

static void feed_ud2(struct translation_state *state, uint64_t at)
{
    feed(state, at, OPCODE_ESCAPE, 0x0b);
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

static bool lockable(struct bytes *bytes, bool escaped, uint8_t opcode)
{
    uint8_t modrm;

    if (!has_modrm(escaped, opcode)) {
        return false;
    }
    modrm = next(bytes);
    if (escaped && names_cr8(bytes->vcpu, opcode, modrm)) {
        return true;
    }
    return MODRM_MOD(modrm) != 3 &&
           (escaped ? two_byte_lockable(opcode, modrm) : one_byte_lockable(opcode, modrm));
}

/* --- 16-byte operands (SDM vol. 2, table 2-18: exception class 1, 2, 4) ------------------------------------------ */

/* Whether a 16-byte memory operand of this SSE instruction has to be aligned. Others have none of 16 bytes, which is
 * seen where they load it. */
static bool wide_operand_aligned(struct bytes *bytes, uint8_t opcode, unsigned prefixes)
{
    uint8_t third;

    switch (opcode) {
    case 0x10: /* MOVUPS MOVUPD */
    case 0x11:
        return false;
    case 0x6f: /* MOVDQU */
    case 0x7f:
        return !(prefixes & PREFIX_REP);
    case 0x5a: /* CVTPS2PD reads 8 bytes, of which the translator makes 16 */
        return (prefixes & PREFIX_OPERAND) != 0;
    case 0xe6: /* CVTDQ2PD, too */
        return !(prefixes & PREFIX_REP);
    case 0xf0: /* LDDQU */
        return !(prefixes & PREFIX_REPNE);
    case 0x3a: /* PCMPESTRM PCMPESTRI PCMPISTRM PCMPISTRI */
        third = next(bytes);
        return (third & ~3u) != 0x60;
    case 0x38:
        return true;
    default:
        return (opcode >= 0x12 && opcode <= 0x17) || (opcode >= 0x28 && opcode <= 0x2f) ||
               (opcode >= 0x50 && opcode <= 0x7e) || (opcode >= 0xc2 && opcode <= 0xc6) || opcode >= 0xd0;
    }
}

/* --- Forms that the translator does not tell from the valid ones ---------------------------------------------- */

/* 0F 38 F0 and F1 without F2, which would be CRC32. */
static bool movbe_without_memory(struct bytes *bytes, uint8_t opcode, unsigned prefixes)
{
    struct bytes ahead = *bytes;

    return opcode == 0x38 && !(prefixes & PREFIX_REPNE) && (next(&ahead) & ~1u) == 0xf0 &&
           MODRM_MOD(next(&ahead)) == 3;
}

/* --- CR0.TS and CR0.EM (SDM vol. 3, 2.5 and table 13-1) --------------------------------------------------------- */

/* MMX and SSE, as far as the translator asks TS first; and which of them are SSE's. */
static bool is_simd(uint8_t opcode, unsigned prefixes, bool *sse)
{
    *sse = (prefixes & (PREFIX_OPERAND | PREFIX_REP | PREFIX_REPNE)) || (opcode >= 0x10 && opcode <= 0x17) ||
           (opcode >= 0x28 && opcode <= 0x2f) || (opcode >= 0x50 && opcode <= 0x5f) || opcode == 0xc2 || opcode == 0xc6;
    return *sse || (opcode >= 0x60 && opcode <= 0x7f) || opcode == 0xc4 || opcode == 0xc5 || opcode >= 0xd0;
}

/* With TS set: what is #UD all the same, and XSAVE and XRSTOR, which are #NM. */
static void task_switched(struct vcpu *vcpu, struct bytes *bytes, uint64_t linear, uint8_t opcode, unsigned prefixes)
{
    enum { GROUP_15 = 0xae, FLD1 = 0xe8d9 };
    bool simd, sse;

    if (opcode == GROUP_15) {
        uint8_t modrm = next(bytes);

        if (MODRM_MOD(modrm) != 3 && MODRM_REG(modrm) >= 4 && MODRM_REG(modrm) <= 6 &&
            !(prefixes & PREFIX_OPERAND) && (ENV_CR(vcpu->env)[4] & CR4_OSXSAVE)) {
            feed(&vcpu->translation, linear, FLD1 & 0xff, FLD1 >> 8);
        }
        return;
    }
    simd = (opcode < 0x80 || opcode >= 0xc0) && opcode != 0x38 && opcode != 0x3a && is_simd(opcode, prefixes, &sse);
    if (simd && ((vcpu->translating_flags & HF_EM_MASK) || (sse && !(vcpu->translating_flags & HF_OSFXSR_MASK)))) {
        feed_ud2(&vcpu->translation, linear);
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

static bool loads_table(struct bytes *bytes, uint8_t opcode)
{
    enum { GROUP_7 = 0x01, LGDT = 2 };
    struct bytes ahead = *bytes;
    uint8_t modrm;

    if (opcode != GROUP_7) {
        return false;
    }
    modrm = next(&ahead);
    return MODRM_MOD(modrm) != 3 && (MODRM_REG(modrm) & ~1u) == LGDT;
}

/* --- Where an instruction begins ------------------------------------------------------------------------------ */

/* What the first byte after prefixes says: whether there is more to look at. */
static bool prefix_take(uint8_t byte, unsigned *prefixes)
{
    switch (byte) {
    case 0x26:
    case 0x2e:
    case 0x36:
    case 0x3e:
    case 0x64:
    case 0x65:
    case 0x67:
        return true;
    case 0x66:
        *prefixes |= PREFIX_OPERAND;
        return true;
    case 0xf0:
        *prefixes |= PREFIX_LOCK;
        return true;
    case 0xf2:
        *prefixes = (*prefixes & ~(unsigned)PREFIX_REP) | PREFIX_REPNE;
        return true;
    case 0xf3:
        *prefixes = (*prefixes & ~(unsigned)PREFIX_REPNE) | PREFIX_REP;
        return true;
    default:
        return false;
    }
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
    /* Another REX: it is none in the end. */
    [0x40] = true, [0x41] = true, [0x42] = true, [0x43] = true, [0x44] = true, [0x45] = true, [0x46] = true,
    [0x47] = true, [0x48] = true, [0x49] = true, [0x4a] = true, [0x4b] = true, [0x4c] = true, [0x4d] = true,
    [0x4e] = true, [0x4f] = true,
};

static bool plain(const struct translation_state *state, uint64_t linear, bool code64)
{
    unsigned offset = linear & (PAGE_BYTES - 1);
    const uint8_t *code = state->code_host + offset;

    if ((linear ^ state->code_page) >= PAGE_BYTES || offset == PAGE_BYTES - 1) {
        return false;
    }
    return !looked_at[code64 && (*code & 0xf0) == 0x40 ? code[1] : *code];
}

static void look_at(struct vcpu *vcpu, TCGContext *tcg, uint64_t linear, bool code64)
{
    struct translation_state *state = &vcpu->translation;
    struct bytes bytes = {.vcpu = vcpu, .at = linear, .end = linear + MAX_INSTRUCTION_LENGTH};
    unsigned prefixes = 0;
    uint8_t opcode;
    bool escaped;

    /* REX is a prefix, too, of which only the last counts. */
    do {
        opcode = next(&bytes);
    } while ((code64 && (opcode & 0xf0) == 0x40) || prefix_take(opcode, &prefixes));
    if (bytes.at == bytes.end) {
        return; /* too long, which the translator sees */
    }
    escaped = opcode == OPCODE_ESCAPE;
    if (escaped) {
        opcode = next(&bytes);
        state->wide_operand_aligned = wide_operand_aligned(&bytes, opcode, prefixes);
    }
    if (prefixes & PREFIX_LOCK) {
        if (!lockable(&bytes, escaped, opcode)) {
            feed_ud2(state, linear);
        }
    } else if (escaped ? movbe_without_memory(&bytes, opcode, prefixes)
                       : opcode == OPCODE_POP_MODRM && MODRM_REG(next(&bytes)) != 0) {
        feed_ud2(state, linear);
    } else if (!escaped && opcode == OPCODE_INT1) {
        /* raise_interrupt() sees by the guest's byte what it was. */
        feed(state, bytes.at - 1, OPCODE_INT3, 0);
    } else if (escaped && (vcpu->translating_flags & HF_TS_MASK)) {
        task_switched(vcpu, &bytes, linear, opcode, prefixes);
    } else if (escaped && code64 && loads_table(&bytes, opcode)) {
        void *env = (void *)TCG_TEMP(tcg, TCG_CPU_ENV(tcg));

        translate_call(tcg, (void *)table_base_check, 0, NULL, 1, &env);
    }
}

/* The code of the instruction at `linear` begins here; the translator has not read it yet. */
void opcode_begin(struct vcpu *vcpu, TCGContext *tcg, uint64_t linear)
{
    struct translation_state *state = &vcpu->translation;
    bool code64 = (vcpu->translating_flags & HF_CS64_MASK) != 0;

    state->fed_count = 0;
    state->wide_operand_aligned = false;
    state->operand_half = NULL;
    if (!plain(state, linear, code64)) {
        look_at(vcpu, tcg, linear, code64);
    }
}

/* An access to memory of the instruction, as TCG has it: what is loaded or stored, the address, size and kind. */
void opcode_memory_access(struct vcpu *vcpu, TCGContext *tcg, int opcode, uint64_t a, uint64_t b, uint64_t oi)
{
    struct translation_state *state = &vcpu->translation;
    uint64_t *arguments = TCG_OP_ARGS(uc.tcg_emit_op(tcg, opcode));

    if (state->alignment_checked) {
        oi |= OI_ALIGNED;
    }
    arguments[0] = a;
    arguments[1] = b;
    arguments[2] = oi;
    if (!state->wide_operand_aligned || opcode < INDEX_OP_QEMU_LD_I64) {
        return;
    }
    /* 16 bytes are two accesses of 8 each. */
    if (state->operand_half == NULL) {
        state->operand_half = arguments;
    } else {
        state->operand_half[2] = (state->operand_half[2] & ~(uint64_t)OI_ALIGNED) | OI_ALIGNED_16;
    }
}
