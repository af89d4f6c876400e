/* The beginning of an instruction, as opcode.c and translate_fix.c look at it where its code begins. */
#ifndef MPVM_OPCODE_H
#define MPVM_OPCODE_H

#include "instruction.h"

enum { PREFIX_OPERAND = 1, PREFIX_REP = 2, PREFIX_REPNE = 4, PREFIX_LOCK = 8, PREFIX_ADDRESS = 16 };
enum { REX_B = 1, REX_X = 2, REX_R = 4, REX_W = 8 };
/* Opcode maps; the numbers are VEX's (SDM vol. 2, 2.3.6.1). */
enum { MAP_ONE, MAP_0F, MAP_0F38, MAP_0F3A };

struct head {
    struct vcpu *vcpu;
    uint64_t start, at; /* `at`: behind the opcode, and what has been read behind it */
    bool code64, code32;
    unsigned prefixes, rex, map;
    uint8_t segment; /* R_ES to R_GS: an override, or NO_REGISTER */
    uint8_t opcode;
};

bool head_take(struct head *head, struct vcpu *vcpu, uint64_t linear);
uint8_t head_next(struct head *head);
uint8_t head_peek(const struct head *head);
bool opcode_plain(const struct vcpu *vcpu, uint64_t linear);
void opcode_check(const struct head *head, TCGContext *tcg);
void opcode_feed(struct vcpu *vcpu, uint64_t at, const void *bytes, unsigned count);

#endif
