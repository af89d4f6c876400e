/* A boot sector in 16-bit code: interrupts through the vector table, segments, string I/O, protected mode and back,
 * and the limits that stay behind. Raw image, started at 0000:7c00. Status 33 when all passed, else
 * ((0x20 + check) << 1) | 1. */

#define DEBUG_CONSOLE 0xe9
#define ISA_DEBUG_EXIT 0xf4
#define PASS 0x10
#define FAIL 0x20
#define COM1 0x3f8

#define CODE32 0x08
#define DATA32 0x10
#define CODE16 0x18
#define DATA16 0x20

#define ABOVE_1_MIB 0x200000
#define MARK 0x6d70766d
#define ROUNDS 100

	.text
	.code16
	.globl start
start:
	cli
	cld
	ljmp $0, $1f
1:	xorw %ax, %ax
	movw %ax, %ds
	movw %ax, %es
	movw %ax, %ss
	movw $0x7000, %sp

	/* Check 1: INT pushes FLAGS, CS and the IP after it. */
	movb $1, check
	movw $take_int, 0x80 * 4
	movw %ax, 0x80 * 4 + 2
	movw $0x7000, %bp
	int $0x80
after_int:
	cmpw $after_int, -6(%bp)
	jne fail
	cmpw $0, -4(%bp)
	jne fail
	cmpw $0x1234, %bx
	jne fail

	/* Check 2: a divide error comes by vector 0 with the IP of the DIV itself. */
	movb $2, check
	movw $skip_divide, 0 * 4
	movw %ax, 0 * 4 + 2
	xorw %cx, %cx
divide:
	divw %cx
	cmpw $divide, divide_ip
	jne fail

	/* Check 3: a segment is its number times 16. */
	movb $3, check
	movw $0x1000, %ax
	movw %ax, %es
	movl $MARK, %es:0x10
	movw $0x0fff, %ax
	movw %ax, %es
	cmpl $MARK, %es:0x20
	jne fail
	xorw %ax, %ax
	movw %ax, %es

	/* Check 4: string I/O with 16-bit addresses wraps nothing and ends with CX 0. */
	movb $4, check
	movw $message, %si
	movw $(message_end - message), %cx
	movw $DEBUG_CONSOLE, %dx
	rep outsb
	testw %cx, %cx
	jnz fail
	cmpw $message_end, %si
	jne fail
	movw $message, %si
	movw $(message_end - message), %cx
	movw $COM1, %dx
	rep outsb

	/* Check 5: to 32-bit protected mode and back, over and over. */
	movb $5, check
	lgdtw gdt_pointer
	movw $ROUNDS, %di
2:	movl %cr0, %eax
	orb $1, %al
	movl %eax, %cr0
	ljmpl $CODE32, $protected

	.code32
protected:
	movw $DATA32, %ax
	movw %ax, %ds
	movw %ax, %fs
	movw %ax, %ss
	movl $MARK, ABOVE_1_MIB
	addl %edi, ABOVE_1_MIB
	pushl %ds:ABOVE_1_MIB
	popl %ebx
	ljmp $CODE16, $leaving

	.code16
leaving:
	/* FS keeps its limit of 4 GiB; the others get 64 KiB back. */
	movw $DATA16, %ax
	movw %ax, %ds
	movw %ax, %ss
	movl %cr0, %eax
	andb $0xfe, %al
	movl %eax, %cr0
	ljmp $0, $3f
3:	xorw %ax, %ax
	movw %ax, %ds
	movw %ax, %ss
	movw %ax, %fs
	movzwl %di, %ecx
	addl $MARK, %ecx
	cmpl %ecx, %ebx
	jne fail
	/* Check 6: a real-mode load of FS changes its base alone, so the limit stays. */
	movb $6, check
	movl $ABOVE_1_MIB, %esi
	cmpl %ecx, %fs:(%esi)
	jne fail
	movb $5, check
	int $0x80
	decw %di
	jnz 2b

	movb $PASS, %al
	jmp exit
fail:
	movb check, %al
	addb $FAIL, %al
exit:
	outb %al, $ISA_DEBUG_EXIT
4:	hlt
	jmp 4b

take_int:
	movw $0x1234, %bx
	iret

skip_divide:
	pushw %bp
	movw %sp, %bp
	movw 2(%bp), %ax
	movw %ax, divide_ip
	addw $2, 2(%bp)
	popw %bp
	iret

divide_ip:
	.word 0
check:
	.byte 0
message:
	.ascii "mpvm test guest: real mode\r\n"
message_end:

	.balign 8
gdt:
	.quad 0
	.quad 0x00cf9b000000ffff	/* CODE32 */
	.quad 0x00cf93000000ffff	/* DATA32 */
	.quad 0x00009b000000ffff	/* CODE16 */
	.quad 0x000093000000ffff	/* DATA16 */
gdt_pointer:
	.word gdt_pointer - gdt - 1
	.long gdt

	.org 510
	.byte 0x55, 0xaa

	.section .note.GNU-stack, "", @progbits
