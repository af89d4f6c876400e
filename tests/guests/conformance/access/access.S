/* One access, from ring 0 or 3, and the page that ring 3 runs. */
#include "access.h"
#include "layout.h"

	.text
	.code64

/* access_here(kind, address): as ring 0. Where it faults, the handler goes on at access_done with the stack of
 * access_stack. */
	.globl access_here, access_from_ring3, access_done, access_stack
access_here:
	pushq %rbx
	movq %rsp, access_stack(%rip)
	cmpl $KIND_WRITE, %edi
	je 1f
	ja 2f
	movb (%rsi), %al
	jmp access_done
1:	movb $OPCODE_RET, (%rsi)
	jmp access_done
2:	call *%rsi
access_done:
	popq %rbx
	ret

/* access_from_ring3(kind, address): the same. INT $VECTOR_ACCESSED comes back, too. */
access_from_ring3:
	pushq %rbx
	movq %rsp, access_stack(%rip)
	pushq $(USER_DATA | 3)
	movl $USER_STACK, %eax
	pushq %rax
	pushq $2
	pushq $(USER_CODE | 3)
	movl $USER_PAGE, %eax
	pushq %rax
	iretq

/* Copied to a page of its own: RDI and RSI as above. Its stack is in that page, too. */
	.globl user_code, user_code_end
user_code:
	cmpl $KIND_WRITE, %edi
	je 1f
	ja 2f
	movb (%rsi), %al
	int $VECTOR_ACCESSED
1:	movb $OPCODE_RET, (%rsi)
	int $VECTOR_ACCESSED
2:	call *%rsi
	int $VECTOR_ACCESSED
user_code_end:

/* set_la57(table, on): 5-level paging on or off, from compatibility mode with paging off meanwhile. `table` is the
 * new CR3; this code, the stack and the GDT lie below 4 GiB, where linear addresses are physical ones. */
	.globl set_la57
set_la57:
	pushq %rbx
	movl %esi, %ebx
	movq %rdi, %rsi
	leaq 1f(%rip), %rax
	pushq $KERNEL_CODE32
	pushq %rax
	lretq
	.code32
1:	movl %cr0, %eax
	andl $~CR0_PG, %eax
	movl %eax, %cr0
	movl %cr4, %eax
	andl $~CR4_LA57, %eax
	testl %ebx, %ebx
	jz 2f
	orl $CR4_LA57, %eax
2:	movl %eax, %cr4
	movl %esi, %cr3
	movl %cr0, %eax
	orl $CR0_PG, %eax
	movl %eax, %cr0
	ljmp $KERNEL_CODE, $3f
	.code64
3:	popq %rbx
	ret

	.bss
	.balign 8
access_stack:
	.skip 8

	.section .note.GNU-stack, "", @progbits
