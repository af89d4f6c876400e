/* Decoding of the instructions that execution controls are about, and of nothing else. */
#include "instruction.h"

enum { PREFIX_NONE, PREFIX_REPNE = 0xf2, PREFIX_REP = 0xf3 };
enum { REX_B = 1, REX_X = 2, REX_R = 4, REX_W = 8 };

struct reader {
    CPUX86State *env;
    uint64_t at;
    unsigned count;
};

/* A byte of code, which faults as the instruction's own fetch does. Beyond the longest instruction: 0. */
static uint8_t next_byte(struct reader *reader)
{
    if (reader->count++ >= MAX_INSTRUCTION_LENGTH) {
        return 0;
    }
    return (uint8_t)REPLACEMENT(cpu_ldub_code)(reader->env, reader->at++);
}

static int64_t next_signed(struct reader *reader, unsigned bytes)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < bytes; i++) {
        value |= (uint64_t)next_byte(reader) << 8 * i;
    }
    return bytes == 0 ? 0 : (int64_t)(value << (64 - 8 * bytes)) >> (64 - 8 * bytes);
}

static bool long_code(const CPUX86State *env)
{
    return (ENV_HFLAGS(env) & HF_CS64_MASK) != 0;
}

/* SDM vol. 2, table 2-1: [BX+SI] and so on. */
static void address_16(struct reader *reader, struct instruction *insn, uint8_t modrm)
{
    static const uint8_t bases[] = {R_EBX, R_EBX, R_EBP, R_EBP, R_ESI, R_EDI, R_EBP, R_EBX};
    static const uint8_t indexes[] = {R_ESI, R_EDI, R_ESI, R_EDI, NO_REGISTER, NO_REGISTER, NO_REGISTER, NO_REGISTER};
    unsigned rm = MODRM_RM(modrm), mod = MODRM_MOD(modrm);

    if (mod == 0 && rm == 6) {
        insn->displacement = next_signed(reader, 2);
        return;
    }
    insn->base = bases[rm];
    insn->index = indexes[rm];
    insn->displacement = next_signed(reader, mod);
}

/* SDM vol. 2, tables 2-2 and 2-3. */
static void address_32(struct reader *reader, struct instruction *insn, uint8_t modrm)
{
    enum { BY_RIP = 0x10 };
    unsigned mod = MODRM_MOD(modrm), rm = MODRM_RM(modrm);
    unsigned displacement_bytes = mod == 1 ? 1 : mod == 2 ? 4 : 0;

    if (rm == R_ESP) {
        uint8_t sib = next_byte(reader);

        insn->scale = sib >> 6;
        insn->index = (uint8_t)(MODRM_REG(sib) | (insn->rex & REX_X ? 8 : 0));
        if (insn->index == R_ESP) {
            insn->index = NO_REGISTER;
        }
        if (MODRM_RM(sib) == R_EBP && mod == 0) {
            displacement_bytes = 4;
        } else {
            insn->base = (uint8_t)(MODRM_RM(sib) | (insn->rex & REX_B ? 8 : 0));
        }
    } else if (rm == R_EBP && mod == 0) {
        displacement_bytes = 4;
        insn->base = long_code(reader->env) ? BY_RIP : NO_REGISTER;
    } else {
        insn->base = (uint8_t)(rm | (insn->rex & REX_B ? 8 : 0));
    }
    insn->displacement = next_signed(reader, displacement_bytes);
}

static void modrm_take(struct reader *reader, struct instruction *insn, uint8_t modrm, bool register_only)
{
    bool segment_given = insn->segment != NO_REGISTER;

    insn->extension = (uint8_t)(MODRM_REG(modrm) | (insn->rex & REX_R ? 8 : 0));
    insn->operand = (uint8_t)(MODRM_RM(modrm) | (insn->rex & REX_B ? 8 : 0));
    insn->memory = !register_only && MODRM_MOD(modrm) != 3;
    if (insn->memory) {
        if (insn->address_bytes == 2) {
            address_16(reader, insn, modrm);
        } else {
            address_32(reader, insn, modrm);
        }
        if (!segment_given) {
            insn->segment = insn->base == R_ESP || insn->base == R_EBP ? R_SS : R_DS;
        }
    }
}

/* 0F 01: a register form is an instruction of its own. */
static enum instruction_kind group_7(const struct instruction *insn, uint8_t modrm)
{
    switch (modrm) {
    case 0xc8:
        return INSN_MONITOR;
    case 0xc9:
        return INSN_MWAIT;
    case 0xd1:
        return insn->operand_prefix || insn->repeat ? INSN_OTHER : INSN_XSETBV;
    case 0xf9:
        return INSN_RDTSCP;
    default:
        break;
    }
    switch (MODRM_REG(modrm)) {
    case 0:
    case 1:
    case 2:
    case 3:
        return insn->memory ? INSN_GDTR_IDTR : INSN_OTHER;
    case 4:
        return INSN_SMSW;
    case 6:
        return INSN_LMSW;
    case 7:
        return insn->memory ? INSN_INVLPG : INSN_OTHER;
    default:
        return INSN_OTHER;
    }
}

static enum instruction_kind two_byte(struct reader *reader, struct instruction *insn)
{
    uint8_t opcode = next_byte(reader), modrm;

    switch (opcode) {
    case 0x00:
        modrm = next_byte(reader);
        modrm_take(reader, insn, modrm, false);
        return MODRM_REG(modrm) < 4 ? INSN_LDTR_TR : INSN_OTHER;
    case 0x01:
        modrm = next_byte(reader);
        modrm_take(reader, insn, modrm, false);
        return group_7(insn, modrm);
    case 0x06:
        return INSN_CLTS;
    case 0x08:
        return INSN_INVD;
    case 0x09:
        return INSN_WBINVD;
    case 0x20:
    case 0x21:
    case 0x22:
    case 0x23:
        modrm_take(reader, insn, next_byte(reader), true);
        if (opcode & 1) {
            return insn->extension > 7 ? INSN_OTHER : opcode & 2 ? INSN_MOV_TO_DR : INSN_MOV_FROM_DR;
        }
        return opcode & 2 ? INSN_MOV_TO_CR : INSN_MOV_FROM_CR;
    case 0x30:
        return INSN_WRMSR;
    case 0x31:
        return INSN_RDTSC;
    case 0x32:
        return INSN_RDMSR;
    case 0x33:
        return INSN_RDPMC;
    case 0xa2:
        return INSN_CPUID;
    case 0xc7:
        modrm = next_byte(reader);
        modrm_take(reader, insn, modrm, false);
        return MODRM_REG(modrm) == 6 && !insn->memory && !insn->repeat ? INSN_RDRAND : INSN_OTHER;
    default:
        return INSN_OTHER;
    }
}

static enum instruction_kind one_byte(struct reader *reader, struct instruction *insn, uint8_t opcode,
                                      uint8_t repeat)
{
    switch (opcode) {
    case 0x0f:
        return two_byte(reader, insn);
    case 0x90:
        return repeat == PREFIX_REP && !(insn->rex & REX_B) ? INSN_PAUSE : INSN_OTHER;
    case 0xf4:
        return INSN_HLT;
    case 0xe4:
    case 0xe5:
    case 0xe6:
    case 0xe7:
        insn->immediate_port = true;
        next_byte(reader);
        return opcode & 2 ? INSN_OUT : INSN_IN;
    case 0xec:
    case 0xed:
    case 0xee:
    case 0xef:
        return opcode & 2 ? INSN_OUT : INSN_IN;
    case 0x6c:
    case 0x6d:
    case 0x6e:
    case 0x6f:
        insn->string = true;
        if (!(opcode & 2)) {
            insn->segment = R_ES;
        } else if (insn->segment == NO_REGISTER) {
            insn->segment = R_DS;
        }
        return opcode & 2 ? INSN_OUT : INSN_IN;
    default:
        return INSN_OTHER;
    }
}

static bool prefix_take(struct instruction *insn, uint8_t byte, uint8_t *repeat, bool *address_prefix)
{
    static const struct {
        uint8_t byte, segment;
    } overrides[] = {{0x26, R_ES}, {0x2e, R_CS}, {0x36, R_SS}, {0x3e, R_DS}, {0x64, R_FS}, {0x65, R_GS}};

    for (unsigned i = 0; i < sizeof(overrides) / sizeof(overrides[0]); i++) {
        if (byte == overrides[i].byte) {
            insn->segment = overrides[i].segment;
            return true;
        }
    }
    switch (byte) {
    case 0x66:
        insn->operand_prefix = true;
        return true;
    case 0x67:
        *address_prefix = true;
        return true;
    case 0xf0:
        insn->lock = true;
        return true;
    case PREFIX_REPNE:
    case PREFIX_REP:
        *repeat = byte;
        return true;
    default:
        return false;
    }
}

static uint64_t low_bytes(uint64_t value, unsigned bytes)
{
    return bytes == 8 ? value : value & ((1ull << 8 * bytes) - 1);
}

static uint8_t address_size(const CPUX86State *env, bool address_prefix)
{
    if (long_code(env)) {
        return address_prefix ? 4 : 8;
    }
    return ((ENV_HFLAGS(env) & HF_CS32_MASK) != 0) != address_prefix ? 4 : 2;
}

/* The length of a repeated string instruction that stands at `linear`, and how many iterations are left; 0 for others. */
unsigned instruction_repeats(CPUX86State *env, uint64_t linear, uint64_t *left)
{
    struct reader reader = {.env = env, .at = linear};
    struct instruction insn = {.kind = INSN_OTHER};
    bool address_prefix = false;
    uint8_t byte, repeat = PREFIX_NONE;

    do {
        byte = next_byte(&reader);
    } while (prefix_take(&insn, byte, &repeat, &address_prefix) || (long_code(env) && (byte & 0xf0) == 0x40));
    *left = low_bytes(ENV_REGS(env)[R_ECX], address_size(env, address_prefix));
    /* INS OUTS, MOVS CMPS, STOS LODS SCAS */
    return repeat != PREFIX_NONE && ((byte & 0xfc) == 0x6c || (byte & 0xfc) == 0xa4 || (byte & 0xfe) == 0xaa ||
                                     (byte & 0xfc) == 0xac)
               ? reader.count
               : 0;
}

/* Decode the ModRM byte at `at` and the address behind it, by the prefixes that `insn` has; how many bytes they are. */
unsigned instruction_operand(CPUX86State *env, uint64_t at, struct instruction *insn)
{
    struct reader reader = {.env = env, .at = at};

    insn->base = insn->index = NO_REGISTER;
    modrm_take(&reader, insn, next_byte(&reader), false);
    return reader.count;
}

/* The length of an instruction of one opcode byte and a ModRM operand, with nothing behind it. */
unsigned instruction_operand_length(CPUX86State *env, uint64_t linear)
{
    struct reader reader = {.env = env, .at = linear};
    struct instruction insn = {.segment = NO_REGISTER};
    bool address_prefix = false;
    uint8_t byte, repeat = PREFIX_NONE;

    do {
        byte = next_byte(&reader);
    } while (prefix_take(&insn, byte, &repeat, &address_prefix) || (long_code(env) && (byte & 0xf0) == 0x40));
    insn.address_bytes = address_size(env, address_prefix);
    return reader.count + instruction_operand(env, reader.at, &insn);
}

/* Decode what stands at `linear`. False for an instruction that no control is about. */
bool instruction_decode(CPUX86State *env, uint64_t linear, struct instruction *insn)
{
    struct reader reader = {.env = env, .at = linear};
    bool wide = (ENV_HFLAGS(env) & HF_CS32_MASK) != 0, address_prefix = false;
    uint8_t byte, repeat = PREFIX_NONE;

    *insn = (struct instruction){.segment = NO_REGISTER, .base = NO_REGISTER, .index = NO_REGISTER};
    while (prefix_take(insn, byte = next_byte(&reader), &repeat, &address_prefix)) {
        if (reader.count >= MAX_INSTRUCTION_LENGTH) {
            return false;
        }
    }
    if (long_code(env) && (byte & 0xf0) == 0x40) {
        insn->rex = byte & 0xf;
        byte = next_byte(&reader);
    }
    insn->repeat = repeat != PREFIX_NONE;
    insn->operand_bytes = insn->rex & REX_W ? 8 : wide != insn->operand_prefix ? 4 : 2;
    insn->address_bytes = address_size(env, address_prefix);
    insn->kind = one_byte(&reader, insn, byte, repeat);
    insn->length = (uint8_t)reader.count;
    return insn->kind != INSN_OTHER && reader.count <= MAX_INSTRUCTION_LENGTH;
}

/* The linear address of its memory operand; `next_eip` is RIP after it. */
uint64_t instruction_address(const struct vcpu *vcpu, const struct instruction *insn, uint64_t next_eip)
{
    CPUX86State *env = vcpu->env;
    uint64_t offset = (uint64_t)insn->displacement;
    uint64_t base = ENV_SEGS(env)[insn->segment].base;

    if (insn->string) {
        offset = ENV_REGS(env)[insn->kind == INSN_IN ? R_EDI : R_ESI];
    } else {
        if (insn->base < 16) {
            offset += ENV_REGS(env)[insn->base];
        } else if (insn->base != NO_REGISTER) {
            offset += next_eip;
        }
        if (insn->index != NO_REGISTER) {
            offset += ENV_REGS(env)[insn->index] << insn->scale;
        }
    }
    offset = low_bytes(offset, insn->address_bytes);
    if (long_code(env)) {
        return insn->segment == R_FS || insn->segment == R_GS ? base + offset : offset;
    }
    return (uint32_t)(base + offset);
}
