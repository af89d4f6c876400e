/* Control registers and what they switch: what they refuse, SMAP's instructions, protection keys (SDM vol. 3, 2.5, 4.6;
 * vol. 2). Which access is allowed under which of them is the guest `access`. */
#include "guest.h"
#include "layout.h"
#include "paging.h"
#include "ring3.h"
#include "string.h"
#include "tests.h"

static uint8_t page[PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));

static void leave(struct interrupt_frame *frame)
{
	if ((frame->cs & 3) == 0) {
		skip_fault(frame);
		return;
	}
	record(frame);
	ring3_leave(0);
}

static void finished(struct interrupt_frame *frame)
{
	(void)frame;
	ring3_leave(0);
}

void in_ring3(const uint8_t *code, unsigned size)
{
	memset(page, 0x90, PAGE_BYTES);
	memcpy(page, code, size);
	page[size] = 0xcd;
	page[size + 1] = VECTOR_TEST;
	map_page(WINDOW, page, PTE_P | PTE_W | PTE_U);
	seen = (struct seen){ 0 };
	ring3_enter(WINDOW, WINDOW + PAGE_BYTES, 2, USER_CODE | 3);
}

_Noreturn void guest_main(void)
{
	set_handler(VECTOR_UD, leave);
	set_handler(VECTOR_GP, leave);
	set_handler(VECTOR_PF, leave);
	set_handler(VECTOR_TEST, finished);
	allow_from_ring3(VECTOR_TEST);
	test_control_registers();
	test_smap();
	test_protection_keys();
	finish();
}
