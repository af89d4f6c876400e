#include "legacy.inc"

#define CR0_PG 0x80000000
#define CR4_PAE 0x20

	.data
	.globl mode_words, long_code
mode_words: .fill 8, 4, 0
long_code: .long 0
	.word 0

	.text
	.code32
/* Paging on for long mode without PAE. */
	.globl no_pae, no_pae_at
no_pae:
	movl %cr4, %ebx
	movl %ebx, %eax
	andl $~CR4_PAE, %eax
	movl %eax, %cr4
	call long_mode_wanted
	movl $1f, legacy_resume
	movl %cr0, %eax
	orl $CR0_PG, %eax
no_pae_at:
	movl %eax, %cr0
1:	movl %ebx, %cr4
	jmp legacy_end

/* ... from a code segment with L set, which in protected mode is code like any other. */
	.globl long_segment, long_segment_at
long_segment:
	call long_mode_wanted
	ljmp $LEGACY_SPARE, $1f
1:	movl %cr0, %eax
	orl $CR0_PG, %eax
long_segment_at:
	movl %eax, %cr0
	jmp legacy_end

long_mode_wanted:
	movl $EFER_MSR, %ecx
	rdmsr
	btsl $EFER_LME_BIT, %eax
	wrmsr
	ret

/* Without paging LMA is clear whatever LME says; it comes and goes with PG. */
	.globl active
active:
	call long_mode_wanted
	movl %eax, mode_words
	rdmsr
	movl %eax, mode_words
	movl %cr0, %eax
	orl $CR0_PG, %eax
	movl %eax, %cr0
	rdmsr
	movl %eax, mode_words + 4
	movl %cr0, %eax
	andl $~CR0_PG, %eax
	movl %eax, %cr0
	rdmsr
	movl %eax, mode_words + 8
	ret

	.globl no_pe, no_pe_at, no_pg_without_pe
no_pe:
	movl %cr0, %eax
	orl $CR0_PG, %eax
	andl $~1, %eax
no_pe_at:
	movl %eax, %cr0
	ret

/* LMSW can't clear PE; SMSW shows the rest of CR0. */
	.globl machine_status
machine_status:
	smsw %ax
	andw $~1, %ax
	lmsw %ax
	movl %cr0, %eax
	movl %eax, mode_words
	smsw mode_words + 4
	orb $0xe, %al
	lmsw %ax
	movl %cr0, %eax
	movl %eax, mode_words + 8
	andb $~0xe, %al
	movl %eax, %cr0
	ret

	.globl resume_smm, resume_smm_at
resume_smm:
resume_smm_at:
	rsm
	ret
