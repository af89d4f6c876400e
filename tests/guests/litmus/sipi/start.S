/* Real-mode code that counts its starts and tells where it is; copied to the page of every vector. */
#include "sipi.h"

	.section .rodata
	.code16
	.globl sipi_start, sipi_end
sipi_start:
	pushfl				/* INIT leaves SP 0: to the end of segment 0 */
	cli
	popl %esi
	movl %cr0, %edi
	movw $TOLD_SEGMENT, %ax
	movw %ax, %ds
	movl $1, %eax
	cpuid
	shrl $24, %ebx
	shll $TOLD_SHIFT, %ebx
	movl %edi, TOLD_CR0(%bx)
	movl %esi, TOLD_FLAGS(%bx)
	movw %cs, %cx
	movzwl %cx, %ecx
	movl %ecx, TOLD_CS(%bx)
	shrl $8, %ecx
	subl $VECTOR_FIRST, %ecx
	leal (%ebx, %ecx, 4), %ebx
	orl $CR0_SET, %edi
	movl %edi, %cr0
	lock incl TOLD_STARTS(%bx)
	/* Every fourth vector's code sleeps. */
	andl $3, %ecx
	jz 2f
1:	incl TOLD_TICKS(%bx)
	jmp 1b
2:	incl TOLD_TICKS(%bx)
	hlt
	jmp 2b
sipi_end:

	.section .note.GNU-stack, "", @progbits
