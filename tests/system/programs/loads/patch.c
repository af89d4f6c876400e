// An instruction is changed while other CPUs run it: INT3 over its first byte, then the rest, then its first
// byte, and after each step all CPUs that run this process are serialized (membarrier(2), SYNC_CORE). So does
// Linux with its own code. The instruction loads a number that counts up; it lies also over the border of two
// pages.
#include "loads.h"

#include <linux/membarrier.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>

enum { PAGE = 4096, SITES = 4, LENGTH = 5, MOV_EAX = 0xb8, INT3 = 0xcc, RET = 0xc3 };

// Where each `mov eax, version; ret` begins.
static const int offsets[SITES] = {0, 61, PAGE - 1, 2 * PAGE - 3};

static unsigned char *written, *executed; // two mappings of the same memory
static atomic_uint versions[SITES];       // at least so new is what runs
static atomic_ulong traps;
static atomic_bool stop;

static void on_trap(int number, siginfo_t *information, void *argument)
{
    (void)number;
    (void)information;
    greg_t *registers = ((ucontext_t *)argument)->uc_mcontext.gregs;
    unsigned char *instruction = (unsigned char *)registers[REG_RIP] - 1;
    for (int site = 0; site < SITES; site++) {
        if (instruction == executed + offsets[site]) {
            // What the instruction does, for whoever finds it half changed.
            registers[REG_RAX] = atomic_load(&versions[site]);
            registers[REG_RIP] += LENGTH - 1;
            atomic_fetch_add(&traps, 1);
            return;
        }
    }
    fail("a trap at %p", (void *)instruction);
}

static void serialize_all(void)
{
    MUST(syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0));
}

static long patch(void)
{
    long rounds = 0;
    for (; !over(); rounds++) {
        int site = (int)(rounds % SITES);
        volatile unsigned char *place = written + offsets[site];
        unsigned version = atomic_load(&versions[site]) + 1;
        *place = INT3;
        serialize_all();
        for (int i = 0; i < 4; i++) {
            place[1 + i] = (unsigned char)(version >> 8 * i);
        }
        serialize_all();
        *place = MOV_EAX;
        serialize_all();
        atomic_store(&versions[site], version);
    }
    atomic_store(&stop, true);
    return rounds;
}

static long run(void)
{
    while (!atomic_load(&stop)) {
        for (int site = 0; site < SITES; site++) {
            unsigned before = atomic_load(&versions[site]);
            unsigned seen = ((unsigned (*)(void))(executed + offsets[site]))();
            unsigned after = atomic_load(&versions[site]);
            if (seen - before > after + 1 - before) {
                fail("site %d gives %u: from %u to %u is right", site, seen, before, after + 1);
            }
        }
    }
    return 0;
}

static long play(int number)
{
    return number == 0 ? patch() : run();
}

long patch_load(void)
{
    int file = MUST(memfd_create("code", 0));
    MUST(ftruncate(file, 3 * PAGE));
    written = MUST(mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0));
    executed = MUST(mmap(NULL, 3 * PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, file, 0));
    for (int site = 0; site < SITES; site++) {
        memcpy(written + offsets[site], (unsigned char[]){MOV_EAX, 0, 0, 0, 0, RET}, LENGTH + 1);
    }
    struct sigaction action = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO};
    MUST(sigaction(SIGTRAP, &action, NULL));
    MUST(syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0));
    return on_threads(cpus() < 2 ? 2 : cpus(), play);
}
