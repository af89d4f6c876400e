/* Real-mode code for the waking vector: tells where it is, and starts the guest once more. */
#include "layout.h"
#include "suspend.h"

#define MULTIBOOT_BOOTLOADER_MAGIC 0x2badb002
#define CR0_PE 1

	.section .rodata
	.code16
	.globl resume_start, resume_end
resume_start:
	call 1f
1:	popw %bx
	subw $(1b - resume_start), %bx
	pushfl
	cli
	popl %ecx
	xorw %ax, %ax
	movw %ax, %ds
	movzwl %bx, %ebx
	movl %ebx, TOLD_IP
	movw %cs, %ax
	movzwl %ax, %eax
	movl %eax, TOLD_CS
	movl %ecx, TOLD_FLAGS
	movl %cr0, %eax
	movl %eax, TOLD_CR0
	lgdtl VECTOR + resume_gdt_pointer - resume_start
	orl $CR0_PE, %eax
	movl %eax, %cr0
	ljmpl $KERNEL_CODE32, $resumed32
	.balign 4
resume_gdt_pointer:
	.word GDT_BYTES - 1
	.long boot_gdt
resume_end:

	.balign 4
no_information:				/* of the Multiboot loader: the command line is known */
	.long 0

	.text
	.code32
resumed32:
	movw $KERNEL_DATA, %ax
	movw %ax, %ds
	movw %ax, %es
	movw %ax, %ss
	movl $MULTIBOOT_BOOTLOADER_MAGIC, %eax
	movl $no_information, %ebx
	jmp multiboot_entry

	.section .note.GNU-stack, "", @progbits
