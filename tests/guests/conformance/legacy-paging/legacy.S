/* Out of long mode, an access with other paging, and back. All of this lies below 4 GiB at its physical address, in the
 * page tables of both sides. */
#include "layout.h"
#include "legacy.h"

#define CR0_PG 0x80000000
#define CR0_TO_CLEAR ~CR0_PG
#define MSR_EFER 0xc0000080
#define EFER_LME 0x100
#define VECTOR_GP 13
#define VECTOR_PF 14

	.text
	.code64
	.globl legacy_run
legacy_run:
	pushq %rbx
	pushq %rbp
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	movq %rdi, %rbx
	sidt saved_idt(%rip)
	movl $MSR_EFER, %ecx
	rdmsr
	movl %eax, saved_efer(%rip)
	movq %cr0, %rax
	movl %eax, saved_cr0(%rip)
	movq %cr3, %rax
	movl %eax, saved_cr3(%rip)
	movq %cr4, %rax
	movl %eax, saved_cr4(%rip)
	leaq in32(%rip), %rax
	pushq $KERNEL_CODE32
	pushq %rax
	lretq

	.code32
in32:	movl %esp, saved_esp
	movl %cr0, %eax
	andl $CR0_TO_CLEAR, %eax
	movl %eax, %cr0
	movl $MSR_EFER, %ecx
	xorl %edx, %edx
	movl LEGACY_EFER(%ebx), %eax
	wrmsr
	lidtl idt32_pointer
	movl LEGACY_CR4(%ebx), %eax
	movl %eax, %cr4
	movl LEGACY_CR3(%ebx), %eax
	movl %eax, %cr3
	movl LEGACY_CR0(%ebx), %eax
	movl %eax, %cr0
	jmp 1f
1:	movl LEGACY_ADDRESS(%ebx), %esi
	movl LEGACY_POKE(%ebx), %edi
	testl %edi, %edi
	jz 2f
	movl (%esi), %eax
	movl LEGACY_POKED(%ebx), %eax
	movl %eax, (%edi)
	addl $0x1000, %esi
2:	movl LEGACY_RELOAD(%ebx), %eax
	testl %eax, %eax
	jz 3f
	movl %eax, %cr3
3:	movl LEGACY_KIND(%ebx), %eax
	cmpl $KIND_WRITE, %eax
	je 4f
	cmpl $KIND_FETCH, %eax
	je 5f
	ja 6f
	movl (%esi), %eax
	movl %eax, LEGACY_VALUE(%ebx)
	jmp 6f
4:	movb $OPCODE_RET, (%esi)
	jmp 6f
5:	call *%esi
6:	movl $NO_VECTOR, LEGACY_VECTOR(%ebx)

out32:	movl saved_esp, %esp
	movl %cr0, %eax
	andl $CR0_TO_CLEAR, %eax
	movl %eax, %cr0
	movl saved_cr4, %eax
	movl %eax, %cr4
	movl saved_cr3, %eax
	movl %eax, %cr3
	movl $MSR_EFER, %ecx
	xorl %edx, %edx
	movl saved_efer, %eax
	wrmsr
	movl saved_cr0, %eax
	movl %eax, %cr0
	ljmp $KERNEL_CODE, $out64

	.macro handler vector
	movl $\vector, LEGACY_VECTOR(%ebx)
	popl LEGACY_ERROR_CODE(%ebx)
	popl LEGACY_EIP(%ebx)
	movl %cr2, %eax
	movl %eax, LEGACY_CR2(%ebx)
	jmp out32
	.endm

	.globl legacy_gp, legacy_pf
legacy_gp:
	handler VECTOR_GP
legacy_pf:
	handler VECTOR_PF

	.code64
out64:	lidt saved_idt(%rip)
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbp
	popq %rbx
	ret

	.data
	.balign 8
	.globl legacy_idt
legacy_idt:
	.skip 8 * 16
idt32_pointer:
	.word 8 * 16 - 1
	.long legacy_idt

	.bss
	.balign 8
saved_idt:
	.skip 16
saved_efer:
	.skip 4
saved_cr0:
	.skip 4
saved_cr3:
	.skip 4
saved_cr4:
	.skip 4
saved_esp:
	.skip 4

	.section .note.GNU-stack, "", @progbits
