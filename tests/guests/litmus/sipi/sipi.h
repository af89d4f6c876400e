/* What start.S and main.c share. */
#ifndef SIPI_H
#define SIPI_H

/* Vectors, each a page of low memory with a copy of the same code, and the segment of what APs tell. */
#define VECTOR_FIRST 0x10
#define VECTORS 8
#define TOLD_SEGMENT 0x2000

/* A line-sized part for each APIC id, with a count for each vector. */
#define TOLD_SHIFT 7
#define TOLD_STARTS 0
#define TOLD_TICKS 32
#define TOLD_CS 64
#define TOLD_CR0 68
#define TOLD_FLAGS 72

/* What an AP sets in CR0, for INIT to clear: MP and NE. */
#define CR0_SET 0x22

#endif
