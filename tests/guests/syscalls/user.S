#include "calls.h"
#include "layout.h"

#define RFLAGS_DF 0x400

	.macro piece name
	.balign 16
	.globl user_\name
user_\name:
	.endm

	.macro leave_with value
	movl $\value, %edi
	movl $CALL_LEAVE, %eax
	syscall
	.endm

	.section .rodata.user, "a"
	.balign 16
	.globl user_code, user_code_end
user_code:
	.code64
	/* The rounds to make are on the stack. DF is set all the while: the kernel must not see it. */
	piece syscall_loop
	popq %r12
	xorl %r13d, %r13d
	std
1:	movq %r13, %rdi
	movl $CALL_ECHO, %eax
	syscall
	.globl user_syscall_after
user_syscall_after:
	leaq 1(%r13, %r13, 2), %rbx
	cmpq %rbx, %rax
	jne bad_result
	cmpl $USER_GS_MAGIC, %gs:0
	jne bad_gs
	movl %cs, %eax
	cmpl $(USER_CODE | 3), %eax
	jne bad_cs
	movl %ss, %eax
	cmpl $(USER_DATA | 3), %eax
	jne bad_ss
	pushfq
	popq %rax
	testl $RFLAGS_DF, %eax
	jz bad_flags
	incq %r13
	cmpq %r12, %r13
	jb 1b
	movq %r13, %rdi
	movl $CALL_LEAVE, %eax
	syscall

bad_result:
	leave_with LEAVE_BAD_RESULT
bad_gs:
	leave_with LEAVE_BAD_GS
bad_cs:
	leave_with LEAVE_BAD_CS
bad_ss:
	leave_with LEAVE_BAD_SS
bad_flags:
	leave_with LEAVE_BAD_FLAGS

	/* The kernel returns to RDX with RSP from RCX, as SYSEXIT has it. */
	piece sysenter_loop
	popq %r12
	xorl %r13d, %r13d
2:	movq %r13, %rdi
	movl $CALL_ECHO, %eax
	movq %rsp, %rcx
	leaq 3f(%rip), %rdx
	sysenter
3:	leaq 1(%r13, %r13, 2), %rbx
	cmpq %rbx, %rax
	jne bad_result
	cmpl $USER_GS_MAGIC, %gs:0
	jne bad_gs
	movl %cs, %eax
	cmpl $(USER_CODE | 3), %eax
	jne bad_cs
	movl %ss, %eax
	cmpl $(USER_DATA_SYSEXIT | 3), %eax
	jne bad_ss
	incq %r13
	cmpq %r12, %r13
	jb 2b
	movq %r13, %rdi
	movl $CALL_LEAVE, %eax
	syscall

	piece sysenter
	sysenter
	ud2

	piece sysexit
	sysexitq
	ud2

	piece sysret
	sysretq
	ud2

	/* Where SYSRETL and SYSEXITL go. RAX, which counts, and the REX prefixes tell 32-bit code. */
	.code32
	piece compatibility
	xorl %eax, %eax
	incl %eax
	incl %eax
	int $0x80

	piece compatibility_sysenter
	movl $CALL_ECHO, %eax
	movl $5, %edi
	movl %esp, %ecx
	call 4f
4:	popl %edx
	addl $(5f - 4b), %edx
	sysenter
5:	int $0x80
user_code_end:

	.section .text.entries, "ax"
	.code64
	/* Pushes what a caller may expect to keep and runs handle_call(number, argument, return RIP, RFLAGS). */
	.macro call_handler
	pushq %rcx
	pushq %rdx
	pushq %r11
	movq %rdi, %rsi
	movl %eax, %edi
	movl %cs, %eax
	movl %eax, entry_cs
	movl %ss, %eax
	movl %eax, entry_ss
	movq %rcx, %rdx
	movq %r11, %rcx
	pushfq
	popq %r8
	pushq %r8			/* keeps the stack aligned */
	call handle_call
	popq %r8
	popq %r11
	popq %rdx
	popq %rcx
	.endm

	.globl syscall_entry, sysenter_entry, sysenter_entry_compatible
syscall_entry:
	swapgs
	movq %rsp, user_rsp
	movq entry_stack_top, %rsp
	call_handler
	movq user_rsp, %rsp
	swapgs
	sysretq

sysenter_entry:
	swapgs
	call_handler
	swapgs
	sti				/* takes effect after SYSEXIT */
	sysexitq

sysenter_entry_compatible:
	swapgs
	call_handler
	swapgs
	sti
	sysexitl

	/* RDI: 32-bit RIP, RSI: RSP; returns by ring3_leave(). As ring3_enter(), by SYSRETL. */
	.globl ring3_enter_by_sysretl
ring3_enter_by_sysretl:
	pushq %rbx
	pushq %rbp
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	movq %rsp, ring3_saved_stack(%rip)
	movq %rdi, %rcx
	movq %rsi, %rsp
	movl $0x202, %r11d
	sysretl

	.section .note.GNU-stack, "", @progbits
