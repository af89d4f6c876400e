#include "generate.h"
#include "loads.h"

struct plan make_plan(uint64_t *random)
{
    struct plan plan = {.count = 1 + (int)(next_random(random) % MAX_STEPS)};
    for (int i = 0; i < plan.count; i++) {
        uint64_t number = next_random(random);
        plan.steps[i] = (struct step){(enum step_kind)(number % STEP_KINDS), (int32_t)(number >> 32)};
    }
    return plan;
}

static unsigned char *put(unsigned char *code, const void *bytes, size_t count)
{
    memcpy(code, bytes, count);
    return code + count;
}

static unsigned char *put_with_number(unsigned char *code, const void *opcode, size_t count, int32_t number)
{
    return put(put(code, opcode, count), &number, sizeof(number));
}

static uint64_t rotate(uint64_t value, int by)
{
    return by == 0 ? value : value << by | value >> (64 - by);
}

// RAX is the value, RCX counts.
static unsigned char *generate_step(struct step step, unsigned char *code)
{
    int32_t number = step.number;
    switch (step.kind) {
    case ADD: // add rax, number
        return put_with_number(code, "\x48\x05", 2, number);
    case XOR: // xor rax, number
        return put_with_number(code, "\x48\x35", 2, number);
    case MULTIPLY: // imul rax, rax, number | 1
        return put_with_number(code, "\x48\x69\xc0", 3, number | 1);
    case ROTATE: // rol rax, number
        return put(put(code, "\x48\xc1\xc0", 3), &number, 1);
    case LEA: // lea rax, [rax + 4 * rax + number]
        return put_with_number(code, "\x48\x8d\x84\x80", 4, number);
    case SKIP: // test al, number; jz over the next; add rax, number
        code = put(put(put(code, "\xa8", 1), &number, 1), "\x74\x06", 2);
        return put_with_number(code, "\x48\x05", 2, number);
    case LOOP: // mov ecx, 5; add rax, number; dec ecx; jnz back to the add
        code = put_with_number(put(code, "\xb9\x05\x00\x00\x00", 5), "\x48\x05", 2, number);
        return put(code, "\xff\xc9\x75\xf6", 4);
    default: // call the next but one; jmp over it; it: xor rax, number; ret
        code = put(code, "\xe8\x02\x00\x00\x00\xeb\x07", 7);
        return put(put_with_number(code, "\x48\x35", 2, number), "\xc3", 1);
    }
}

unsigned char *generate(const struct plan *plan, unsigned char *code)
{
    code = put(code, "\x48\x89\xf8", 3); // mov rax, rdi
    for (int i = 0; i < plan->count; i++) {
        code = generate_step(plan->steps[i], code);
    }
    return put(code, "\xc3", 1);
}

static uint64_t evaluate_step(struct step step, uint64_t value)
{
    uint64_t number = (uint64_t)(int64_t)step.number;
    switch (step.kind) {
    case ADD:
        return value + number;
    case MULTIPLY:
        return value * (number | 1);
    case ROTATE:
        return rotate(value, (int)(number & 63));
    case LEA:
        return 5 * value + number;
    case SKIP:
        return (value & number & 0xff) == 0 ? value : value + number;
    case LOOP:
        return value + 5 * number;
    default: // XOR, CALL
        return value ^ number;
    }
}

uint64_t evaluate(const struct plan *plan, uint64_t argument)
{
    uint64_t value = argument;
    for (int i = 0; i < plan->count; i++) {
        value = evaluate_step(plan->steps[i], value);
    }
    return value;
}
