#include "layout.h"

	.section .text.ring3, "ax"
	.code64
	.globl ring3_enter, ring3_leave, ring3_saved_stack
ring3_enter:
	pushq %rbx
	pushq %rbp
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	movq %rsp, ring3_saved_stack(%rip)
	pushq $(USER_DATA | 3)
	pushq %rsi
	pushq %rdx
	pushq %rcx
	pushq %rdi
	iretq

ring3_leave:
	cli
	movq %rdi, %rax
	movq ring3_saved_stack(%rip), %rsp
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbp
	popq %rbx
	ret

	.bss
	.balign 8
ring3_saved_stack:
	.skip 8

	.section .note.GNU-stack, "", @progbits
