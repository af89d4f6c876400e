// Threads that write code and run it at once, now on this CPU and now on that, again and again at the same
// places: in pages that are writable and executable, in pages that become either by turns, and through a
// second mapping of the same memory.
#include "loads.h"
#include "generate.h"

#include <sys/mman.h>

// A page and a half, so that functions reach over the border of a page.
enum { AREA = 2 * 4096, ARGUMENTS = 3 };

enum way { WRITE_AND_EXECUTE, WRITE_XOR_EXECUTE, TWO_MAPPINGS, WAYS };

static const int write_execute = PROT_READ | PROT_WRITE | PROT_EXEC;

struct area {
    enum way way;
    unsigned char *written;
    unsigned char *executed;
};

static struct area make_area(enum way way)
{
    struct area area = {.way = way};
    if (way == TWO_MAPPINGS) {
        int file = MUST(memfd_create("code", 0));
        MUST(ftruncate(file, AREA));
        area.written = MUST(mmap(NULL, AREA, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0));
        area.executed = MUST(mmap(NULL, AREA, PROT_READ | PROT_EXEC, MAP_SHARED, file, 0));
        close(file);
    } else {
        area.written = MUST(mmap(NULL, AREA, write_execute, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        area.executed = area.written;
    }
    return area;
}

static void check(const struct plan *plan, function *code, uint64_t *random, const char *when)
{
    for (int i = 0; i < ARGUMENTS; i++) {
        uint64_t argument = next_random(random);
        uint64_t result = code(argument);
        if (result != evaluate(plan, argument)) {
            fail("%s the code at %p gives 0x%lx: 0x%lx is right", when, (void *)(uintptr_t)code, result,
                 evaluate(plan, argument));
        }
    }
}

static long play(int number)
{
    uint64_t random = (uint64_t)number;
    struct area area = make_area((enum way)(number % WAYS));
    long rounds = 0;
    for (; !over(); rounds++) {
        size_t place = next_random(&random) % (AREA - MAX_FUNCTION_BYTES);
        function *code = (function *)(area.executed + place);
        struct plan plan = make_plan(&random);
        if (rounds % 8 == 7) {
            pin((int)(next_random(&random) % (uint64_t)cpus()));
        }
        if (area.way == WRITE_XOR_EXECUTE) {
            MUST(mprotect(area.written, AREA, PROT_READ | PROT_WRITE));
        }
        generate(&plan, area.written + place);
        if (area.way == WRITE_XOR_EXECUTE) {
            MUST(mprotect(area.written, AREA, PROT_READ | PROT_EXEC));
        }
        check(&plan, code, &random, "when new");
        if (area.way != WRITE_XOR_EXECUTE) {
            // One number of it, in place. The jump to the function is all that a CPU needs to see a store of
            // its own.
            struct step *step = &plan.steps[0];
            *step = (struct step){ADD, (int32_t)next_random(&random)};
            plan.count = 1;
            generate(&plan, area.written + place);
            check(&plan, code, &random, "when changed");
        }
    }
    return rounds;
}

long jit_load(void)
{
    return on_threads(cpus() * WAYS, play);
}
