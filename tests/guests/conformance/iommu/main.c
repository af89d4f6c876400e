/* An IOMMU (Intel VT-d specification, order D51397) and the device `edu` behind it, on a Q35. */
#include "arrivals.h"
#include "conformance.h"
#include "guest.h"
#include "tests.h"

_Noreturn void guest_main(void)
{
	count_vectors(VECTOR_TEST, 0xef);
	smp_start();
	test_board();
	test_edu();
	test_registers();
	test_translation();
	test_interrupts();
	finish();
}
