#include "legacy.inc"

#define VM86_SEGMENT 0x5000

	.data
	.globl vm86_flags, vm86_ds
vm86_flags: .long 0
vm86_ds: .long 0x1234

	.text
	.code32
/* To virtual-8086 mode, at VM86_SEGMENT:0. */
	.globl to_vm86, to_vm86_at
to_vm86:
	pushl $0x5678 /* GS */
	pushl $0x4567
	pushl vm86_ds
	pushl $0x2345
	pushl $0x6000 /* SS */
	pushl $0x0800
	pushl vm86_flags
	pushl $VM86_SEGMENT
	pushl $0
to_vm86_at:
	iret

	.code16
	.macro snippet name
	.globl \name, \name\()_end
\name:
	.endm
	.macro snippet_end name
\name\()_end:
	.endm

snippet v_ud
	movw %fs, %bx
	movw %ds, %ax
	shll $16, %eax
	movw %bx, %ax
	ud2
snippet_end v_ud
snippet v_cli
	cli
	ud2
snippet_end v_cli
snippet v_sti
	sti
	ud2
snippet_end v_sti
snippet v_pushf
	pushfw
	ud2
snippet_end v_pushf
snippet v_popf
	popfw
	ud2
snippet_end v_popf
snippet v_int
	int $0x61
	ud2
snippet_end v_int
snippet v_iret
	iretw
	ud2
snippet_end v_iret
snippet v_int3
	int3
	ud2
snippet_end v_int3
snippet v_into
	movb $0x7f, %al
	addb $1, %al
	into
	ud2
snippet_end v_into
snippet v_hlt
	hlt
	ud2
snippet_end v_hlt
snippet v_lgdt
	lgdt 0
	ud2
snippet_end v_lgdt
snippet v_cr0
	movl %cr0, %eax
	ud2
snippet_end v_cr0
snippet v_smsw
	smsw %ax
	ud2
snippet_end v_smsw
snippet v_sldt
	sldt %ax
	ud2
snippet_end v_sldt
snippet v_lar
	lar %ax, %bx
	ud2
snippet_end v_lar
snippet v_arpl
	arpl %ax, %bx
	ud2
snippet_end v_arpl
snippet v_in
	inb $0xe0, %al
	ud2
snippet_end v_in
/* Segments are 16 times the selector; far calls and returns are real mode's. */
snippet v_far
	movw $0x5100, %ax
	movw %ax, %es
	movw $0xbeef, %es:0x10
	lcallw $VM86_SEGMENT, $(1f - v_far)
	movw %sp, %ax
	ud2
1:	movw $2f - v_far, %ax
	pushfw
	pushw %cs
	pushw %ax
	iretw
2:	lretw
snippet_end v_far
/* POPF of IOPL 3 changes IF, and neither IOPL nor VM. */
snippet v_popf_if
	pushw $0x0202
	popfw
	pushfw
	popw %ax
	ud2
snippet_end v_popf_if
