/* An entry for each of the 256 vectors; all end in interrupt_dispatch(struct interrupt_frame *). */
	.text
	.code64

	.macro vector_entry number
	/* #DF, #TS, #NP, #SS, #GP, #PF, #AC, #CP, #VC and #SX push an error code (SDM vol. 3, table 6-1). */
	.if (\number == 8) || (\number >= 10 && \number <= 14) || (\number == 17) || (\number == 21) || (\number == 29) || (\number == 30)
	.else
	pushq $0
	.endif
	pushq $\number
	jmp interrupt_common
	.balign 16
	.endm

	.balign 16
	.globl vector_entries
vector_entries:
	.set vector, 0
	.rept 256
	vector_entry vector
	.set vector, vector + 1
	.endr

	.globl interrupt_return
interrupt_common:
	pushq %rax
	pushq %rbx
	pushq %rcx
	pushq %rdx
	pushq %rsi
	pushq %rdi
	pushq %rbp
	pushq %r8
	pushq %r9
	pushq %r10
	pushq %r11
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	cld
	movq %rsp, %rdi
	call interrupt_dispatch
interrupt_return:
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %r11
	popq %r10
	popq %r9
	popq %r8
	popq %rbp
	popq %rdi
	popq %rsi
	popq %rdx
	popq %rcx
	popq %rbx
	popq %rax
	addq $16, %rsp			/* vector and error code */
	iretq

	.section .note.GNU-stack, "", @progbits
