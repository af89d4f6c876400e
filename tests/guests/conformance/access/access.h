/* What the two halves of the guest share. */
#ifndef ACCESS_H
#define ACCESS_H

#define KIND_READ 0
#define KIND_WRITE 1
#define KIND_FETCH 2

/* A page of code and stack for ring 3: paging.h's WINDOW. */
#define USER_PAGE 0x80000000
#define USER_STACK 0x80001000

#define VECTOR_ACCESSED 0x61
#define OPCODE_RET 0xc3

#define CR0_WP 0x00010000
#define CR0_PG 0x80000000
#define CR4_LA57 0x00001000
#define CR4_SMEP 0x00100000
#define CR4_SMAP 0x00200000
#define CR4_PKE 0x00400000
#define CR4_PKS 0x01000000

#endif
