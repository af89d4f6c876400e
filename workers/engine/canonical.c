/* Non-canonical addresses (SDM vol. 1, 3.3.7.1): an access to one is #SS if it is to the stack, #GP else, and so is a branch to
 * one. The engine does not know which; the instruction tells.
 */
#include "instruction.h"

enum { REX_B = 1 };
enum stack_access { STACK_NONE = 0, STACK_LOAD = 1, STACK_STORE = 2, STACK_BOTH = 3 };

/* The accesses of a one-byte opcode that are to the stack whatever its operand. */
static enum stack_access implicit_access(uint8_t opcode, uint8_t modrm)
{
    switch (opcode) {
    case 0x07: case 0x17: case 0x1f: case 0x61: /* POP of segments, POPA */
    case 0x8f: case 0x9d: /* POP, POPF */
    case 0xc2: case 0xc3: case 0xca: case 0xcb: case 0xcf: /* RET, IRET */
        return STACK_LOAD;
    case 0x06: case 0x0e: case 0x16: case 0x1e: case 0x60: /* PUSH of segments, PUSHA */
    case 0x68: case 0x6a: case 0x9c: case 0x9a: case 0xe8: /* PUSH, PUSHF, CALL */
        return STACK_STORE;
    case 0xc8: case 0xc9: /* ENTER, LEAVE */
        return STACK_BOTH;
    case 0xff: /* CALL and PUSH load their operand */
        return MODRM_REG(modrm) == 2 || MODRM_REG(modrm) == 3 || MODRM_REG(modrm) == 6 ? STACK_STORE : STACK_NONE;
    default:
        return (opcode & 0xf8) == 0x50 ? STACK_STORE : (opcode & 0xf8) == 0x58 ? STACK_LOAD : STACK_NONE;
    }
}

static bool one_byte_modrm(uint8_t opcode)
{
    return (opcode < 0x40 && (opcode & 7) < 4) || opcode == 0x63 || opcode == 0x69 || opcode == 0x6b ||
           (opcode >= 0x80 && opcode < 0x90) || (opcode & 0xfe) == 0xc0 || (opcode & 0xfe) == 0xc6 ||
           (opcode >= 0xd0 && opcode < 0xd4) || (opcode >= 0xd8 && opcode < 0xe0) || (opcode & 0xfe) == 0xf6 ||
           opcode >= 0xfe;
}

/* Whether the address of its memory operand has RSP or RBP as the base. */
static bool stack_based(uint8_t modrm, uint8_t sib, uint8_t rex)
{
    unsigned base = MODRM_RM(modrm), mod = MODRM_MOD(modrm);

    if (mod == 3) {
        return false;
    }
    if (base == R_ESP) {
        base = sib & 7;
    }
    return !(rex & REX_B) && (base == R_ESP || (base == R_EBP && mod != 0));
}

struct code {
    CPUX86State *env;
    uint64_t at;
};

static uint8_t next(struct code *code)
{
    return (uint8_t)REPLACEMENT(cpu_ldub_code)(code->env, code->at++);
}

/* In 64-bit mode: whether an access of the instruction at RIP, to a non-canonical address, is to the stack. */
static bool to_stack(CPUX86State *env, enum stack_access access)
{
    struct code code = {.env = env, .at = ENV_EIP(env)};
    bool other_segment = false, escaped;
    uint8_t opcode, rex = 0, modrm, sib;

    for (;;) {
        opcode = next(&code);
        if ((opcode & 0xf0) == 0x40) {
            rex = opcode;
        } else if (opcode == 0x64 || opcode == 0x65) {
            other_segment = true;
        } else if (opcode != 0x66 && opcode != 0x67 && (opcode & 0xe7) != 0x26 && opcode != 0xf0 &&
                   (opcode & 0xfe) != 0xf2) {
            break;
        }
    }
    escaped = opcode == OPCODE_ESCAPE;
    if (escaped) {
        opcode = next(&code);
        if ((opcode & 0xf6) == 0xa0) { /* PUSH and POP of FS and GS */
            return access == (opcode & 1 ? STACK_LOAD : STACK_STORE);
        }
        if ((opcode & 0xfd) == 0x38) {
            next(&code);
        }
    } else if (!one_byte_modrm(opcode)) {
        return (implicit_access(opcode, 0) & access) != 0;
    }
    modrm = next(&code);
    if (!escaped && (implicit_access(opcode, modrm) & access) != 0) {
        return true;
    }
    sib = MODRM_RM(modrm) == R_ESP ? next(&code) : 0;
    return !other_segment && stack_based(modrm, sib, rex);
}

/* Raise the exception of an access of kind `access` to a non-canonical address. */
void non_canonical_access(struct vcpu *vcpu, int access, uintptr_t retaddr)
{
    CPUX86State *env = vcpu->env;
    bool stack = false;
    int exception;

    if (vcpu->delivering != NOT_DELIVERING) {
        stack = access == MMU_DATA_STORE;
    } else if (access != MMU_INST_FETCH && retaddr != 0 && (ENV_HFLAGS(env) & HF_CS64_MASK)) {
        uc.cpu_restore_state(vcpu->cpu, retaddr, true);
        retaddr = 0;
        stack = to_stack(env, access == MMU_DATA_STORE ? STACK_STORE : STACK_LOAD);
    }
    exception = stack ? EXCP_SS : EXCP_GP;
    uc.raise_exception_err_ra(env, exception, event_error_code(vcpu, exception, 0), retaddr);
}

/* A near branch, the last instruction of the block that `retaddr` is in, leads to a non-canonical address: #GP is the
 * branch's own, which has not been (SDM vol. 2, JMP, CALL, RET). */
void non_canonical_branch(struct vcpu *vcpu, uintptr_t retaddr)
{
    enum { RET_IMMEDIATE = 0xc2, RET = 0xc3, GROUP_5 = 0xff, CALL = 2, BYTES = 8 };
    CPUX86State *env = vcpu->env;
    uint64_t *rsp = &ENV_REGS(env)[R_ESP];
    struct code code = {.env = env};
    uint8_t opcode;

    uc.cpu_restore_state(vcpu->cpu, retaddr, true);
    code.at = ENV_EIP(env);
    do {
        opcode = next(&code);
    } while ((opcode & 0xf0) == 0x40 || (opcode & 0xe7) == 0x26 || (opcode >= 0x64 && opcode <= 0x67) ||
             (opcode & 0xfe) == 0xf2);
    if (opcode == GROUP_5 && MODRM_REG(next(&code)) == CALL) {
        *rsp += BYTES;
    } else if (opcode == RET || opcode == RET_IMMEDIATE) {
        *rsp -= BYTES;
        if (opcode == RET_IMMEDIATE) {
            unsigned low = next(&code);

            *rsp -= low | (unsigned)next(&code) << 8;
        }
    }
    uc.raise_exception_err_ra(env, EXCP_GP, 0, 0);
}
