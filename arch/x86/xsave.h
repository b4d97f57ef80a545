/*
 * Layout of the XSAVE area: pure functions that CPUID leaf 0Dh and the XSAVE instructions share.
 *
 * SDM vol. 1 13.4 "XSAVE Area"; APM vol. 3 E.4.12 "Processor Extended State Enumeration". Offsets of the standard
 * format are those that all processors report; components above the header of the compacted format follow one another
 * in order (none of ours asks for 64-byte alignment).
 */
#ifndef ARCH_X86_XSAVE_H
#define ARCH_X86_XSAVE_H

#include "arch/x86/bits.h"

#define XSAVE_LEGACY	 512u /* x87 and SSE */
#define XSAVE_HEADER	 64u
#define XSAVE_BASE	 (XSAVE_LEGACY + XSAVE_HEADER)
#define XSAVE_AREA_MAX	 2696u /* standard format, all components below */
#define XSAVE_COMPONENTS 10u

#define XCOMP_COMPACT BIT(63)

struct xsave_component {
	u16 offset; /* standard format */
	u16 size;   /* 0: no such component */
};

static const struct xsave_component xsave_components[XSAVE_COMPONENTS] = {
	[0] = {0, 160},	    /* x87: header words and ST registers within the legacy area */
	[1] = {160, 256},   /* XMM0-15 within the legacy area */
	[2] = {576, 256},   /* upper halves of YMM0-15 */
	[5] = {1088, 64},   /* opmask k0-7 */
	[6] = {1152, 512},  /* upper halves of ZMM0-15 */
	[7] = {1664, 1024}, /* ZMM16-31 */
	[9] = {2688, 8},    /* PKRU */
};

#define XSAVE_KNOWN (XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_OPMASK | XCR0_ZMM_HI256 | XCR0_HI16_ZMM | XCR0_PKRU)

/* Bytes of a standard-format area that holds `mask` (CPUID.0Dh.0:EBX for XCR0). */
static inline u32 xsave_standard_size(u64 mask)
{
	u32 end = XSAVE_BASE;

	for (unsigned i = 2; i < XSAVE_COMPONENTS; i++)
		if (mask & BIT(i))
			end = MAX(end, (u32)xsave_components[i].offset + xsave_components[i].size);
	return end;
}

/* Bytes of a compacted area that holds `mask` (CPUID.0Dh.1:EBX for XCR0 | IA32_XSS). */
static inline u32 xsave_compact_size(u64 mask)
{
	u32 end = XSAVE_BASE;

	for (unsigned i = 2; i < XSAVE_COMPONENTS; i++)
		if (mask & BIT(i))
			end += xsave_components[i].size;
	return end;
}

/* Where component i lies in a compacted area whose XCOMP_BV is `mask`. */
static inline u32 xsave_compact_offset(u64 mask, unsigned i)
{
	return i < 2 ? xsave_components[i].offset : xsave_compact_size(mask & MASK(i));
}

/* SDM vol. 1 13.3 "Enabling the XSAVE Feature Set": whether XSETBV accepts `v` where the model supports `supported`. */
static inline bool xcr0_valid(u64 v, u64 supported)
{
	const u64 avx512 = XCR0_OPMASK | XCR0_ZMM_HI256 | XCR0_HI16_ZMM;

	if ((v & ~supported) || !(v & XCR0_X87))
		return false;
	if ((v & XCR0_AVX) && !(v & XCR0_SSE))
		return false;
	if ((v & avx512) && ((v & avx512) != avx512 || !(v & XCR0_AVX)))
		return false;
	return true;
}

#endif
