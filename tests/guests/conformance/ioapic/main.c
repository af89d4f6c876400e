/* The I/O APIC (82093AA data sheet; SDM vol. 3, 10.8.5): registers, edges and levels, destinations, delivery modes.
 *
 * Any smp. Needs pc-testdev, whose port drives a line. */
#include "arrivals.h"
#include "conformance.h"
#include "guest.h"
#include "tests.h"

_Noreturn void guest_main(void)
{
	count_vectors(VECTOR_TEST, 0xef);
	smp_start();
	test_registers();
	test_edge();
	test_level();
	test_destinations();
	test_delivery_modes();
	test_suppressed_broadcast();
	finish();
}
