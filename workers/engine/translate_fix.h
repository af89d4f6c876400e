/* Instructions that the engine's translator gets wrong, made right where they are translated. */
#ifndef MPVM_TRANSLATE_FIX_H
#define MPVM_TRANSLATE_FIX_H

#include "engine.h"

/* What a function in the place of an instruction is told of it; `displacement` comes beside it. */
struct operands {
    uint8_t reg;              /* ModRM.reg */
    uint8_t other;            /* VEX.vvvv; of a rotation: the count */
    uint8_t rm;               /* ModRM.rm, of a register */
    uint8_t base, index;      /* of an address; NO_REGISTER: none. Relative to RIP: none, and the whole address */
    uint8_t scale : 2, segment : 3;
    uint8_t memory : 1, address_bytes : 4;
    uint8_t bytes;            /* of the operand: 1, 2, 4 or 8 */
};
_Static_assert(sizeof(struct operands) == sizeof(uint64_t), "one argument of a call");

enum { ROTATE_BY_CL = 0xff };

typedef void fixed_instruction(CPUX86State *env, uint64_t operands, uint64_t displacement);

/* fixed_instructions.c: called by translated code */
fixed_instruction fixed_blsi, fixed_bzhi, fixed_bextr, fixed_cmpxchg, fixed_lock_neg,
    fixed_neg_alone, fixed_rcl, fixed_rcr, fixed_smsw;
void fixed_settle_flags(CPUX86State *env, uint64_t cc_op);

/* x87_control.c: before an MMX instruction that writes register `reg` */
void x87_enter_mmx(CPUX86State *env, uint64_t reg);

/* x87_stack.c: before FCMOV from ST(`n`) */
void x87_before_fcmov(CPUX86State *env, uint64_t n);

#endif
