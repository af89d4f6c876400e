/* The instructions that execution controls are about, decoded (SDM vol. 2, chapter 2 and appendix A). */
#ifndef MPVM_INSTRUCTION_H
#define MPVM_INSTRUCTION_H

#include "engine.h"

#define MODRM_MOD(modrm) ((modrm) >> 6)
#define MODRM_REG(modrm) ((modrm) >> 3 & 7)
#define MODRM_RM(modrm) ((modrm)&7)
#define MAX_INSTRUCTION_LENGTH 15
enum { OPCODE_ESCAPE = 0x0f, OPCODE_INT3 = 0xcc, OPCODE_INTO = 0xce, OPCODE_INT1 = 0xf1 };

uint32_t cpu_ldub_code_x86_64(CPUX86State *env, uint64_t address);

enum instruction_kind {
    INSN_OTHER,
    INSN_HLT,
    INSN_PAUSE,
    INSN_CPUID,
    INSN_RDTSC,
    INSN_RDTSCP,
    INSN_RDPMC,
    INSN_INVLPG,
    INSN_MOV_TO_CR,
    INSN_MOV_FROM_CR,
    INSN_CLTS,
    INSN_LMSW,
    INSN_SMSW,
    INSN_MOV_TO_DR,
    INSN_MOV_FROM_DR,
    INSN_MONITOR,
    INSN_MWAIT,
    INSN_WBINVD,
    INSN_INVD,
    INSN_XSETBV,
    INSN_RDRAND,
    INSN_GDTR_IDTR, /* SGDT SIDT LGDT LIDT: `extension` 0 to 3 */
    INSN_LDTR_TR,   /* SLDT STR LLDT LTR: the same */
    INSN_RDMSR,
    INSN_WRMSR,
    INSN_IN,
    INSN_OUT,
    INSN_KINDS,
};

#define NO_REGISTER 0xffu

struct instruction {
    enum instruction_kind kind;
    uint8_t length;
    uint8_t rex;
    uint8_t operand_bytes; /* 2, 4 or 8 */
    uint8_t address_bytes; /* the same */
    uint8_t segment;       /* R_ES to R_GS: of a memory operand */
    bool operand_prefix;   /* 66 */
    bool repeat;           /* F2 or F3 */
    bool lock;
    bool string;           /* INS, OUTS */
    bool immediate_port;
    bool memory;           /* the operand of the ModR/M byte is in memory */
    uint8_t extension;     /* the reg field of the ModR/M byte, with REX.R */
    uint8_t operand;       /* the rm field, with REX.B: a register's number */
    uint8_t base, index;   /* registers of the address, or NO_REGISTER */
    uint8_t scale;
    int64_t displacement;
};

unsigned instruction_operand(CPUX86State *env, uint64_t at, struct instruction *insn);
unsigned instruction_operand_length(CPUX86State *env, uint64_t linear);
bool instruction_decode(CPUX86State *env, uint64_t linear, struct instruction *insn);
unsigned instruction_repeats(CPUX86State *env, uint64_t linear, uint64_t *left);
uint64_t instruction_address(const struct vcpu *vcpu, const struct instruction *insn, uint64_t next_eip);

#endif
