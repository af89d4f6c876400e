// A fork+exec storm on every CPU. A child of fork() writes its copies of the parent's pages before it
// executes this program again, by turns with vfork(), where it does not; the new program looks at its
// arguments, its environment, its data and a piece of its text.
#include "loads.h"

#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>

enum { COPIED_WORDS = 4 * 512, DATA_WORDS = 1024, TEXT_BYTES = 16384 };

extern const unsigned char __executable_start[], etext[];

static uint64_t copied[COPIED_WORDS];
static uint64_t zero[DATA_WORDS];
static uint64_t data[DATA_WORDS] = {[0] = 0x1122334455667788, [DATA_WORDS - 1] = 0x99aabbccddeeff00};

// FNV-1a, of the piece of the text that `seed` picks.
static uint64_t text_sum(uint64_t seed)
{
    const unsigned char *text =
        __executable_start + seed % (uint64_t)(etext - __executable_start - TEXT_BYTES);
    uint64_t sum = 0xcbf29ce484222325;
    for (int i = 0; i < TEXT_BYTES; i++) {
        sum = (sum ^ text[i]) * 0x100000001b3;
    }
    return sum;
}

static int status_of(uint64_t seed)
{
    return (int)((text_sum(seed) ^ seed) % 251) + 1;
}

int forkexec_child(const char *word)
{
    uint64_t seed = strtoull(word, NULL, 16);
    const char *variable = getenv("LOADS_SEED");
    if (variable == NULL || strcmp(variable, word) != 0) {
        return 253;
    }
    if (data[0] != 0x1122334455667788 || data[DATA_WORDS - 1] != 0x99aabbccddeeff00) {
        return 254;
    }
    for (int i = 0; i < DATA_WORDS; i++) {
        if (zero[i] != 0) {
            return 255;
        }
        zero[i] = seed;
    }
    data[0] = seed;
    return status_of(seed);
}

static pid_t fork_and_exec(char **words, char **environment, uint64_t seed)
{
    pid_t child = MUST(fork());
    if (child == 0) {
        for (int i = 0; i < COPIED_WORDS; i += 64) {
            if (copied[i] != seed + (uint64_t)i) {
                fail("a forked child sees 0x%lx where its parent has written 0x%lx", copied[i],
                     seed + (uint64_t)i);
            }
            copied[i] = ~seed;
        }
        execve("/proc/self/exe", words, environment);
        fail("execve: %s", strerror(errno));
    }
    return child;
}

static long storm(int number)
{
    uint64_t random = (uint64_t)number;
    long rounds = 0;
    while (!over()) {
        uint64_t seed = next_random(&random);
        char word[20];
        char variable[40];
        snprintf(word, sizeof(word), "%lx", seed);
        snprintf(variable, sizeof(variable), "LOADS_SEED=%s", word);
        char *words[] = {"loads", "forkexec-child", word, NULL};
        char *environment[] = {variable, NULL};
        for (int i = 0; i < COPIED_WORDS; i++) {
            copied[i] = seed + (uint64_t)i;
        }
        pid_t child;
        if (rounds % 4 == 3) {
            MUST_BE_0(posix_spawn(&child, "/proc/self/exe", NULL, NULL, words, environment));
        } else {
            child = fork_and_exec(words, environment, seed);
        }
        int status;
        if (MUST(waitpid(child, &status, 0)) != child || !WIFEXITED(status) ||
            WEXITSTATUS(status) != status_of(seed)) {
            fail("a child ended with wait status 0x%x: exit status %d is right", (unsigned)status,
                 status_of(seed));
        }
        for (int i = 0; i < COPIED_WORDS; i++) {
            if (copied[i] != seed + (uint64_t)i) {
                fail("word %d is 0x%lx after a child has written its copy: 0x%lx is right", i, copied[i],
                     seed + (uint64_t)i);
            }
        }
        rounds++;
    }
    return rounds;
}

long forkexec_load(void)
{
    return on_processes(cpus(), storm);
}
