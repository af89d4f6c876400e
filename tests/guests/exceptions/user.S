/* Ring 3's code: position-independent pieces, copied to a page that ring 3 may run. Those that do not
 * come back by themselves end in INT 0x81. */
#include "layout.h"

	.macro piece name
	.balign 16
	.globl user_\name
user_\name:
	.endm

	.section .rodata.user, "a"
	.balign 16
	.globl user_code, user_code_end
user_code:
	.code64
	piece int80
	int $0x80
	.globl user_int80_after
user_int80_after:
	int $0x81

	piece ud2
	ud2
	int $0x81

	piece divide_twice
	xorl %ecx, %ecx
	divl %ecx
	divl %ecx
	int $0x81

	piece cli
	cli
	int $0x81

	piece hlt
	hlt
	int $0x81

	piece in
	inb $0x80, %al
	int $0x81

	piece int20
	int $0x20
	int $0x81

	piece int3
	int3
	int $0x81

	piece lidt
	lidt (%rsp)
	int $0x81

	piece mov_cr
	movq %cr3, %rax
	int $0x81

	piece rdmsr
	rdmsr
	int $0x81

	piece swapgs
	swapgs
	int $0x81

	/* RSP holds the address in question. */
	piece read
	movl (%rsp), %eax
	int $0x81

	piece write
	movl %eax, (%rsp)
	int $0x81

	piece fetch
	jmp *%rsp
	int $0x81

	piece syscall
	syscall
	.globl user_syscall_after
user_syscall_after:
	int $0x81

	/* Far transfers to code of ring 3, and back to it. */
	piece far_return
	pushq $(USER_CODE | 3)
	leaq 1f(%rip), %rax
	pushq %rax
	lretq
	ud2
1:	int $0x81

	piece far_call
	subq $16, %rsp
	leaq 1f(%rip), %rax
	movq %rax, (%rsp)
	movq $(USER_CODE | 3), 8(%rsp)
	rex.w lcall *(%rsp)
	int $0x81
1:	lretq

	piece iret
	movq %rsp, %rcx
	pushq $(USER_DATA | 3)
	pushq %rcx
	pushfq
	pushq $(USER_CODE | 3)
	leaq 1f(%rip), %rax
	pushq %rax
	iretq
	ud2
1:	int $0x81

	piece far_return_only
	lretq
	int $0x81

	piece step
	nop
	nop
	int $0x81

	/* 32-bit code: the bytes mean another thing in 64-bit mode (INC EAX is a REX prefix there). */
	.code32
	piece compatibility
	xorl %eax, %eax
	incl %eax
	incl %eax
	pushl %eax
	popl %ecx
	int $0x80
	.globl user_compatibility_after
user_compatibility_after:
	int $0x81
user_code_end:

	.section .text.syscall_entry, "ax"
	.code64
	/* The way out of ring 3 by SYSCALL: RCX and R11 go to the test, RSP is still ring 3's. */
	.globl syscall_entry
syscall_entry:
	movq %rcx, syscall_rcx
	movq %r11, syscall_r11
	movq %rsp, syscall_rsp
	movl %cs, %eax
	movl %eax, syscall_cs
	movl %ss, %eax
	movl %eax, syscall_ss
	movl $1, %edi
	jmp ring3_leave

	.section .note.GNU-stack, "", @progbits
