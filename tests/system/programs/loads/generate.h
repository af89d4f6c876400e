// Random functions from uint64_t to uint64_t as x86-64 code, together with what they compute.
#ifndef GENERATE_H
#define GENERATE_H

#include <stddef.h>
#include <stdint.h>

typedef uint64_t function(uint64_t argument);

enum { MAX_STEPS = 24, MAX_STEP_BYTES = 20, MAX_FUNCTION_BYTES = MAX_STEPS * MAX_STEP_BYTES + 8 };

enum step_kind { ADD, XOR, MULTIPLY, ROTATE, LEA, SKIP, LOOP, CALL, STEP_KINDS };

struct step {
    enum step_kind kind;
    int32_t number;
};

struct plan {
    int count;
    struct step steps[MAX_STEPS];
};

// A plan that `random` decides.
struct plan make_plan(uint64_t *random);

// Writes the plan's code to `code`, at most MAX_FUNCTION_BYTES; returns its end. It holds no address: it runs
// anywhere.
unsigned char *generate(const struct plan *plan, unsigned char *code);

// What the code of `plan` has to return.
uint64_t evaluate(const struct plan *plan, uint64_t argument);

#endif
