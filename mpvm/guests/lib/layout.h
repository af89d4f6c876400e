/* Constants that assembly and C share. */
#ifndef GUEST_LAYOUT_H
#define GUEST_LAYOUT_H

#define MAX_CPUS 64
#define STACK_BYTES 16384

/* Selectors. The order is what SYSRET (SDM vol. 2, STAR[63:48] + 8, + 16) and SYSEXIT
 * (IA32_SYSENTER_CS + 16 to + 40) take for granted. */
#define KERNEL_CODE 0x08
#define KERNEL_DATA 0x10
#define USER_CODE32 0x18
#define USER_DATA 0x20
#define USER_CODE 0x28
#define USER_DATA_SYSEXIT 0x30
#define TASK_STATE 0x38
#define KERNEL_CODE32 0x48
#define GDT_BYTES 0x50

/* The start-up IPI names a 4 KiB page below 1 MiB; this one is free under SeaBIOS and under mpvm. */
#define TRAMPOLINE 0x8000

/* Offsets in struct cpu that start.S uses; smp.c asserts them. */
#define CPU_STACK_TOP 8

#define ISA_DEBUG_EXIT 0xf4
/* isa-debug-exit turns a code into the status (code << 1) | 1. */
#define EXIT_SUMS_DIFFER 0x01
#define EXIT_NO_POWER_OFF 0x02
#define EXIT_PASS 0x10
#define EXIT_FAIL 0x11
#define EXIT_NO_LONG_MODE 0x3d
#define EXIT_PANIC 0x3e
#define EXIT_EXCEPTION 0x3f

#endif
