/* From the Multiboot loader (32-bit protected mode, paging off) or the start-up IPI's real mode
 * to 64-bit C. Both roads meet in enter_long_mode. */
#include "layout.h"

#define MULTIBOOT_HEADER_MAGIC 0x1badb002
#define MULTIBOOT_FLAGS 0

#define CR0_PE 0x00000001
#define CR0_NE 0x00000020
#define CR0_WP 0x00010000
#define CR0_NW_CD 0x60000000
#define CR0_PG 0x80000000
#define CR4_PAE 0x20
#define MSR_EFER 0xc0000080
#define EFER_LME 0x100

#define PTE_TABLE 0x03
#define PTE_LARGE 0x83
#define PTE_UNCACHED 0x18
#define PAGE_DIRECTORY_ENTRIES 2048
/* Entries from here on map 3 GiB to 4 GiB, where the APICs are. */
#define FIRST_DEVICE_ENTRY 1536

	.section .multiboot, "a"
	.balign 4
	.long MULTIBOOT_HEADER_MAGIC, MULTIBOOT_FLAGS, -(MULTIBOOT_HEADER_MAGIC + MULTIBOOT_FLAGS)

	.text
	.code32
	.globl multiboot_entry
multiboot_entry:
	cli
	cld
	movl $boot_stack_top, %esp
	movl %eax, %ebp			/* the loader's magic; EBX has the information structure */

	pushl %ebx
	movl $0x80000000, %eax
	cpuid
	cmpl $0x80000001, %eax
	jb no_long_mode
	movl $0x80000001, %eax
	cpuid
	btl $29, %edx
	jnc no_long_mode
	popl %ebx

	/* Identity map of the first 4 GiB in 2 MiB pages. */
	movl $(page_directory_pointers + PTE_TABLE), page_map_level4
	movl $page_directories, %edi
	xorl %ecx, %ecx
1:	movl %edi, %eax
	orl $PTE_TABLE, %eax
	movl %eax, page_directory_pointers(, %ecx, 8)
	addl $0x1000, %edi
	incl %ecx
	cmpl $4, %ecx
	jb 1b

	xorl %ecx, %ecx
2:	movl %ecx, %eax
	shll $21, %eax
	orl $PTE_LARGE, %eax
	cmpl $FIRST_DEVICE_ENTRY, %ecx
	jb 3f
	orl $PTE_UNCACHED, %eax
3:	movl %eax, page_directories(, %ecx, 8)
	incl %ecx
	cmpl $PAGE_DIRECTORY_ENTRIES, %ecx
	jb 2b

	lgdtl boot_gdt_pointer
	movl $bsp_entry64, %esi
	jmp enter_long_mode

no_long_mode:
	movw $ISA_DEBUG_EXIT, %dx
	movb $EXIT_NO_LONG_MODE, %al
	outb %al, %dx
4:	hlt
	jmp 4b

ap_entry32:
	movw $KERNEL_DATA, %ax
	movw %ax, %ds
	movw %ax, %es
	movw %ax, %ss
	movl $ap_entry64, %esi

/* ESI: where to go on in 64-bit code. EBX and EBP are kept. */
enter_long_mode:
	movl %cr4, %eax
	orl $CR4_PAE, %eax
	movl %eax, %cr4
	movl $page_map_level4, %eax
	movl %eax, %cr3
	movl $MSR_EFER, %ecx
	rdmsr
	orl $EFER_LME, %eax
	wrmsr
	movl %cr0, %eax
	/* INIT leaves the caches of an AP off. */
	andl $~CR0_NW_CD, %eax
	orl $(CR0_PG | CR0_WP | CR0_NE | CR0_PE), %eax
	movl %eax, %cr0
	ljmp $KERNEL_CODE, $long_mode

	.code64
long_mode:
	movl $KERNEL_DATA, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	xorl %eax, %eax
	movl %eax, %fs
	movl %eax, %gs
	movl %esi, %esi
	jmp *%rsi

bsp_entry64:
	movl $boot_stack_top, %esp
	movl %ebp, %edi
	movl %ebx, %esi
	call guest_boot
	ud2

/* Every AP runs here at once, so it has no stack before its APIC id has told it which. */
ap_entry64:
	movl $1, %eax
	cpuid
	shrl $24, %ebx
	movq cpu_by_apic_id(, %rbx, 8), %rdi
	testq %rdi, %rdi
	jz 1f
	movq CPU_STACK_TOP(%rdi), %rsp
	call ap_main
1:	/* A CPU that the MADT does not list takes no part. */
	cli
	hlt
	jmp 1b

/* Copied to TRAMPOLINE; a start-up IPI begins there with CS = TRAMPOLINE >> 4, IP = 0. */
	.code16
	.globl trampoline_start, trampoline_end
trampoline_start:
	cli
	cld
	movw %cs, %ax
	movw %ax, %ds
	lgdtl trampoline_gdt_pointer - trampoline_start
	movl %cr0, %eax
	orl $CR0_PE, %eax
	movl %eax, %cr0
	ljmpl $KERNEL_CODE32, $ap_entry32
	.balign 4
trampoline_gdt_pointer:
	.word GDT_BYTES - 1
	.long boot_gdt
trampoline_end:

	.section .rodata
	.balign 8
	.globl boot_gdt
boot_gdt:
	.quad 0
	.quad 0x00af9b000000ffff	/* KERNEL_CODE: 64-bit */
	.quad 0x00cf93000000ffff	/* KERNEL_DATA */
	.quad 0x00cffb000000ffff	/* USER_CODE32 */
	.quad 0x00cff3000000ffff	/* USER_DATA */
	.quad 0x00affb000000ffff	/* USER_CODE: 64-bit */
	.quad 0x00cff3000000ffff	/* USER_DATA_SYSEXIT */
	.quad 0, 0			/* TASK_STATE: filled in a CPU's own copy */
	.quad 0x00cf9b000000ffff	/* KERNEL_CODE32 */
boot_gdt_pointer:
	.word GDT_BYTES - 1
	.long boot_gdt

	.bss
	.balign 4096
	.globl page_map_level4
page_map_level4:
	.skip 4096
page_directory_pointers:
	.skip 4096
page_directories:
	.skip 4 * 4096
	.skip STACK_BYTES
boot_stack_top:

	.section .note.GNU-stack, "", @progbits
