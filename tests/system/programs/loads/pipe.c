// A token goes round a ring of processes, one a CPU, through pipes; every hop adds to its sum.
#include "loads.h"

enum { MAX_RING = 64 };

struct token {
    unsigned long hops;
    unsigned long sum;
    bool last;
};

static int ends[MAX_RING][2];
static int ring;

static void add_hop(struct token *token)
{
    token->hops++;
    token->sum += token->hops * token->hops;
}

static void take(int number, struct token *token)
{
    ssize_t got = MUST(read(ends[number][0], token, sizeof(*token)));
    if (got != (ssize_t)sizeof(*token)) {
        fail("%zd bytes of a token of %zu came out of pipe %d", got, sizeof(*token), number);
    }
}

static void pass(int number, const struct token *token)
{
    ssize_t put = MUST(write(ends[(number + 1) % ring][1], token, sizeof(*token)));
    if (put != (ssize_t)sizeof(*token)) {
        fail("%zd bytes of a token of %zu went into a pipe", put, sizeof(*token));
    }
}

static long play(int number)
{
    struct token token = {0};
    long rounds = 0;
    unsigned long hops = 0;
    unsigned long sum = 0;
    if (number == 0) {
        pass(0, &token);
    }
    do {
        take(number, &token);
        if (number == 0) {
            // What the others have added, counted here once more.
            for (int hop = 1; hop < ring; hop++) {
                hops++;
                sum += hops * hops;
            }
            if (token.hops != hops || token.sum != sum) {
                fail("after %lu hops the sum is %lu: %lu hops and %lu are right", token.hops, token.sum, hops,
                     sum);
            }
            hops++;
            sum += hops * hops;
            token.last = token.last || over();
        }
        add_hop(&token);
        rounds++;
        pass(number, &token);
    } while (!token.last);
    if (number == 0) {
        take(0, &token); // so that its writer finds a reader
    }
    return rounds;
}

long pipe_load(void)
{
    ring = cpus() < 2 ? 2 : cpus();
    ring = ring > MAX_RING ? MAX_RING : ring;
    for (int number = 0; number < ring; number++) {
        MUST(pipe(ends[number]));
    }
    return on_processes(ring, play);
}
