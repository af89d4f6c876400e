#include "legacy.inc"

	.data
	.globl task_words, test_far
task_words: .fill 8, 4, 0
test_far: .long 0xf4f4f4f4 /* a transfer to a task takes no offset from it */
	.word 0
	.balign 4

	.text
	.code32
/* The first task: transfers to another one by test_far, and what it finds when it comes back. */
	.globl by_jump, by_call, by_jump_at, by_call_at, back, by_int, by_int_at, by_fault, by_fault_at
by_jump:
	movl $0x600d, %ebx
	stc
by_jump_at:
	ljmpl *test_far
	jmp back
by_call:
	movl $0x600d, %ebx
	clc
by_call_at:
	lcalll *test_far
back:
	movl %ebx, task_words + 4
	str task_words + 8
	movl %cr0, %eax
	andl $8, %eax
	movl %eax, task_words + 12
	ret
by_int:
by_int_at:
	int $0x61
	jmp back
by_fault:
	movl $0, task_words + 16
	movl $LEGACY_DATA, %eax
by_fault_at:
	movw task_words + 20, %ds
	jmp back
	.globl by_int3, by_ud, by_ud_at
by_int3:
	int3
	jmp back
by_ud:
by_ud_at:
	ud2
	jmp back

/* Other tasks. */
	.globl task_back, task_again, task_jumps_back, task_end, task_error_code, task_skips
task_back:
	incl task_words
	pushfl
	popl task_words + 24
	iret
task_again:
	addl $0x100, task_words
	iret
	jmp task_again
task_jumps_back:
	incl task_words
	ljmp $LEGACY_TSS, $0
	jmp task_jumps_back
task_end:
	incl task_words
	jmp legacy_end
/* Takes the error code, gives DS something good, and goes on behind the instruction. */
task_error_code:
	popl task_words + 16
	movl $LEGACY_DATA, task_words + 20
	incl task_words
	iret
	jmp task_error_code
task_skips:
	incl task_words
	addl $2, legacy_tss + 0x20
	iret
	jmp task_skips

	.globl nested_iret, nested_iret_at
nested_iret:
	pushfl
	orl $0x4000, (%esp)
	popfl
nested_iret_at:
	iret
