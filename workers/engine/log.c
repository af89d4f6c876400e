/* The log's categories that are the CPU's: what is taken and what is reset (QEMU's -d int, -d cpu_reset).
 *
 * A line is one write() to a descriptor that appends, so that lines of several vCPUs do not mix. A category that is off
 * costs a test where an event is delivered, and nothing in translated code. */
#include "engine.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

enum { LOG_BYTES = 2048 };

struct text {
    size_t used;
    char bytes[LOG_BYTES];
};

__attribute__((format(printf, 2, 3))) static void add(struct text *text, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    text->used += (size_t)vsnprintf(text->bytes + text->used, sizeof(text->bytes) - text->used, format, arguments);
    va_end(arguments);
}

static void put(const struct vcpu *vcpu, const struct text *text)
{
    /* There is nobody to tell that the log takes no more. */
    ssize_t written = write(vcpu->log_fd, text->bytes, text->used);

    (void)written;
}

/* The event `vector` is about to be delivered; `kind` says what it is. */
void log_event(const struct vcpu *vcpu, const char *kind, int vector, int error_code)
{
    CPUX86State *env = vcpu->env;
    const struct SegmentCache *segment = ENV_SEGS(env);
    struct text text;

    if (!(vcpu->log_mask & MPVM_LOG_INT)) {
        return;
    }
    text.used = 0;
    add(&text, "mpvm: int: vCPU %u %s v=%02x e=%04x cpl=%u IP=%04x:%016lx SP=%04x:%016lx CR2=%016lx\n", vcpu->index,
        kind, (unsigned)vector, (unsigned)error_code, (unsigned)(ENV_HFLAGS(env) & HF_CPL_MASK),
        (unsigned)segment[R_CS].selector, (unsigned long)ENV_EIP(env), (unsigned)segment[R_SS].selector,
        (unsigned long)ENV_REGS(env)[R_ESP], (unsigned long)ENV_CR(env)[2]);
    put(vcpu, &text);
}

/* The vCPU is about to be reset; `kind` says how. */
void log_reset(const struct vcpu *vcpu, const char *kind)
{
    static const char *const names[] = {"RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI",
                                        "R8",  "R9",  "R10", "R11", "R12", "R13", "R14", "R15"};
    CPUX86State *env = vcpu->env;
    struct text text;

    if (!(vcpu->log_mask & MPVM_LOG_CPU_RESET)) {
        return;
    }
    text.used = 0;
    add(&text, "mpvm: cpu_reset: vCPU %u %s", vcpu->index, kind);
    add(&text, " IP=%04x:%016lx", (unsigned)ENV_SEGS(env)[R_CS].selector, (unsigned long)ENV_EIP(env));
    for (unsigned n = 0; n < 16; n++) {
        add(&text, " %s=%016lx", names[n], (unsigned long)ENV_REGS(env)[n]);
    }
    add(&text, " CR0=%08lx CR2=%016lx CR3=%016lx CR4=%08lx EFER=%016lx\n", (unsigned long)ENV_CR(env)[0],
        (unsigned long)ENV_CR(env)[2], (unsigned long)ENV_CR(env)[3], (unsigned long)ENV_CR(env)[4],
        (unsigned long)ENV_EFER(env));
    put(vcpu, &text);
}

/* Log the categories in `mask` (MPVM_LOG_*) to `fd`, which appends and stays the caller's. */
ENGINE_EXPORT void engine_log(struct vcpu *vcpu, int fd, uint32_t mask)
{
    vcpu->log_fd = fd;
    vcpu->log_mask = mask;
}
