/* SDM vol. 3, sections 8.2.2 and 8.2.3; the names are those of Owens, Sarkar and Sewell, "A better x86 memory
 * model: x86-TSO", and of the herd tools. X and Y begin as 0. */
#include "shapes.h"

#include <stddef.h>

#include "layout.h"

/* RSI: X, RDI: Y; what is loaded goes to RAX (r0) and RDX (r1). */
#define THREAD(name, instructions)                                                                       \
	static void name(uint64_t *x, uint64_t *y, uint64_t r[REGISTERS])                                \
	{                                                                                                \
		uint64_t r0 = 0, r1 = 0;                                                                 \
                                                                                                         \
		__asm__ volatile(instructions                                                            \
				 : "+a"(r0), "+d"(r1)                                                    \
				 : "S"(x), "D"(y)                                                        \
				 : "rbx", "rcx", "r8", "cc", "memory");                                  \
		r[0] = r0;                                                                               \
		r[1] = r1;                                                                               \
	}

#define X "(%%rsi)"
#define Y "(%%rdi)"
#define X_HIGH "4(%%rsi)"
#define STORE(value, where) "movq $" #value ", " where ";"
#define XCHG(value, where) "movl $" #value ", %%ecx; xchgq %%rcx, " where ";"
#define R0(where) "movq " where ", %%rax;"
#define R1(where) "movq " where ", %%rdx;"
#define MFENCE "mfence;"
/* Another line than X and Y. */
#define LOCK_OR_STACK "lock orl $0, (%%rsp);"
/* It loads RAX and RDX, so it has to come before R0. */
#define CPUID "xorl %%eax, %%eax; cpuid;"
#define IRET                                                                                             \
	"movq %%rsp, %%r8; movl %%ss, %%ecx; pushq %%rcx; pushq %%r8; pushfq; movl %%cs, %%ecx; pushq %%rcx;" \
	"leaq 1f(%%rip), %%rcx; pushq %%rcx; iretq; 1:"
#define INVLPG "invlpg (%%rsp);"
#define MOV_CR8 "movq %%cr8, %%rcx; movq %%rcx, %%cr8;"
#define MOV_CR3 "movq %%cr3, %%rcx; movq %%rcx, %%cr3;"

THREAD(store_x, STORE(1, X))
THREAD(store_y, STORE(1, Y))
THREAD(store_x2, STORE(2, X))
THREAD(xchg_x, XCHG(1, X))
THREAD(xchg_y, XCHG(1, Y))
THREAD(lock_or_x, "lock orq $1, " X ";")
THREAD(lock_or_y, "lock orq $1, " Y ";")

THREAD(sb_x, STORE(1, X) R0(Y))
THREAD(sb_y, STORE(1, Y) R0(X))
THREAD(sb_mfence_x, STORE(1, X) MFENCE R0(Y))
THREAD(sb_mfence_y, STORE(1, Y) MFENCE R0(X))
THREAD(sb_xchg_x, XCHG(1, X) R0(Y))
THREAD(sb_xchg_y, XCHG(1, Y) R0(X))
THREAD(sb_xadd_x, "movl $1, %%ecx; lock xaddq %%rcx, " X ";" R0(Y))
THREAD(sb_xadd_y, "movl $1, %%ecx; lock xaddq %%rcx, " Y ";" R0(X))
THREAD(sb_lock_x, STORE(1, X) LOCK_OR_STACK R0(Y))
THREAD(sb_lock_y, STORE(1, Y) LOCK_OR_STACK R0(X))
/* CMPXCHG that fails is a locked operation like any other. */
THREAD(sb_cmpxchg_x, STORE(1, X) "movl $7, %%eax; xorl %%ecx, %%ecx; lock cmpxchgq %%rcx, -8(%%rsp);" R0(Y))
THREAD(sb_cmpxchg_y, STORE(1, Y) "movl $7, %%eax; xorl %%ecx, %%ecx; lock cmpxchgq %%rcx, -8(%%rsp);" R0(X))
THREAD(sb_cpuid_x, STORE(1, X) CPUID R0(Y))
THREAD(sb_cpuid_y, STORE(1, Y) CPUID R0(X))
THREAD(sb_iret_x, STORE(1, X) IRET R0(Y))
THREAD(sb_iret_y, STORE(1, Y) IRET R0(X))
THREAD(sb_invlpg_x, STORE(1, X) INVLPG R0(Y))
THREAD(sb_invlpg_y, STORE(1, Y) INVLPG R0(X))
THREAD(sb_cr3_x, STORE(1, X) MOV_CR3 R0(Y))
THREAD(sb_cr3_y, STORE(1, Y) MOV_CR3 R0(X))

THREAD(forward_x, STORE(1, X) R0(X) R1(Y))
THREAD(forward_y, STORE(1, Y) R0(Y) R1(X))

THREAD(mp_store, STORE(1, X) STORE(1, Y))
THREAD(mp_load, R0(Y) R1(X))
THREAD(mp_xchg, STORE(1, X) XCHG(1, Y))
THREAD(mp_byte_store, "movb $1, " X "; movl $1, " Y ";")
THREAD(mp_byte_load, "movzbl " Y ", %%eax; movzwl " X ", %%edx;")
THREAD(mp_push, "movq %%rsp, %%r8; leaq 8(%%rsi), %%rsp; pushq $1; leaq 8(%%rdi), %%rsp; pushq $1; movq %%r8, %%rsp;")

THREAD(lb_x, R0(X) STORE(1, Y))
THREAD(lb_y, R0(Y) STORE(1, X))

THREAD(read_xy, R0(X) R1(Y))
THREAD(read_yx, R0(Y) R1(X))
THREAD(read_xx, R0(X) R1(X))
THREAD(read_halves, "movl " X ", %%eax; movl " X_HIGH ", %%edx;")
THREAD(store_halves, "movabsq $0x100000001, %%rcx; movq %%rcx, " X ";")

THREAD(ww_x, STORE(1, X) STORE(2, Y))
THREAD(ww_y, STORE(1, Y) STORE(2, X))
THREAD(s_store, STORE(2, X) STORE(1, Y))
THREAD(s_load, R0(Y) STORE(1, X))
THREAD(r_load, STORE(2, Y) R0(X))
THREAD(r_load_mfence, STORE(2, Y) MFENCE R0(X))
THREAD(own_x1, STORE(1, X) R0(X))
THREAD(own_x2, STORE(2, X) R0(X))

const struct shape shapes[] = {
	{ "SB", "X=1 r0=Y | Y=1 r0=X", { sb_x, sb_y }, { T0_R0, T1_R0 }, { NULL }, false },
	{ "SB, one fence", "X=1 MFENCE r0=Y | Y=1 r0=X", { sb_mfence_x, sb_y }, { T0_R0, T1_R0 }, { NULL }, false },
	{ "SB+mfence", "X=1 MFENCE r0=Y | Y=1 MFENCE r0=X", { sb_mfence_x, sb_mfence_y }, { T0_R0, T1_R0 }, { "00" }, false },
	{ "SB+xchg", "XCHG(X,1) r0=Y | XCHG(Y,1) r0=X", { sb_xchg_x, sb_xchg_y }, { T0_R0, T1_R0 }, { "00" }, false },
	{ "SB+xadd", "XADD(X,1) r0=Y | XADD(Y,1) r0=X", { sb_xadd_x, sb_xadd_y }, { T0_R0, T1_R0 }, { "00" }, false },
	{ "SB+lock", "X=1 LOCK OR r0=Y | Y=1 LOCK OR r0=X", { sb_lock_x, sb_lock_y }, { T0_R0, T1_R0 }, { "00" }, false },
	{ "SB+cmpxchg", "X=1 CMPXCHG r0=Y | Y=1 CMPXCHG r0=X", { sb_cmpxchg_x, sb_cmpxchg_y }, { T0_R0, T1_R0 }, { "00" }, false },
	/* Serializing instructions drain buffered stores (section 8.3). QEMU 7.2 has no barrier there. */
	{ "SB+cpuid", "X=1 CPUID r0=Y | Y=1 CPUID r0=X", { sb_cpuid_x, sb_cpuid_y }, { T0_R0, T1_R0 }, { "00" }, true },
	{ "SB+iret", "X=1 IRET r0=Y | Y=1 IRET r0=X", { sb_iret_x, sb_iret_y }, { T0_R0, T1_R0 }, { "00" }, true },
	{ "SB+invlpg", "X=1 INVLPG r0=Y | Y=1 INVLPG r0=X", { sb_invlpg_x, sb_invlpg_y }, { T0_R0, T1_R0 }, { "00" }, true },
	{ "SB+cr3", "X=1 CR3= r0=Y | Y=1 CR3= r0=X", { sb_cr3_x, sb_cr3_y }, { T0_R0, T1_R0 }, { "00" }, true },
	{ "SB+rfi", "X=1 r0=X r1=Y | Y=1 r0=Y r1=X", { forward_x, forward_y }, { T0_R0, T0_R1, T1_R0, T1_R1 }, { "0***", "**0*" }, false },
	{ "MP", "X=1 Y=1 | r0=Y r1=X", { mp_store, mp_load }, { T1_R0, T1_R1 }, { "10" }, false },
	{ "MP+xchg", "X=1 XCHG(Y,1) | r0=Y r1=X", { mp_xchg, mp_load }, { T1_R0, T1_R1 }, { "10" }, false },
	{ "MP, mixed widths", "X8=1 Y32=1 | r0=Y8 r1=X16", { mp_byte_store, mp_byte_load }, { T1_R0, T1_R1 }, { "10" }, false },
	{ "MP+push", "PUSH(X,1) PUSH(Y,1) | r0=Y r1=X", { mp_push, mp_load }, { T1_R0, T1_R1 }, { "10" }, false },
	{ "LB", "r0=X Y=1 | r0=Y X=1", { lb_x, lb_y }, { T0_R0, T1_R0 }, { "11" }, false },
	{ "WRC", "X=1 | r0=X Y=1 | r0=Y r1=X", { store_x, lb_x, mp_load }, { T1_R0, T2_R0, T2_R1 }, { "110" }, false },
	{ "IRIW", "X=1 | Y=1 | r0=X r1=Y | r0=Y r1=X", { store_x, store_y, read_xy, read_yx }, { T2_R0, T2_R1, T3_R0, T3_R1 }, { "1010" }, false },
	{ "IRIW+xchg", "XCHG(X,1) | XCHG(Y,1) | r0=X r1=Y | r0=Y r1=X", { xchg_x, xchg_y, read_xy, read_yx }, { T2_R0, T2_R1, T3_R0, T3_R1 }, { "1010" }, false },
	{ "IRIW+lock", "LOCK OR X | LOCK OR Y | r0=X r1=Y | r0=Y r1=X", { lock_or_x, lock_or_y, read_xy, read_yx }, { T2_R0, T2_R1, T3_R0, T3_R1 }, { "1010" }, false },
	{ "2+2W", "X=1 Y=2 | Y=1 X=2", { ww_x, ww_y }, { FINAL_X, FINAL_Y }, { "11" }, false },
	{ "S", "X=2 Y=1 | r0=Y X=1", { s_store, s_load }, { T1_R0, FINAL_X }, { "12" }, false },
	{ "R", "X=1 Y=1 | Y=2 r0=X", { mp_store, r_load }, { T1_R0, FINAL_Y }, { NULL }, false },
	{ "R+mfence", "X=1 Y=1 | Y=2 MFENCE r0=X", { mp_store, r_load_mfence }, { T1_R0, FINAL_Y }, { "02" }, false },
	{ "CoRR", "X=1 | r0=X r1=X", { store_x, read_xx }, { T1_R0, T1_R1 }, { "10" }, false },
	{ "CoRR, two writers", "X=1 | X=2 | r0=X r1=X | r0=X r1=X", { store_x, store_x2, read_xx, read_xx }, { T2_R0, T2_R1, T3_R0, T3_R1 }, { "1221", "2112" }, false },
	{ "CoRR, halves", "X64=1,1 | r0=Xlow r1=Xhigh", { store_halves, read_halves }, { T1_R0, T1_R1 }, { "10" }, false },
	{ "n5", "X=1 r0=X | X=2 r0=X", { own_x1, own_x2 }, { T0_R0, T1_R0 }, { "21" }, false },
};

const int shape_count = sizeof shapes / sizeof shapes[0];
