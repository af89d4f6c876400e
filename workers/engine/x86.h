/* Bits of the control registers, RFLAGS, EFER and IA32_APIC_BASE, and the vectors of exceptions, as the SDM names
 * them (vol. 3: 2.5, 2.3, 2.2.1, 10.4.4, table 6-1).
 */
#ifndef MPVM_X86_H
#define MPVM_X86_H

#define CR0_PE (1u << 0)
#define CR0_MP (1u << 1)
#define CR0_EM (1u << 2)
#define CR0_TS (1u << 3)
#define CR0_ET (1u << 4)
#define CR0_NE (1u << 5)
#define CR0_WP (1u << 16)
#define CR0_AM (1u << 18)
#define CR0_NW (1u << 29)
#define CR0_CD (1u << 30)
#define CR0_PG (1u << 31)

#define CR4_TSD (1u << 2)
#define CR4_DE (1u << 3)
#define CR4_PSE (1u << 4)
#define CR4_PAE (1u << 5)
#define CR4_PGE (1u << 7)
#define CR4_PCE (1u << 8)
#define CR4_OSFXSR (1u << 9)
#define CR4_OSXMMEXCPT (1u << 10)
#define CR4_UMIP (1u << 11)
#define CR4_LA57 (1u << 12)
#define CR4_FSGSBASE (1u << 16)
#define CR4_OSXSAVE (1u << 18)
#define CR4_SMEP (1u << 20)
#define CR4_SMAP (1u << 21)
#define CR4_PKE (1u << 22)
#define CR4_PKS (1u << 24)

#define EFLAGS_TF (1u << 8)
#define EFLAGS_IF (1u << 9)
#define EFLAGS_DF (1u << 10)
#define EFLAGS_IOPL_SHIFT 12
#define EFLAGS_IOPL (3u << EFLAGS_IOPL_SHIFT)
#define EFLAGS_NT (1u << 14)
#define EFLAGS_RF (1u << 16)
#define EFLAGS_VM (1u << 17)
#define EFLAGS_AC (1u << 18)
#define EFLAGS_VIF (1u << 19)
#define EFLAGS_VIP (1u << 20)
#define EFLAGS_ID (1u << 21)

#define EFER_SCE (1u << 0)
#define EFER_LME (1u << 8)
#define EFER_LMA (1u << 10)
#define EFER_NXE (1u << 11)
#define EFER_FFXSR (1u << 14)

#define CPUID_1_ECX_X2APIC (1u << 21)
#define CPUID_1_ECX_TSC_DEADLINE (1u << 24)

#define APIC_BASE_EXTD (1u << 10)
#define APIC_BASE_ENABLE (1u << 11)

#define CPUID_EXT3_CR8LEG (1u << 4) /* 8000_0001h, ECX */

#define EXCP_DE 0
#define EXCP_DB 1
#define EXCP_NMI 2
#define EXCP_BP 3
#define EXCP_BR 5
#define EXCP_UD 6
#define EXCP_NM 7
#define EXCP_DF 8
#define EXCP_TS 10
#define EXCP_NP 11
#define EXCP_SS 12
#define EXCP_GP 13
#define EXCP_PF 14
#define EXCP_MF 16
#define EXCP_AC 17
#define EXCP_XM 19

#endif
