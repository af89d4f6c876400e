/* Intel's remapping unit as QEMU's intel-iommu has it: DMA of edu, its messages, and a pin of the I/O APIC. */
#include "arrivals.h"
#include "conformance.h"
#include "edu.h"
#include "guest.h"
#include "vtd.h"

_Noreturn void guest_main(void)
{
	pic_mask_all();
	interrupts_on();
	count_vectors(0x90, 0xaf);
	CHECK("edu is there", edu_find(), 1);
	edu_command(PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	test_registers();
	test_queue();
	test_translation();
	test_interrupts();
	finish();
}
