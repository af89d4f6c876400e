#include "legacy.inc"

	.data
	.globl test_far, test_user, test_words, test_frame
test_far: .long 0
	.word 0
	.balign 4
test_user: .long 0
test_words: .fill 8, 4, 0
test_frame: .fill 8, 4, 0

	.text
	.code32
	.globl jump, jump_at, call, call_at, landed
jump:
jump_at:
	ljmpl *test_far
call:
call_at:
	lcalll *test_far
landed:
	movw %cs, test_words
	movw %ss, test_words + 4
	movl %esp, test_words + 8
	cmpw $LEGACY_USER_CODE, test_words
	jne 1f
	int $0x60
1:	jmp legacy_end

/* To ring 3, at test_user. */
	.globl to_ring3
to_ring3:
	pushl $LEGACY_USER_DATA
	pushl $legacy_user_stack_top
	pushl $2
	pushl $LEGACY_USER_CODE
	pushl test_user
	iret

/* In ring 3: a call with two parameters. The gate leads to `inner`, and that returns. */
	.globl user_call, user_call_at, user_call_after, inner
user_call:
	pushl $0x11111111
	pushl $0x22222222
user_call_at:
	lcalll *test_far
user_call_after:
	int $0x60
inner:
	movl %esp, %esi
	movl $LEGACY_DATA, %eax
	movl %eax, %ds
	movl %eax, %es
	movl $test_frame, %edi
	movl $8, %ecx
	cld
	rep ss movsl
	movw %cs, test_words
	movw %ss, test_words + 4
	lret $8

	.globl user_jump, user_jump_at, user_int, user_int_at
user_jump:
user_jump_at:
	ljmpl *test_far
user_int:
user_int_at:
	int $0x61
	nop

/* A frame that returns nowhere good: CS and SS are test_words. */
	.globl bad_iret, bad_iret_at, bad_lret, bad_lret_at
bad_iret:
	pushl test_words + 4
	pushl $0x5000
	pushl $2
	pushl test_words
	pushl test_words + 8
bad_iret_at:
	iret
bad_lret:
	pushl test_words + 4
	pushl $0x5000
	pushl test_words
	pushl test_words + 8
bad_lret_at:
	lret

/* Ring 3 gets neither VM nor IF nor IOPL by IRET. */
	.globl user_iret
user_iret:
	pushl $0x23203
	pushl $LEGACY_USER_CODE
	pushl $1f
	iret
1:	int $0x60

/* Segments of ring 0 do not get out to ring 3. */
	.globl user_segments
user_segments:
	movl %ds, %eax
	movl %es, %ebx
	movl %fs, %ecx
	shll $8, %ebx
	shll $16, %ecx
	orl %ebx, %eax
	orl %ecx, %eax
	int $0x60
