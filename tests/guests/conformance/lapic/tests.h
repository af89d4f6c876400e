/* The parts of the lapic guest; main.c runs them in this order. */
#ifndef LAPIC_TESTS_H
#define LAPIC_TESTS_H

#define APIC_APR 0x090
#define APIC_TMR 0x180
#define APIC_LVT_THERMAL 0x330
#define APIC_LVT_PERFORMANCE 0x340
#define LVT_NMI 0x400
#define ICR_LOWEST_PRIORITY 0x100

#define CPUID_1_EDX_APIC (1u << 9)

void test_registers(void);
void test_priority(void);
void test_precision(void);
void test_destinations(void);
void test_errors(void);
void test_local_vector_table(void);

#endif
