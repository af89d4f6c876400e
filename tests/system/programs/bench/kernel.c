// Rows of what the kernel does for one process.
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define FAULTS 1024

static void system_call(uint64_t rounds)
{
    while (rounds--) {
        syscall(SYS_getppid);
    }
}

static void await(pid_t child)
{
    int status;

    if (child < 0 || waitpid(child, &status, 0) != child || status) {
        fail("child");
    }
}

static void fork_only(uint64_t rounds)
{
    while (rounds--) {
        pid_t child = fork();

        if (!child) {
            _exit(0);
        }
        await(child);
    }
}

static void fork_exec(uint64_t rounds)
{
    static char *const arguments[] = {"bench", "--true", NULL};
    static char *const environment[] = {NULL};

    while (rounds--) {
        pid_t child = fork();

        if (!child) {
            execve("/proc/self/exe", arguments, environment);
            _exit(1);
        }
        await(child);
    }
}

static void map_and_touch(uint64_t rounds)
{
    while (rounds--) {
        char *memory = pages(FAULTS * PAGE);

        for (int i = 0; i < FAULTS; i++) {
            memory[i * PAGE] = 1;
        }
        munmap(memory, FAULTS * PAGE);
    }
}

static void protect(uint64_t rounds)
{
    char *page = pages(PAGE);

    while (rounds--) {
        *page = 1;
        if (mprotect(page, PAGE, PROT_READ) != 0 || mprotect(page, PAGE, PROT_READ | PROT_WRITE) != 0) {
            fail("mprotect");
        }
    }
    munmap(page, PAGE);
}

static void on_signal(int number)
{
    (void)number;
    sink++;
}

static void signals(uint64_t rounds)
{
    signal(SIGUSR1, on_signal);
    while (rounds--) {
        raise(SIGUSR1);
    }
}

static int file = -1;

static void file_begin(void)
{
    static char data[256 * 1024];

    file = open("/tmp/file", O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (file < 0 || write(file, data, sizeof data) != (ssize_t)sizeof data) {
        fail("/tmp/file");
    }
}

static void file_end(void)
{
    close(file);
    unlink("/tmp/file");
}

static void file_read(uint64_t rounds)
{
    static char data[4096];

    while (rounds--) {
        if (pread(file, data, sizeof data, (off_t)(rounds % 64 * sizeof data)) != (ssize_t)sizeof data) {
            fail("pread");
        }
    }
}

const struct row kernel_rows[] = {
    {.name = "syscall", .unit = "/s", .per_round = 1, .work = system_call},
    {.name = "file-read",
     .unit = "MB/s",
     .per_round = 4096 / 1e6,
     .work = file_read,
     .begin = file_begin,
     .end = file_end},
    {.name = "signal", .unit = "/s", .per_round = 1, .work = signals},
    {.name = "mmap-fault", .unit = "/s", .per_round = FAULTS, .work = map_and_touch},
    {.name = "mprotect", .unit = "pairs/s", .per_round = 1, .work = protect},
    {.name = "fork", .unit = "/s", .per_round = 1, .work = fork_only},
    {.name = "fork-exec", .unit = "/s", .per_round = 1, .work = fork_exec},
    {.name = NULL},
};
