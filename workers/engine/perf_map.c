/* The map by which perf(1) names translated code, a line for each block: its address, its size, and a name made of the
 * guest address (Linux, tools/perf/Documentation/jit-interface.txt).
 *
 * perf knows no order among lines that overlap: which one it takes depends on how its tree has been balanced. So a
 * flush, after which the memory of blocks is used again, starts the map anew.
 */
#include "engine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct perf_map {
    int fd; /* appends */
    size_t used;
    char buffer[4096];
    /* Guest addresses in ascending order, and the function that starts there; NULL where none does. */
    const uint64_t *address;
    const char *const *name;
    size_t symbols;
};

/* Longer names, of C++ perhaps, are cut. */
enum { LINE_BYTES = 256 };

/* The run goes on without the map; what is on stderr is told at its end. */
static void give_up(struct vcpu *vcpu)
{
    dprintf(STDERR_FILENO, "the perf map is not whole: %s\n", strerror(errno));
    close(vcpu->perf_map->fd);
    free(vcpu->perf_map);
    vcpu->perf_map = NULL;
}

void perf_map_flush(struct vcpu *vcpu)
{
    struct perf_map *map = vcpu->perf_map;

    if (map == NULL) {
        return;
    }
    for (size_t done = 0; done < map->used;) {
        ssize_t written = write(map->fd, map->buffer + done, map->used - done);

        if (written >= 0) {
            done += (size_t)written;
        } else if (errno != EINTR) {
            give_up(vcpu);
            return;
        }
    }
    map->used = 0;
}

static void add_line(struct vcpu *vcpu, const void *start, size_t size, const char *name)
{
    struct perf_map *map = vcpu->perf_map;
    int length = snprintf(map->buffer + map->used, LINE_BYTES, "%lx %zx %s\n", (unsigned long)start, size, name);

    map->used += (size_t)length;
    if (map->used > sizeof(map->buffer) - LINE_BYTES) {
        perf_map_flush(vcpu);
    }
}

/* The way from the engine's loop into the blocks and back: in the same memory, before all of them. */
static void add_prologue(struct vcpu *vcpu)
{
    const TCGContext *tcg = UC_TCG_CTX(vcpu->engine);
    uintptr_t start = (uintptr_t)TCG_CODE_GEN_PROLOGUE(tcg);

    add_line(vcpu, (void *)start, (uintptr_t)TCG_CODE_GEN_BUFFER(tcg) - start, "tcg-prologue");
}

/* Where the last symbol at or below `address` stands; -1 if there is none. */
static ptrdiff_t symbol_below(const struct perf_map *map, uint64_t address)
{
    size_t low = 0, high = map->symbols;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (map->address[middle] <= address) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return (ptrdiff_t)low - 1;
}

/* A block has been translated. */
void perf_map_block(struct vcpu *vcpu, TranslationBlock *tb)
{
    const struct perf_map *map = vcpu->perf_map;
    uint64_t pc = TB_PC(tb);
    unsigned cpl = TB_FLAGS(tb) & HF_CPL_MASK;
    ptrdiff_t symbol = symbol_below(map, pc);
    char name[LINE_BYTES - 40]; /* two numbers of 16 digits, blanks, the line's end */

    if (symbol >= 0 && map->name[symbol] != NULL) {
        snprintf(name, sizeof(name), "cpl%u:%.160s+0x%lx", cpl, map->name[symbol],
                 (unsigned long)(pc - map->address[symbol]));
    } else {
        snprintf(name, sizeof(name), "cpl%u:0x%lx", cpl, (unsigned long)pc);
    }
    add_line(vcpu, TB_TC_PTR(tb), TB_TC_SIZE(tb), name);
}

/* All blocks are gone. */
void perf_map_restart(struct vcpu *vcpu)
{
    vcpu->perf_map->used = 0;
    if (ftruncate(vcpu->perf_map->fd, 0) != 0) {
        give_up(vcpu);
        return;
    }
    add_prologue(vcpu);
}

void perf_map_close(struct vcpu *vcpu)
{
    perf_map_flush(vcpu);
    if (vcpu->perf_map != NULL) {
        close(vcpu->perf_map->fd);
        free(vcpu->perf_map);
        vcpu->perf_map = NULL;
    }
}

/* Write the map to `fd`, which appends and is ours from now on. The symbols stay the caller's, and where they are,
 * until the engine is destroyed. NULL, or what is wrong. */
ENGINE_EXPORT const char *engine_perf_map(struct vcpu *vcpu, int fd, const uint64_t *address, const char *const *name,
                                          size_t symbols)
{
    struct perf_map *map = calloc(1, sizeof(*map));

    if (map == NULL) {
        return strerror(errno);
    }
    map->fd = fd;
    map->address = address;
    map->name = name;
    map->symbols = symbols;
    vcpu->perf_map = map;
    add_prologue(vcpu);
    return NULL;
}
