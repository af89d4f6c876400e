/* uint64_t work(uint64_t *seed, uint64_t count, struct sums *sums)
 *
 * `count` steps of a linear congruential generator from *seed on, whose upper 31 bits are added up four times:
 * in a general register, in the x87, in packed integers and in doubles. The other registers hold patterns
 * meanwhile. Returns how many have not kept them.
 */
	.set PATTERN, 0x0123456789abcdef
	.set MULTIPLIER, 6364136223846793005
	.set INCREMENT, 1442695040888963407
	/* Offsets in struct sums; main.c asserts them. */
	.set SUM_GENERAL, 0
	.set SUM_X87, 8
	.set SUM_PACKED, 16
	.set SUM_DOUBLE, 24
	.set SUM_PI, 32

	.text
	.globl work
work:
	pushq %rbx
	pushq %rbp
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	subq $16, %rsp
	movq %rdx, %rbp
	movq (%rdi), %rax
	movq %rsi, %rcx
	xorl %ebx, %ebx
	fninit
	fldpi
	fldz
	pxor %xmm0, %xmm0
	pxor %xmm1, %xmm1
	movabsq $PATTERN, %rdx
	.irp n, 10, 11, 12, 13, 14, 15
	leaq \n(%rdx), %r\n
	movq %r\n, %xmm\n
	pshufd $0x4e, %xmm\n, %xmm\n
	.endr
	movabsq $MULTIPLIER, %r8
	movabsq $INCREMENT, %r9
1:
	imulq %r8, %rax
	addq %r9, %rax
	movq %rax, %rdx
	shrq $33, %rdx
	addq %rdx, %rbx
	movq %rdx, (%rsp)
	fildq (%rsp)
	faddp
	movq %rdx, %xmm2
	paddq %xmm2, %xmm0
	cvtsi2sdq %rdx, %xmm3
	addsd %xmm3, %xmm1
	decq %rcx
	jnz 1b

	movq %rax, (%rdi)
	movq %rbx, SUM_GENERAL(%rbp)
	fistpq SUM_X87(%rbp)
	movq %xmm0, SUM_PACKED(%rbp)
	cvttsd2siq %xmm1, %rdx
	movq %rdx, SUM_DOUBLE(%rbp)
	fstpt SUM_PI(%rbp)
	xorl %eax, %eax
	movabsq $PATTERN, %rdx
	.irp n, 10, 11, 12, 13, 14, 15
	leaq \n(%rdx), %rcx
	cmpq %rcx, %r\n
	je 2f
	incl %eax
2:
	pshufd $0x4e, %xmm\n, %xmm\n
	movq %xmm\n, %rsi
	cmpq %rcx, %rsi
	je 3f
	incl %eax
3:
	.endr
	addq $16, %rsp
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbp
	popq %rbx
	ret

	.section .note.GNU-stack, "", @progbits
