#include "legacy.inc"

#define MSR_SYSENTER_CS 0x174
#define MSR_SYSENTER_ESP 0x175
#define MSR_SYSENTER_EIP 0x176
#define MSR_EFER 0xc0000080
#define MSR_STAR 0xc0000081
#define RING0_STACK 0x70000

	.data
	.globl call_words
call_words: .fill 8, 4, 0

	.text
	.code32
/* Protected mode: ring 3 calls by SYSENTER and gets back by SYSEXIT. Four segments of the GDT stand as they want. */
	.globl legacy_sysenter, legacy_sysenter_after
legacy_sysenter:
	movl $MSR_SYSENTER_CS, %ecx
	movl $LEGACY_CODE, %eax
	xorl %edx, %edx
	wrmsr
	movl $MSR_SYSENTER_ESP, %ecx
	movl $RING0_STACK, %eax
	wrmsr
	movl $MSR_SYSENTER_EIP, %ecx
	movl $1f, %eax
	wrmsr
	pushl $LEGACY_USER_DATA
	pushl $legacy_user_stack_top
	pushl $0x202
	pushl $LEGACY_USER_CODE
	pushl $2f
	iret
1:	movw %cs, call_words
	movw %ss, call_words + 4
	movl %esp, call_words + 8
	pushl $0
	pushfl
	popl call_words + 12
	movl $legacy_sysenter_after, %edx
	movl $legacy_user_stack_top - 16, %ecx
	sysexit
2:	sysenter
legacy_sysenter_after:
	int $0x60

	.globl legacy_sysenter_null, legacy_sysenter_null_at, legacy_sysexit_null, legacy_sysexit_null_at
legacy_sysenter_null:
	movl $MSR_SYSENTER_CS, %ecx
	xorl %eax, %eax
	xorl %edx, %edx
	wrmsr
legacy_sysenter_null_at:
	sysenter
legacy_sysexit_null:
	movl $MSR_SYSENTER_CS, %ecx
	xorl %eax, %eax
	xorl %edx, %edx
	wrmsr
legacy_sysexit_null_at:
	sysexit

/* SYSCALL in protected mode, which AMD's CPUs alone have. */
	.globl legacy_syscall, legacy_syscall_at, legacy_syscall_after
legacy_syscall:
	movl $MSR_STAR, %ecx
	movl $1f, %eax
	movl $((LEGACY_CODE + 16) << 16 | LEGACY_CODE), %edx
	wrmsr
	movl $MSR_EFER, %ecx
	rdmsr
	orl $1, %eax
	wrmsr
	sti
legacy_syscall_at:
	syscall
legacy_syscall_after:
	ud2
1:	movw %cs, call_words
	movl %ecx, call_words + 4
	pushfl
	popl call_words + 8
	movl $2f, %ecx
	sysret
2:	int $0x60
