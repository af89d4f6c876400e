// Bytes in pieces of all sizes through pipes and sockets, from CPU to CPU: every one comes, in order,
// unchanged.
#include "loads.h"

#include <sys/socket.h>

enum { MAX_PAIRS = 32, MAX_PIECE = 20000, PATTERN = 1 << 16 };

static int ends[MAX_PAIRS][2];
static atomic_long *totals; // of each pair, known before its last piece is written; 0 before
static unsigned char pattern[PATTERN + MAX_PIECE]; // repeats after PATTERN bytes

static long give(int pair, uint64_t random)
{
    long position = 0;
    for (bool last = false; !last;) {
        size_t size = 1 + next_random(&random) % MAX_PIECE;
        last = over();
        if (last) {
            atomic_store(&totals[pair], position + (long)size);
        }
        if (MUST(write(ends[pair][1], pattern + position % PATTERN, size)) != (ssize_t)size) {
            fail("a piece went only in part");
        }
        position += (long)size;
    }
    return position;
}

static long take(int pair, uint64_t random)
{
    static unsigned char piece[MAX_PIECE];
    long position = 0;
    do {
        size_t size = 1 + next_random(&random) % MAX_PIECE;
        ssize_t got = MUST(read(ends[pair][0], piece, size));
        const unsigned char *right = pattern + position % PATTERN;
        for (ssize_t i = 0; i < got; i++) {
            if (piece[i] != right[i]) {
                fail("byte %ld is 0x%02x: 0x%02x is right", position + i, piece[i], right[i]);
            }
        }
        position += got;
    } while (position != atomic_load(&totals[pair]));
    return 0;
}

static long play(int number)
{
    return number % 2 == 0 ? give(number / 2, (uint64_t)number) : take(number / 2, (uint64_t)number);
}

long stream_load(void)
{
    int count = cpus() < 2 ? 2 : cpus() / 2 * 2;
    count = count > 2 * MAX_PAIRS ? 2 * MAX_PAIRS : count;
    uint64_t random = 1;
    for (int i = 0; i < PATTERN; i++) {
        pattern[i] = (unsigned char)next_random(&random);
    }
    memcpy(pattern + PATTERN, pattern, MAX_PIECE);
    totals = shared_memory(MAX_PAIRS * sizeof(*totals));
    for (int pair = 0; pair < count / 2; pair++) {
        if (pair % 2 == 0) {
            MUST(pipe(ends[pair]));
        } else {
            MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, ends[pair]));
        }
    }
    return on_processes(count, play);
}
