#include "legacy.inc"

/* Real mode: this page is copied to REAL_BASE, a snippet to SNIPPET_BASE. What an event finds goes to real_event. */
#define REAL_BASE 0x8000
#define SNIPPET_BASE 0x9000
#define REAL_STACK 0x7000
#define REAL_EVENT 0x7800
#define REAL_CODE LEGACY_SPARE

	.data
	.globl real_idtr
	.balign 4
real_idtr:
	.word 0x3ff
	.long 0

	.text
	.code32
	.globl to_real
to_real:
	movl %esp, REAL_EVENT - 4
	lidt real_idtr
	ljmp $REAL_CODE, $real_entry - real_blob

/* The way back, at a place that is known. */
	.globl from_real
from_real:
	movl $LEGACY_DATA, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	movl %eax, %fs
	movl %eax, %gs
	movl REAL_EVENT - 4, %esp
	lidt legacy_idtr
	ret

	.code16
	.globl real_blob, real_blob_end, real_vectors
real_blob:
real_entry:
	movw $LEGACY_DATA16, %ax
	movw %ax, %ds
	movw %ax, %es
	movw %ax, %ss
	movw %ax, %fs
	movw $LEGACY_DATA, %ax /* big: limits stay in real mode */
	movw %ax, %gs
	movl %cr0, %eax
	andb $0xfe, %al
	movl %eax, %cr0
	ljmpw $(REAL_BASE / 16), $(1f - real_blob)
1:	xorw %ax, %ax
	movw %ax, %ds
	movw %ax, %es
	movw %ax, %fs
	movw %ax, %gs
	movw %ax, %ss
	movl $REAL_STACK, %esp
	ljmpw $(SNIPPET_BASE / 16), $0

	.balign 16
real_vectors:
	.set real_vector, 0
	.rept 256
	.balign 8
	.byte 0x68 /* pushw $imm16 */
	.word real_vector
	jmp real_record
	.set real_vector, real_vector + 1
	.endr
/* EAX to EDI, then vector, IP, CS, FLAGS, and the flags of the handler. */
real_record:
	pushfw
	pushal
	xorw %ax, %ax
	movw %ax, %ds
	movw %ax, %es
	movw %sp, %si
	movw $REAL_EVENT, %di
	movw $(32 + 10), %cx
	cld
	rep ss movsb
	cli
	movl %cr0, %eax
	orb $1, %al
	movl %eax, %cr0
	ljmpl $LEGACY_CODE, $from_real
real_blob_end:

	.macro snippet name
	.globl \name, \name\()_end
\name:
	.endm
	.macro snippet_end name
\name\()_end:
	.endm
/* Ends a snippet by an event that tells where. */
	.macro done
	int $0x60
	.endm

snippet r_divide
	xorw %cx, %cx
	divw %cx
	done
snippet_end r_divide
snippet r_bound
	movw $5, 0x500
	movw $6, 0x502
	movw $7, %ax
	boundw %ax, 0x500
	done
snippet_end r_bound
snippet r_ud
	ud2
snippet_end r_ud
snippet r_int
	sti
	int $0x61
snippet_end r_int
snippet r_int3
	int3
snippet_end r_int3
snippet r_into
	movb $0x7f, %al
	addb $1, %al
	into
snippet_end r_into
snippet r_step
	pushw $0x102
	popfw
	nop
	nop
snippet_end r_step
snippet r_sldt
	sldt %ax
snippet_end r_sldt
snippet r_lar
	lar %ax, %bx
snippet_end r_lar
snippet r_arpl
	arpl %ax, %bx
snippet_end r_arpl
/* INT beyond the table's limit. */
snippet r_limit
	lidt %cs:1f - r_limit
	int $0x61
1:	.word 0x61 * 4 + 2
	.long 0
snippet_end r_limit
/* Another table: vector 0x61 is here what 0x62 is there. */
snippet r_moved
	movl 0x62 * 4, %eax
	movl %eax, 0x600 + 0x61 * 4
	lidt %cs:1f - r_moved
	int $0x61
1:	.word 0x3ff
	.long 0x600
snippet_end r_moved
/* Far calls and returns of both sizes, IRET of both. */
snippet r_far
	lcallw $(SNIPPET_BASE / 16), $(2f - r_far)
	lcalll $(SNIPPET_BASE / 16), $(3f - r_far)
	pushw $0x1111
	pushw $0x2222
	lcallw $(SNIPPET_BASE / 16), $(4f - r_far)
	pushfw
	pushw %cs
	pushw $(1f - r_far)
	iretw
1:	pushl $0x202
	pushl $(SNIPPET_BASE / 16)
	pushl $(1f - r_far)
	iretl
1:	movw %sp, %bx
	done
2:	incw %ax
	lretw
3:	incw %ax
	lretl
4:	incw %ax
	lretw $4
snippet_end r_far
/* The stack is 16 bits wide: it wraps, and the upper half of ESP is no part of it. */
snippet r_stack
	movl $0x12340000, %esp
	pushw $0xbeef
	movl %esp, %ebx
	popw %ax
	movl %esp, %ecx
	movl $REAL_STACK, %esp
	movw 0xfffe, %dx
	done
snippet_end r_stack
/* GS has kept its limit of 4 GiB: it is "unreal". */
snippet r_big
	movl $0x200000, %ebx
	movl $0xcafef00d, %gs:(%ebx)
	movl %gs:(%ebx), %eax
	done
snippet_end r_big
/* With A20 open, FFFF:0010 is the byte at 1 MiB. */
snippet r_a20
	movw $0xffff, %ax
	movw %ax, %es
	movl %es:0x10, %eax
	done
snippet_end r_a20
/* POPF of all that there is, and what stays. */
snippet r_flags
	pushw $0x7cd7
	popfw
	pushfw
	popw %ax
	pushw $2
	popfw
	done
snippet_end r_flags
/* LMSW sets PE and does not clear it. */
snippet r_lmsw
	smsw %bx
	movw %bx, %ax
	orb $1, %al
	lmsw %ax
	jmp 1f
1:	andb $0xfe, %al
	lmsw %ax
	smsw %cx
	movl %cr0, %edx
	smswl %esi
	movl %edx, %edi
	andb $0xfe, %dl
	movl %edx, %cr0
	ljmpw $(SNIPPET_BASE / 16), $(1f - r_lmsw)
1:	done
snippet_end r_lmsw
/* LGDT with a 16-bit operand takes 24 bits of the base. */
snippet r_lgdt
	sgdt 0x500
	lgdtw %cs:1f - r_lgdt
	sgdt 0x508
	lgdtl 0x500
	movl 0x50a, %eax
	movw 0x508, %bx
	done
1:	.word 0x1234
	.long 0xab123456
snippet_end r_lgdt
snippet r_loop
	movl $0x10003, %ecx
	xorw %ax, %ax
1:	incw %ax
	loop 1b
	movl $3, %ebx
	xchgl %ebx, %ecx
2:	incw %ax
	addr32 loop 2b
	done
snippet_end r_loop
snippet r_strings
	movw $0x8000, %ax
	movw %ax, %es
	xorw %di, %di
	movw $4, %cx
	movl $0x11223344, %eax
	rep stosl
	movw $0x8000, %dx
	movw %dx, %ds
	xorw %si, %si
	movw $0x100, %di
	movw $16, %cx
	rep movsb
	movl 0x10c, %eax
	movw %di, %bx
	std
	movw $0x10f, %si
	lodsb
	cld
	movw %si, %dx
	done
snippet_end r_strings
