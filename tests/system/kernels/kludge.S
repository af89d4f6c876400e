/* A raw Multiboot image, which says by its header's address fields where it goes. Status 33 when it was started by
 * a Multiboot loader, with its .bss zeroed behind it. */
	.text
	.code32
	.globl _start
header:
	.long 0x1badb002, 0x10000, -(0x1badb002 + 0x10000)
	.long header, header, image_end, image_end + 4096, _start
_start:
	movb $0x11, %cl
	cmpl $0x2badb002, %eax
	jne 1f
	cmpl $0, image_end + 4092
	jne 1f
	movb $0x10, %cl
1:	movb %cl, %al
	outb %al, $0xf4
	hlt
image_end:
