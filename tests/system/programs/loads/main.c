// loads NAME SECONDS       one load
// loads all SECONDS        each for so long, one after the other
// loads together SECONDS   all at once
// A line a load: how much it did and its verdict. Status 0 if all were right.
#include "loads.h"
#include "harness.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

static const struct load {
    const char *name;
    long (*run)(void);
} loads[] = {
    {"futex", futex_load},         {"pipe", pipe_load},     {"stream", stream_load},
    {"forkexec", forkexec_load},   {"cow", cow_load},       {"mmap", mmap_load},
    {"shootdown", shootdown_load}, {"jit", jit_load},       {"publish", publish_load},
    {"patch", patch_load},         {"signal", signal_load}, {"state", state_load},
    {"atomics", atomics_load},     {"rseq", rseq_load},     {"ptrace", ptrace_load},
    {"clock", clock_load},         {"compat", compat_load},
};

enum { LOADS = sizeof(loads) / sizeof(loads[0]) };

// A load that is not over so long after its end hangs. vCPUs that share cores with others are slow.
#define GRACE_SECONDS 90

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

// In a process of its own that leads a process group.
static pid_t start(const struct load *load, double seconds)
{
    pid_t child = fork();
    if (child != 0) {
        setpgid(child, child);
        return child;
    }
    setpgid(0, 0);
    set_load(load->name, seconds);
    double began = now();
    long rounds = load->run();
    double took = now() - began;
    if (rounds <= 0) {
        fail("did no round");
    }
    char line[200];
    int length = snprintf(line, sizeof(line), "loads: %s %ld rounds in %.1f s, %.0f/s: right\n", load->name,
                          rounds, took, (double)rounds / took);
    _exit(write(STDOUT_FILENO, line, (size_t)length) == length ? 0 : 1);
}

static void print_file(const char *path)
{
    char text[1024];
    int file = open(path, O_RDONLY);
    ssize_t length = file < 0 ? 0 : read(file, text, sizeof(text));
    if (length > 0) {
        printf("%s: %.*s\n", path, (int)length, text);
    }
    close(file);
}

// Where every thread of the process group is, for whoever looks for the cause.
static void print_threads(pid_t group)
{
    DIR *processes = opendir("/proc");
    for (struct dirent *entry; (entry = readdir(processes)) != NULL;) {
        pid_t pid = atoi(entry->d_name);
        if (pid == 0 || getpgid(pid) != group) {
            continue;
        }
        char path[300];
        snprintf(path, sizeof(path), "/proc/%d/task", pid);
        DIR *threads = opendir(path);
        for (struct dirent *thread; threads != NULL && (thread = readdir(threads)) != NULL;) {
            if (thread->d_name[0] != '.') {
                static const char *const files[] = {"stat", "syscall", "stack"};
                for (int file = 0; file < 3; file++) {
                    snprintf(path, sizeof(path), "/proc/%d/task/%s/%s", pid, thread->d_name, files[file]);
                    print_file(path);
                }
            }
        }
        if (threads != NULL) {
            closedir(threads);
        }
    }
    closedir(processes);
    fflush(stdout);
}

// Waits for `child`; what is left of its group is killed. Returns whether it was right.
static bool finish(const struct load *load, pid_t child, double deadline)
{
    int status;
    pid_t ended;
    while ((ended = waitpid(child, &status, WNOHANG)) == 0 && now() < deadline) {
        usleep(20000);
    }
    if (ended == 0) {
        printf("loads: %s FAILED: hangs\n", load->name);
        print_threads(child);
        status = -1;
    } else if (!WIFEXITED(status)) {
        printf("loads: %s FAILED: killed by signal %d\n", load->name, WTERMSIG(status));
    }
    fflush(stdout);
    kill(-child, SIGKILL);
    if (ended == 0) {
        waitpid(child, NULL, 0);
    }
    return status == 0;
}

static bool run_in_turn(const struct load *first, int count, double seconds)
{
    bool right = true;
    for (const struct load *load = first; load < first + count; load++) {
        right &= finish(load, start(load, seconds), now() + seconds + GRACE_SECONDS);
    }
    return right;
}

static bool run_together(double seconds)
{
    pid_t children[LOADS];
    bool right = true;
    for (int load = 0; load < LOADS; load++) {
        children[load] = start(&loads[load], seconds);
    }
    double deadline = now() + seconds + LOADS * GRACE_SECONDS;
    for (int load = 0; load < LOADS; load++) {
        right &= finish(&loads[load], children[load], deadline);
    }
    return right;
}

int main(int count, char **words)
{
    if (count == 3 && strcmp(words[1], "forkexec-child") == 0) {
        return forkexec_child(words[2]);
    }
    double seconds = count == 3 ? atof(words[2]) : 0;
    if (seconds > 0) {
        if (strcmp(words[1], "all") == 0) {
            return !run_in_turn(loads, LOADS, seconds);
        }
        if (strcmp(words[1], "together") == 0) {
            return !run_together(seconds);
        }
        for (int load = 0; load < LOADS; load++) {
            if (strcmp(words[1], loads[load].name) == 0) {
                return !run_in_turn(&loads[load], 1, seconds);
            }
        }
    }
    fprintf(stderr, "usage: loads NAME|all|together SECONDS; NAME is one of");
    for (int load = 0; load < LOADS; load++) {
        fprintf(stderr, " %s", loads[load].name);
    }
    fprintf(stderr, "\n");
    return 2;
}
