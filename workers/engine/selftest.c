/* Start-up self-test: are the engine's insides where unicorn_private.h says, and do our functions replace its own?
 *
 * Runs a few instructions on a scratch page before guest RAM is mapped. NULL when all is as expected.
 */
#include "tlb.h"

#include <string.h>

#define MARK 0x1122334455667788ull

/* Real mode at 0:0: lock inc word [0x100]; mov ax, 0x1234; mov [0x80], ax; cpuid; hlt */
static const uint8_t program[] = {
    0xf0, 0xff, 0x06, 0x00, 0x01, 0xb8, 0x34, 0x12, 0xa3, 0x80, 0x00, 0x0f, 0xa2, 0xf4,
};
enum { COUNTER = 0x100, STORED = 0x80 };
/* More than the program becomes. */
enum { SCRATCH_CODE_BYTES = 16 * PAGE_BYTES };

static bool offsets_agree(struct vcpu *vcpu)
{
    uint64_t rax = 0, rip = 0, cr0 = 0, flags = 0;

    ENV_REGS(vcpu->env)[R_EAX] = MARK;
    ENV_EIP(vcpu->env) = 0xfff0;
    uc.uc_reg_read(vcpu->engine, UC_X86_REG_RAX, &rax);
    uc.uc_reg_read(vcpu->engine, UC_X86_REG_RIP, &rip);
    uc.uc_reg_read(vcpu->engine, UC_X86_REG_CR0, &cr0);
    uc.uc_reg_read(vcpu->engine, UC_X86_REG_EFLAGS, &flags);
    return rax == MARK && rip == 0xfff0 && cr0 == ENV_CR(vcpu->env)[0] && cr0 == 0x60000010 && (flags & 2) != 0 &&
           ENV_CPU(vcpu->env) == vcpu->cpu && ENV_SEGS(vcpu->env)[R_CS].base == 0xffff0000 &&
           ENV_MXCSR(vcpu->env) == 0x1f80 && ENV_PAT(vcpu->env) == 0x0007040600070406ull &&
           ENV_FPUC(vcpu->env) == 0x37f && ENV_A20_MASK(vcpu->env) == -1;
}

/* A block's code lies where the engine puts code: behind the prologue, and before the next block. */
static bool code_agrees(const TCGContext *tcg, TranslationBlock *block)
{
    uintptr_t prologue = (uintptr_t)TCG_CODE_GEN_PROLOGUE(tcg), epilogue = (uintptr_t)TCG_CODE_GEN_EPILOGUE(tcg);
    uintptr_t buffer = (uintptr_t)TCG_CODE_GEN_BUFFER(tcg), code = (uintptr_t)TB_TC_PTR(block);
    uintptr_t next = (uintptr_t)TCG_CODE_GEN_PTR(tcg);

    return prologue != 0 && prologue < epilogue && epilogue < buffer && buffer - prologue < PAGE_BYTES &&
           buffer <= code && TB_TC_SIZE(block) != 0 && code + TB_TC_SIZE(block) < next &&
           next - buffer < SCRATCH_CODE_BYTES;
}

/* After the program: its page is in the TLB, and its first block in the cache of jumps, whose hash of 0 is 0. */
static bool insides_agree(struct vcpu *vcpu, const uint8_t *page)
{
    const struct tlb_entry *entry = tlb_entry_at(vcpu->env, 0, MMU_KNOSMAP_IDX);
    TranslationBlock *block = CPU_TB_JMP_CACHE(vcpu->cpu)[0];

    return entry->addr_read == 0 && entry->addend == (uintptr_t)page &&
           (ENV_TLB_DIRTY(vcpu->env) & 1u << MMU_KNOSMAP_IDX) != 0 &&
           ENV_TLB_DESC(vcpu->env, MMU_KNOSMAP_IDX)->n_used_entries != 0 && block != NULL && TB_PC(block) == 0 &&
           TB_CS_BASE(block) == 0 && TB_FLAGS(block) == (ENV_HFLAGS(vcpu->env) & ~HF_INHIBIT_IRQ_MASK) &&
           code_agrees(UC_TCG_CTX(vcpu->engine), block) && TB_PAGE_ADDR(block, 1) == NO_PAGE_ADDR &&
           (TB_CFLAGS(block) & CF_HASH_MASK) == CPU_CLUSTER_INDEX(vcpu->cpu) << CF_CLUSTER_SHIFT;
}

const char *engine_selftest(struct vcpu *vcpu)
{
    static _Alignas(4096) uint8_t page[PAGE_BYTES];
    bool bound;

    uc.cpu_reset(vcpu->cpu);
    if (!offsets_agree(vcpu)) {
        return "unicorn's structures are not laid out as in version 2.1.4; install unicorn==2.1.4";
    }
    memset(page, 0, sizeof(page));
    memcpy(page, program, sizeof(program));
    if (uc.uc_mem_map_ptr(vcpu->engine, 0, PAGE_BYTES, UC_PROT_ALL, page) != 0) {
        return "unicorn can't map memory";
    }
    segment_load(vcpu->env, R_CS, 0, 0, 0xffff, ENV_SEGS(vcpu->env)[R_CS].flags);
    CPU_INTERRUPT_REQUEST(vcpu->cpu) = CPU_INTERRUPT_HARD;
    vcpu->selftest = 0;
    uc.uc_emu_start(vcpu->engine, 0, 0, 0, 0);
    bound = vcpu->selftest == SELFTEST_ALL && CPU_HALTED(vcpu->cpu) && page[COUNTER] == 1 &&
            page[STORED] == 0x34 && ENV_EIP(vcpu->env) == sizeof(program) && insides_agree(vcpu, page);
    REPLACEMENT(tb_flush)(vcpu->cpu);
    uc.uc_mem_unmap(vcpu->engine, 0, PAGE_BYTES);
    return bound ? NULL
                 : "unicorn does not call the engine core: the core must be loaded before unicorn, "
                   "and unicorn must be the wheel of version 2.1.4";
}
