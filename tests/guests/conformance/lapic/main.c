/* The local APIC in xAPIC mode (SDM vol. 3, chapter 10): registers, priorities, IPIs, errors. Any smp. */
#include "arrivals.h"
#include "conformance.h"
#include "guest.h"
#include "tests.h"

_Noreturn void guest_main(void)
{
	count_vectors(VECTOR_TEST, 0xef);
	smp_start();
	test_registers();
	test_priority();
	test_precision();
	test_destinations();
	test_errors();
	test_local_vector_table();
	finish();
}
