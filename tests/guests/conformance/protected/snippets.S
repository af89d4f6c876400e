#include "legacy.inc"

	.data
	.globl test_selector, test_rights, test_limit, test_flags
test_selector: .long 0
test_rights: .long 0
test_limit: .long 0
test_flags: .long 0

	.text
	.code32
/* Loads of each register, and where. */
	.irp register, es, ss, ds, fs, gs
	.globl load_\register, load_\register\()_at
load_\register:
	movl test_selector, %eax
load_\register\()_at:
	movl %eax, %\register
	nop
	movl $LEGACY_DATA, %eax
	movl %eax, %\register
	ret
	.endr

	.globl load_ldt, load_ldt_at, load_tr, load_tr_at
load_ldt:
	movl test_selector, %eax
load_ldt_at:
	lldt %ax
	sldt test_limit
	ret
load_tr:
	movl test_selector, %eax
load_tr_at:
	ltr %ax
	str test_limit
	ret

/* LAR, LSL, VERR and VERW: ZF of each in test_flags, from the highest of four bits on. */
	.macro zero_flag
	pushfl
	popl %edx
	andl $0x40, %edx
	shrl $6, %edx
	shll $1, %esi
	orl %edx, %esi
	.endm
	.globl look
look:
	xorl %esi, %esi
	xorl %ebx, %ebx
	xorl %ecx, %ecx
	movl test_selector, %eax
	larl %eax, %ebx
	zero_flag
	lsll %eax, %ecx
	zero_flag
	verr %ax
	zero_flag
	verw %ax
	zero_flag
	movl %ebx, test_rights
	movl %ecx, test_limit
	movl %esi, test_flags
	ret

	.globl adjust
adjust:
	movl $0xaaaa0010, %eax
	movl $3, %edx
	arpl %dx, %ax
	movl $0, %esi
	zero_flag
	movl %eax, test_rights
	arpl %dx, %ax
	zero_flag
	movl %esi, test_flags
	ret

/* A push that crosses the end of a 16-bit stack segment's 64 KiB: SP is 16 bits, and wraps. */
	.globl wrap
wrap:
	movl %esp, %ebp
	movl $LEGACY_SPARE, %eax
	movl %eax, %ss
	movl $0xabcd0000, %esp
	pushw $0x1234
	movl %esp, test_limit
	movl $LEGACY_DATA, %eax
	movl %eax, %ss
	movl %ebp, %esp
	ret
