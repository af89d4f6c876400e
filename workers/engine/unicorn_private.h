/* What the engine core knows of unicorn 2.1.4's insides (x86-64 Linux wheel).
 *
 * The one place for private names, offsets and constants of the engine. They are those of one build, and selftest.c
 * proves at start-up that it is that one, by something of each structure; the tests of the engine core use all of
 * them. Unicorn is QEMU 5.0's TCG; the names are QEMU's.
 */
#ifndef MPVM_UNICORN_PRIVATE_H
#define MPVM_UNICORN_PRIVATE_H

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UNICORN_VERSION_MAJOR 2
#define UNICORN_VERSION_MINOR 1
#define UNICORN_VERSION_PATCH 4

/* A function of the engine that one of ours replaces: ours comes earlier in the symbol search order. */
#define REPLACES(name) __attribute__((visibility("default"))) name##_x86_64
/* The same name alone, for calls, and where a pointer is returned: there ENGINE_EXPORT stands before the type. */
#define REPLACEMENT(name) name##_x86_64
#define REPLACES_PLAIN(name) __attribute__((visibility("default"))) name

typedef struct uc_struct uc_engine;
typedef struct CPUState CPUState;
typedef struct CPUX86State CPUX86State;
typedef struct TranslationBlock TranslationBlock;
typedef struct TCGContext TCGContext;
typedef struct MemTxAttrs {
    uint32_t bits;
} MemTxAttrs;
typedef uint64_t ram_addr_t;

#define FIELD(object, type, offset) (*(type *)((uintptr_t)(object) + (offset)))

/* uc_struct */
#define UC_CPU(uc) FIELD(uc, CPUState *, 440)
#define UC_TCG_CTX(uc) FIELD(uc, TCGContext *, 768)
#define UC_STOP_REQUEST(uc) FIELD(uc, volatile bool, 1389)
#define UC_NESTED_LEVEL(uc) FIELD(uc, int32_t, 14840)
#define UC_STOP_INTERRUPT(uc) FIELD(uc, void *, 224)

/* TCGContext, TranslationBlock */
#define TCG_TB_CFLAGS(tcg) FIELD(tcg, uint32_t, 100)
#define TCG_CODE_GEN_PROLOGUE(tcg) FIELD(tcg, void *, 144)
#define TCG_CODE_GEN_EPILOGUE(tcg) FIELD(tcg, void *, 152)
#define TCG_CODE_GEN_BUFFER(tcg) FIELD(tcg, void *, 160) /* where blocks begin, after prologue and epilogue */
#define TCG_CODE_GEN_PTR(tcg) FIELD(tcg, void *, 192)    /* where the next block goes */
#define DISAS_CC_OP(db) FIELD(db, uint32_t, 116) /* the translator's context: what it knows of the flags */
#define DISAS_CC_OP_DIRTY(db) FIELD(db, bool, 124)
#define TB_PC(tb) FIELD(tb, uint64_t, 0)
#define TB_CS_BASE(tb) FIELD(tb, uint64_t, 8)
#define TB_FLAGS(tb) FIELD(tb, uint32_t, 16) /* hflags, and the TB_EFLAGS_MASK of RFLAGS */
#define TB_SIZE(tb) FIELD(tb, uint16_t, 20)
#define TB_INSTRUCTIONS(tb) FIELD(tb, uint16_t, 22)
#define TB_CFLAGS(tb) FIELD(tb, uint32_t, 24)
#define TB_TC_PTR(tb) FIELD(tb, void *, 32)
#define TB_TC_SIZE(tb) FIELD(tb, size_t, 40)
#define TB_PAGE_ADDR(tb, n) FIELD(tb, ram_addr_t, 72 + 8 * (n)) /* the second is NO_PAGE_ADDR in most */
#define NO_PAGE_ADDR UINT64_MAX
/* DisasContextBase: what comes after the instruction that is being translated */
typedef struct DisasContextBase DisasContextBase;
typedef struct TranslatorOps TranslatorOps;
#define DISAS_IS_JMP(db) FIELD(db, int, 24)
#define DISAS_INSTRUCTIONS(db) FIELD(db, int, 28) /* the one that is being translated included */
enum { DISAS_TOO_MANY = 1 };
#define TB_EFLAGS_MASK 0x73100u /* VM, AC, RF, IOPL, TF */
#define CF_HASH_MASK 0xff0effffu /* the cflags that make two blocks different ones, and CF_INVALID */
#define CF_CLUSTER_SHIFT 24
#define TB_EXIT_REQUESTED 3u
#define TCG_CPU_ENV(tcg) FIELD(tcg, uintptr_t, 39152) /* a temporary is an offset in the context */
#define TCG_CPU_REGS(tcg, n) FIELD(tcg, uintptr_t, 39320 + 8 * (n)) /* the general registers' */
#define TCG_TEMP(tcg, value) ((uint64_t)(uintptr_t)(tcg) + (value))
#define TCG_LABEL_PRESENT(label) FIELD(label, uint32_t, 0)
#define TCG_LABEL_PRESENT_BIT 1u
enum { TCG_TYPE_I32 = 0, TCG_TYPE_I64 = 1, TCG_TYPE_V64 = 2, TCG_COND_EQ = 8, TCG_COND_NE = 9, TCG_COND_GT = 11 };
enum {
    INDEX_OP_SET_LABEL = 1,
    INDEX_OP_CALL = 2,
    INDEX_OP_LD_I32 = 13,
    INDEX_OP_MOVCOND_I64 = 66,
    INDEX_OP_LD32U_I64 = 71,
    INDEX_OP_LD_I64 = 73,
    INDEX_OP_EXT32U_I64 = 109,
    INDEX_OP_INSN_START = 129,
};
enum { INDEX_OP_QEMU_LD_I32 = 133, INDEX_OP_QEMU_LD_I64 = 135, INDEX_OP_QEMU_ST_I64 = 136 };
#define TCG_TEMP_OF(tcg, temp) ((uintptr_t)(temp) - (uintptr_t)(tcg)) /* the inverse of TCG_TEMP */
#define TCG_OP_COUNTS(op) FIELD(op, uint8_t, 1) /* of a call: how many it takes, and << 4 how many it gives */
#define TCG_OP_ARGS(op) (&FIELD(op, uint64_t, 24))
#define TCG_CALL_NO_READ_GLOBALS 1u
#define TCG_CALL_NO_WRITE_GLOBALS 2u
#define ATTENTION_FROM_ENV (-8) /* padding before CPUX86State, 16 bytes aligned, which nothing of the engine uses */
#define CF_COUNT_MASK 0x00007fffu
#define CF_LAST_IO 0x00008000u
#define CF_PARALLEL 0x00080000u

/* CPUState */
#define CPU_EXIT_REQUEST(cpu) FIELD(cpu, volatile bool, 21)
#define CPU_CFLAGS_NEXT_TB(cpu) FIELD(cpu, uint32_t, 24)
#define CPU_INTERRUPT_REQUEST(cpu) FIELD(cpu, uint32_t, 28)
#define CPU_ENV(cpu) FIELD(cpu, CPUX86State *, 296)
#define CPU_TB_JMP_CACHE(cpu) (&FIELD(cpu, TranslationBlock *, 312))
#define TB_JMP_CACHE_SIZE 4096
#define CPU_CLUSTER_INDEX(cpu) FIELD(cpu, uint32_t, 33172)
#define CPU_MEM_IO_PC(cpu) FIELD(cpu, uintptr_t, 33144) /* where the block that reads or writes a register is */
#define CPU_HALTED(cpu) FIELD(cpu, uint32_t, 33176)
#define CPU_EXCEPTION_INDEX(cpu) FIELD(cpu, int32_t, 33184)
#define ENV_CPU(env) ((CPUState *)((uintptr_t)(env) - 35408))
#define CPU_INTERRUPT_HARD 2u
#define EXCP_INTERRUPT 0x10000
#define EXCP_HLT 0x10001

/* CPUX86State */
struct SegmentCache {
    uint32_t selector;
    uint64_t base;
    uint32_t limit;
    uint32_t flags;
};
#define ENV_ATTENTION(env) FIELD(env, _Atomic uint32_t, ATTENTION_FROM_ENV)
#define ENV_REGS(env) (&FIELD(env, uint64_t, 0))
#define ENV_EIP(env) FIELD(env, uint64_t, 128)
#define ENV_EFLAGS(env) FIELD(env, uint64_t, 136)
#define ENV_CC_SRC(env) FIELD(env, uint64_t, 152)
#define ENV_CC_OP(env) FIELD(env, uint32_t, 168)
enum { CC_OP_DYNAMIC, CC_OP_EFLAGS, CC_OP_SUBB = 14, CC_OP_SUBQ = 17 };
#define EFLAGS_ARITHMETIC 0x8d5u /* the flags that CC_SRC holds then */
#define ENV_DF(env) FIELD(env, int32_t, 172)
#define ENV_HFLAGS(env) FIELD(env, uint32_t, 176)
#define ENV_HFLAGS2(env) FIELD(env, uint32_t, 180)
#define ENV_SEGS(env) (&FIELD(env, struct SegmentCache, 184))
#define ENV_LDT_OFFSET 328
#define ENV_LDT(env) (&FIELD(env, struct SegmentCache, ENV_LDT_OFFSET))
#define ENV_TR_OFFSET 352
#define ENV_TR(env) (&FIELD(env, struct SegmentCache, ENV_TR_OFFSET))
#define ENV_GDT_OFFSET 376
#define ENV_GDT(env) (&FIELD(env, struct SegmentCache, ENV_GDT_OFFSET))
#define ENV_IDT_OFFSET 400
#define ENV_IDT(env) (&FIELD(env, struct SegmentCache, ENV_IDT_OFFSET))
#define ENV_CR_OFFSET 424
#define ENV_CR(env) (&FIELD(env, uint64_t, ENV_CR_OFFSET))
#define ENV_A20_MASK(env) FIELD(env, int32_t, 496)
#define ENV_EFER(env) FIELD(env, uint64_t, 592)
#define ENV_FPSTT(env) FIELD(env, uint32_t, 604)
#define ENV_FPUS(env) FIELD(env, uint16_t, 608)
#define ENV_FPUC(env) FIELD(env, uint16_t, 610)
#define ENV_FPTAGS(env) (&FIELD(env, uint8_t, 612))
#define ENV_FPREG(env, n) (&FIELD(env, uint8_t, 624 + 16 * (n)))
/* Bytes of the engine's fp_status and sse_status, which nothing uses any more. */
#define ENV_X87_STATE(env) FIELD(env, uint8_t, 776)
#define ENV_X87_ABORTED(env) FIELD(env, uint8_t, 777)
#define ENV_X87_FCMOV_FAULT(env) FIELD(env, uint8_t, 778)
#define ENV_MXCSR_STATE(env) FIELD(env, uint8_t, 808)
#define ENV_MXCSR_OFFSET 816
#define ENV_MXCSR(env) FIELD(env, uint32_t, ENV_MXCSR_OFFSET)
#define ENV_XMM(env, n) (&FIELD(env, uint8_t, 824 + 64 * (n)))
#define ENV_SYSENTER_CS(env) FIELD(env, uint32_t, 4800)
#define ENV_SYSENTER_ESP(env) FIELD(env, uint64_t, 4808)
#define ENV_SYSENTER_EIP(env) FIELD(env, uint64_t, 4816)
#define ENV_STAR(env) FIELD(env, uint64_t, 4824)
#define ENV_LSTAR(env) FIELD(env, uint64_t, 4840)
#define ENV_CSTAR(env) FIELD(env, uint64_t, 4848)
#define ENV_FMASK(env) FIELD(env, uint64_t, 4856)
#define ENV_KERNELGSBASE(env) FIELD(env, uint64_t, 4864)
#define ENV_TSC_AUX(env) FIELD(env, uint64_t, 4896)
#define ENV_XCR0(env) FIELD(env, uint64_t, 4904)
#define ENV_PAT(env) FIELD(env, uint64_t, 5280)
#define ENV_PKRU(env) FIELD(env, uint32_t, 5304)
#define ENV_ERROR_CODE(env) FIELD(env, int32_t, 5384)
#define ENV_EXCEPTION_IS_INT(env) FIELD(env, int32_t, 5388)
#define ENV_EXCEPTION_NEXT_EIP(env) FIELD(env, uint64_t, 5392)
#define ENV_DR(env) (&FIELD(env, uint64_t, 5400))
#define ENV_OLD_EXCEPTION(env) FIELD(env, int32_t, 5496)
#define NO_EXCEPTION (-1)
#define ENV_RETADDR(env) FIELD(env, uintptr_t, 5560)
#define ENV_CPUID_VENDOR1(env) (&FIELD(env, uint32_t, 5616))
#define ENV_CPUID_VERSION(env) FIELD(env, uint32_t, 5628)
#define ENV_FEATURES(env) (&FIELD(env, uint64_t, 5632))
#define ENV_MTRR_DEFTYPE(env) FIELD(env, uint64_t, 6408)

enum { R_ES, R_CS, R_SS, R_DS, R_FS, R_GS };
enum { R_EAX, R_ECX, R_EDX, R_EBX, R_ESP, R_EBP, R_ESI, R_EDI };

/* hflags: what translation depends on (QEMU's HF_*) */
#define HF_CPL_MASK 3u
#define HF_INHIBIT_IRQ_MASK (1u << 3)
#define HF_CS32_MASK (1u << 4)
#define HF_SS32_MASK (1u << 5)
#define HF_ADDSEG_MASK (1u << 6)
#define HF_PE_MASK (1u << 7)
#define HF_TF_MASK (1u << 8)
#define HF_EM_MASK (1u << 10)
#define HF_MP_SHIFT 9
#define HF_MP_EM_TS_MASK (7u << HF_MP_SHIFT)
#define HF_TS_MASK (4u << HF_MP_SHIFT)
#define HF_IOPL_MASK (3u << 12)
#define HF_LMA_MASK (1u << 14)
#define HF_CS64_MASK (1u << 15)
#define HF_VM_MASK (1u << 17)
#define HF_OSFXSR_MASK (1u << 22)
#define HF_SMAP_MASK (1u << 23)
#define HF2_NMI_MASK (1u << 2)

/* Segment flags: the descriptor's second word */
#define DESC_A_MASK (1u << 8)
#define DESC_R_MASK (1u << 9)
#define DESC_W_MASK (1u << 9)
#define DESC_CS_MASK (1u << 11)
#define DESC_S_MASK (1u << 12)
#define DESC_DPL_SHIFT 13
#define DESC_P_MASK (1u << 15)
#define DESC_L_MASK (1u << 21)
#define DESC_B_MASK (1u << 22)
#define DESC_G_MASK (1u << 23)

/* MMU */
enum { MMU_DATA_LOAD, MMU_DATA_STORE, MMU_INST_FETCH };
enum { MMU_KSMAP_IDX, MMU_USER_IDX, MMU_KNOSMAP_IDX };
#define BP_MEM_READ 1
#define BP_MEM_WRITE 2
#define PROT_R 1
#define PROT_W 2
#define PROT_X 4

/* The engine's TLB: per MMU index a table of a power of two of entries, and eight victims. */
struct tlb_entry {
    uint64_t addr_read;
    uint64_t addr_write;
    uint64_t addr_code;
    uint64_t paddr;
    uint64_t addend;   /* host address minus guest-virtual address */
    /* Room to the next power of two, which the engine copies with the rest and never looks at. */
    uint64_t ram_addr; /* the frame's, with TLB_LOCAL if CR3 flushes it */
    uint64_t padding[2];
};
struct iotlb_entry {
    uint64_t addr; /* of RAM: ram_addr minus guest-virtual address */
    uint32_t attrs;
};
#define TLB_MODES 3
#define TLB_ALL_MODES ((1u << TLB_MODES) - 1)
#define TLB_VICTIMS 8
struct tlb_desc {
    uint64_t large_page_addr;
    uint64_t large_page_mask;
    int64_t window_begin_ns;
    size_t window_max_entries;
    size_t n_used_entries;
    size_t vindex;
    struct tlb_entry vtable[TLB_VICTIMS];
    struct iotlb_entry viotlb[TLB_VICTIMS];
    struct iotlb_entry *iotlb;
};
struct tlb_table {
    uint64_t mask; /* (entries - 1) * sizeof(struct tlb_entry) */
    struct tlb_entry *table;
};
_Static_assert(sizeof(struct tlb_entry) == 64 && sizeof(struct tlb_desc) == 696, "unicorn's TLB");
#define ENV_TLB(env) ((uintptr_t)(env) - 2192)
#define ENV_TLB_DIRTY(env) FIELD(ENV_TLB(env), uint16_t, 0) /* a bit a mode: it has entries */
#define ENV_TLB_DESC(env, mode) (&FIELD(ENV_TLB(env), struct tlb_desc, 32 + 696 * (mode)))
#define ENV_TLB_TABLE(env, mode) (&FIELD(ENV_TLB(env), struct tlb_table, 2128 + 16 * (mode)))
#define TLB_INVALID_BIT (1u << 11)
#define TLB_NOTDIRTY_BIT (1u << 10)
#define TLB_WATCHPOINT_BIT (1u << 8)
#define TLB_FLAG_BITS 0xfffull
#define TLB_LOCAL 1ull
/* A memory operation's index: MMU mode, and what alignment the instruction asks for */
#define OI_MMU_INDEX(oi) ((oi) & 15u)
#define OI_SIZE_SHIFT 4 /* log2 of the bytes */
#define OI_SWAPPED 0x80u
#define OI_SIZE_MASK (3u << OI_SIZE_SHIFT)
#define OI_SIZE_4 (2u << OI_SIZE_SHIFT)
#define OI_ALIGNMENT(oi) ((oi) & OI_ALIGNED)
#define OI_ALIGNED 0x700u /* to its own size */
#define OI_ALIGNED_16 0x400u

/* The engine's own functions, found in the wheel's library (engine_symbols.c). */
#define TCG_BINARY_VECTOR (TCGContext *, unsigned, uintptr_t, uintptr_t, uintptr_t)
#define ENGINE_FUNCTIONS(X)                                                                             \
    X(void, gen_intermediate_code, "_x86_64", (CPUState *, TranslationBlock *, int))                    \
    X(void, translator_loop, "_x86_64",                                                                 \
      (const TranslatorOps *, DisasContextBase *, CPUState *, TranslationBlock *, int))                 \
    X(void, x86_cpu_do_interrupt, "_x86_64", (CPUState *))                                              \
    X(void, do_interrupt_x86_hardirq, "_x86_64", (CPUX86State *, int, int))                             \
    X(void, tlb_set_page_with_attrs, "_x86_64",                                                         \
      (CPUState *, uint64_t, uint64_t, MemTxAttrs, int, int, uint64_t))                                 \
    X(void, tb_invalidate_phys_page_fast, "_x86_64", (uc_engine *, void *, ram_addr_t, int, uintptr_t)) \
    X(void, tb_invalidate_phys_range, "_x86_64", (uc_engine *, ram_addr_t, ram_addr_t))                 \
    X(void, tlb_set_dirty, "_x86_64", (CPUState *, uint64_t))                                           \
    X(void, tlb_reset_dirty, "_x86_64", (CPUState *, uint64_t, uint64_t))                               \
    X(void, tlb_flush, "_x86_64", (CPUState *))                                                         \
    X(void, tlb_flush_page, "_x86_64", (CPUState *, uint64_t))                                          \
    X(void, tlb_flush_by_mmuidx, "_x86_64", (CPUState *, uint16_t))                                     \
    X(TranslationBlock *, tb_htable_lookup, "_x86_64", (CPUState *, uint64_t, uint64_t, uint32_t, uint32_t)) \
    X(void *, helper_lookup_tb_ptr, "_x86_64", (CPUX86State *))                                         \
    X(void, tb_flush, "_x86_64", (CPUState *))                                                          \
    X(void, tcg_func_start, "_x86_64", (TCGContext *))                                                  \
    X(void, helper_check_exit_request, "_x86_64", (void *, uint32_t))                                   \
    X(void, helper_reset_rf, "_x86_64", (CPUX86State *))                                                \
    X(void, helper_hlt, "_x86_64", (CPUX86State *, int))                                                \
    X(void, tcg_gen_callN, "_x86_64", (TCGContext *, void *, void *, int, void **))                     \
    X(void *, tcg_temp_new_internal, "_x86_64", (TCGContext *, int, bool))                              \
    X(void, tcg_temp_free_internal, "_x86_64", (TCGContext *, void *))                                  \
    X(void *, gen_new_label, "_x86_64", (TCGContext *))                                                 \
    X(void, tcg_gen_brcondi_i32, "_x86_64", (TCGContext *, int, uintptr_t, int32_t, void *))            \
    X(uintptr_t, tcg_const_i64, "_x86_64", (TCGContext *, int64_t))                                     \
    X(void, tcg_gen_op1, "_x86_64", (TCGContext *, int, uint64_t))                                      \
    X(void, tcg_gen_op2, "_x86_64", (TCGContext *, int, uint64_t, uint64_t))                            \
    X(void, tcg_gen_op3, "_x86_64", (TCGContext *, int, uint64_t, uint64_t, uint64_t))                  \
    X(void, tcg_gen_op6, "_x86_64",                                                                     \
      (TCGContext *, int, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t))                  \
    X(void *, tcg_emit_op, "_x86_64", (TCGContext *, int))                                              \
    X(uintptr_t, tcg_temp_new_vec, "_x86_64", (TCGContext *, int))                                      \
    X(void, tcg_gen_ld_vec, "_x86_64", (TCGContext *, uintptr_t, uintptr_t, uint64_t))                  \
    X(void, tcg_gen_st_vec, "_x86_64", (TCGContext *, uintptr_t, uintptr_t, uint64_t))                  \
    X(void, tcg_gen_cmp_vec, "_x86_64", (TCGContext *, int, unsigned, uintptr_t, uintptr_t, uintptr_t)) \
    X(void, tcg_gen_abs_vec, "_x86_64", (TCGContext *, unsigned, uintptr_t, uintptr_t))                 \
    X(void, tcg_gen_add_vec, "_x86_64", TCG_BINARY_VECTOR)                                              \
    X(void, tcg_gen_sub_vec, "_x86_64", TCG_BINARY_VECTOR)                                              \
    X(void, tcg_gen_mul_vec, "_x86_64", TCG_BINARY_VECTOR)                                              \
    X(void, tcg_gen_and_vec, "_x86_64", TCG_BINARY_VECTOR)                                              \
    X(void, tcg_gen_or_vec, "_x86_64", TCG_BINARY_VECTOR)                                               \
    X(void, tcg_gen_xor_vec, "_x86_64", TCG_BINARY_VECTOR)                                              \
    X(void, tcg_gen_andc_vec, "_x86_64", TCG_BINARY_VECTOR)                                             \
    X(void, tcg_gen_ssadd_vec, "_x86_64", TCG_BINARY_VECTOR)                                            \
    X(void, tcg_gen_usadd_vec, "_x86_64", TCG_BINARY_VECTOR)                                            \
    X(void, tcg_gen_sssub_vec, "_x86_64", TCG_BINARY_VECTOR)                                            \
    X(void, tcg_gen_ussub_vec, "_x86_64", TCG_BINARY_VECTOR)                                            \
    X(void, tcg_gen_smin_vec, "_x86_64", TCG_BINARY_VECTOR)                                             \
    X(void, tcg_gen_umin_vec, "_x86_64", TCG_BINARY_VECTOR)                                             \
    X(void, tcg_gen_smax_vec, "_x86_64", TCG_BINARY_VECTOR)                                             \
    X(void, tcg_gen_umax_vec, "_x86_64", TCG_BINARY_VECTOR)                                             \
    X(void, tcg_gen_lookup_and_goto_ptr, "_x86_64", (TCGContext *))                                     \
    X(void, tcg_gen_exit_tb, "_x86_64", (TCGContext *, TranslationBlock *, unsigned))                   \
    X(ram_addr_t, qemu_ram_addr_from_host, "_x86_64", (uc_engine *, void *))                            \
    X(void, cpu_reset, "", (CPUState *))                                                                \
    X(void, do_cpu_init, "_x86_64", (CPUState *))                                                       \
    X(void, cpu_x86_update_cr0, "_x86_64", (CPUX86State *, uint32_t))                                   \
    X(void, cpu_x86_update_cr4, "_x86_64", (CPUX86State *, uint32_t))                                   \
    X(uint32_t, cpu_cc_compute_all, "_x86_64", (CPUX86State *, int))                                    \
    X(void, cpu_x86_update_dr7, "_x86_64", (CPUX86State *, uint32_t))                                   \
    X(void, cpu_loop_exit, "_x86_64", (CPUState *))                                                     \
    X(void, cpu_loop_exit_restore, "_x86_64", (CPUState *, uintptr_t))                                  \
    X(bool, cpu_restore_state, "_x86_64", (CPUState *, uintptr_t, bool))                                \
    X(void, raise_exception_err_ra, "_x86_64", (CPUX86State *, int, int, uintptr_t))                    \
    X(void, raise_exception_err, "_x86_64", (CPUX86State *, int, int))                                  \
    X(void, raise_interrupt, "_x86_64", (CPUX86State *, int, int, int, int))                            \
    X(uint32_t, cpu_ldl_data_ra, "_x86_64", (CPUX86State *, uint64_t, uintptr_t))                       \
    X(uint32_t, cpu_lduw_data_ra, "_x86_64", (CPUX86State *, uint64_t, uintptr_t))                      \
    X(uint64_t, cpu_ldq_data_ra, "_x86_64", (CPUX86State *, uint64_t, uintptr_t))                       \
    X(void, cpu_stw_data_ra, "_x86_64", (CPUX86State *, uint64_t, uint32_t, uintptr_t))                 \
    X(void, cpu_stq_data_ra, "_x86_64", (CPUX86State *, uint64_t, uint64_t, uintptr_t))                 \
    X(uint32_t, cpu_lduw_mmuidx_ra, "_x86_64", (CPUX86State *, uint64_t, int, uintptr_t))               \
    X(uint32_t, cpu_ldl_mmuidx_ra, "_x86_64", (CPUX86State *, uint64_t, int, uintptr_t))                \
    X(uint64_t, cpu_ldq_mmuidx_ra, "_x86_64", (CPUX86State *, uint64_t, int, uintptr_t))                \
    X(void, cpu_stw_mmuidx_ra, "_x86_64", (CPUX86State *, uint64_t, uint32_t, int, uintptr_t))          \
    X(void, cpu_stl_mmuidx_ra, "_x86_64", (CPUX86State *, uint64_t, uint32_t, int, uintptr_t))          \
    X(void, cpu_stq_mmuidx_ra, "_x86_64", (CPUX86State *, uint64_t, uint64_t, int, uintptr_t))          \
    X(void, tcg_tb_insert, "_x86_64", (TCGContext *, TranslationBlock *))                               \
    X(TranslationBlock *, tcg_tb_lookup, "_x86_64", (TCGContext *, uintptr_t))                          \
    X(uint64_t, helper_ret_ldub_mmu, "_x86_64", (CPUX86State *, uint64_t, uint32_t, uintptr_t))         \
    X(uint64_t, helper_le_lduw_mmu, "_x86_64", (CPUX86State *, uint64_t, uint32_t, uintptr_t))          \
    X(uint64_t, helper_le_ldul_mmu, "_x86_64", (CPUX86State *, uint64_t, uint32_t, uintptr_t))          \
    X(uint64_t, helper_le_ldq_mmu, "_x86_64", (CPUX86State *, uint64_t, uint32_t, uintptr_t))           \
    X(void, helper_ret_stb_mmu, "_x86_64", (CPUX86State *, uint64_t, uint8_t, uint32_t, uintptr_t))     \
    X(void, helper_le_stw_mmu, "_x86_64", (CPUX86State *, uint64_t, uint16_t, uint32_t, uintptr_t))     \
    X(void, helper_le_stl_mmu, "_x86_64", (CPUX86State *, uint64_t, uint32_t, uint32_t, uintptr_t))     \
    X(void, helper_le_stq_mmu, "_x86_64", (CPUX86State *, uint64_t, uint64_t, uint32_t, uintptr_t))     \
    X(uint32_t, cpu_ldub_mmuidx_ra, "_x86_64", (CPUX86State *, uint64_t, int, uintptr_t))               \
    X(uint32_t, cpu_ldub_code, "_x86_64", (CPUX86State *, uint64_t))                                    \
    X(uint32_t, cpu_lduw_code, "_x86_64", (CPUX86State *, uint64_t))                                    \
    X(uint32_t, cpu_ldl_code, "_x86_64", (CPUX86State *, uint64_t))                                     \
    X(uint64_t, cpu_ldq_code, "_x86_64", (CPUX86State *, uint64_t))                                     \
    X(void, cpu_stb_mmuidx_ra, "_x86_64", (CPUX86State *, uint64_t, uint32_t, int, uintptr_t))          \
    X(void, cpu_loop_exit_noexc, "_x86_64", (CPUState *))                                               \
    X(void, helper_cr4_testbit, "_x86_64", (CPUX86State *, uint32_t))                                   \
    X(void, helper_rdmsr, "_x86_64", (CPUX86State *))                                                   \
    X(void, helper_wrmsr, "_x86_64", (CPUX86State *))                                                   \
    X(uint32_t, helper_atomic_cmpxchgb_mmu, "_x86_64",                                                  \
      (CPUX86State *, uint64_t, uint32_t, uint32_t, uint32_t, uintptr_t))                               \
    X(uint32_t, helper_atomic_cmpxchgw_le_mmu, "_x86_64",                                               \
      (CPUX86State *, uint64_t, uint32_t, uint32_t, uint32_t, uintptr_t))                               \
    X(uint32_t, helper_atomic_cmpxchgl_le_mmu, "_x86_64",                                               \
      (CPUX86State *, uint64_t, uint32_t, uint32_t, uint32_t, uintptr_t))                               \
    X(uint64_t, helper_atomic_cmpxchgq_le_mmu, "_x86_64",                                               \
      (CPUX86State *, uint64_t, uint64_t, uint64_t, uint32_t, uintptr_t))                               \
    X(uint64_t, helper_read_crN, "_x86_64", (CPUX86State *, int))                                       \
    X(void, helper_write_crN, "_x86_64", (CPUX86State *, int, uint64_t))                                \
    X(int, uc_open, "", (int, int, uc_engine **))                                                       \
    X(int, uc_close, "", (uc_engine *))                                                                 \
    X(int, uc_mem_map_ptr, "", (uc_engine *, uint64_t, uint64_t, uint32_t, void *))                     \
    X(int, uc_mem_unmap, "", (uc_engine *, uint64_t, uint64_t))                                         \
    X(int, uc_mem_protect, "", (uc_engine *, uint64_t, uint64_t, uint32_t))                             \
    X(int, uc_mmio_map, "", (uc_engine *, uint64_t, uint64_t, void *, void *, void *, void *))          \
    X(int, uc_hook_add, "", (uc_engine *, size_t *, int, void *, void *, uint64_t, uint64_t, ...))      \
    X(int, uc_emu_start, "", (uc_engine *, uint64_t, uint64_t, uint64_t, size_t))                       \
    X(int, uc_reg_read, "", (uc_engine *, int, void *))                                                 \
    X(int, uc_ctl, "", (uc_engine *, int, ...))                                                         \
    X(unsigned, uc_version, "", (unsigned *, unsigned *))                                               \
    X(const char *, uc_strerror, "", (int))

#define DECLARE(result, name, suffix, arguments) result(*name) arguments;
struct engine_functions {
    ENGINE_FUNCTIONS(DECLARE)
};
#undef DECLARE

/* The originals. */
extern struct engine_functions uc;

/* unicorn's public API, as far as we use it */
enum { UC_ARCH_X86 = 4, UC_MODE_64 = 8, UC_HOOK_INTR = 1, UC_PROT_ALL = 7 };
#define UC_CTL_WRITE(type, count) ((type) | ((count) << 26) | (1 << 30))
enum { UC_CTL_UC_USE_EXITS = 4, UC_CTL_TCG_BUFFER_SIZE = 13 };
enum { UC_X86_REG_EFLAGS = 25, UC_X86_REG_RAX = 35, UC_X86_REG_RIP = 41, UC_X86_REG_CR0 = 50 };

#endif
