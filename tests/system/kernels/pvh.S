/* An ELF kernel with a PVH entry (Xen's note 18). Status 33 when the start information is there, with the command
 * line "pvh" and one module. */
	.section .note.xen, "a", @note
	.long 4, 4, 18
	.asciz "Xen"
	.long _start

	.text
	.code32
	.globl _start
_start:
	movb $0x11, %cl
	cmpl $0x336ec578, (%ebx)
	jne 1f
	cmpl $1, 12(%ebx)
	jne 1f
	movl 24(%ebx), %edx
	cmpl $0x00687670, (%edx)
	jne 1f
	movb $0x10, %cl
1:	movb %cl, %al
	outb %al, $0xf4
	hlt
