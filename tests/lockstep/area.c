/*
 * Standard XSAVE areas, whose components from 5 on lie elsewhere on AMD's silicon than on Intel's and in our table
 * (arch/x86/xsave.h; CPUID leaf 0Dh tells a guest). Both sides get one content, component by component: before the host
 * runs, its components are put where it looks for them, and afterwards they come back to where ours are.
 */
#include <cpuid.h>
#include <string.h>

#include "arch/x86/xsave.h"
#include "tests/lockstep/lockstep.h"

#define MOVED (XCR0_OPMASK | XCR0_ZMM_HI256 | XCR0_HI16_ZMM)

bool ls_area_usable(void)
{
	for (unsigned i = 5; i < 8; i++) {
		u32 size, off, flags, d;

		__cpuid_count(13, i, size, off, flags, d);
		if (size != xsave_components[i].size || (flags & 2) || off + size > XSAVE_AREA_MAX)
			return false;
	}
	return true;
}

static void move(u8 *to, const u8 *from, bool to_host)
{
	for (unsigned i = 5; i < 8; i++) {
		u32 host = ls_native_offset(i), ours = xsave_components[i].offset;

		memcpy(to + (to_host ? host : ours), from + (to_host ? ours : host), xsave_components[i].size);
	}
}

void ls_area_to_host(struct ls *ls, const struct ls_case *c)
{
	u8 area[XSAVE_AREA_MAX];
	const u8 *before = ls->soft_data + (c->area - LS_DATA);

	memcpy(area, before, sizeof(area));
	move(area, before, true);
	ls_native_poke(c->area, area, sizeof(area));
	memcpy(ls->area_before, before, sizeof(area));
}

void ls_area_from_host(struct ls *ls, const struct ls_case *c)
{
	const u8 *after = ls_native_data() + (c->area - LS_DATA);
	u8 area[XSAVE_AREA_MAX];
	const unsigned same = xsave_components[2].offset + xsave_components[2].size;

	memcpy(area, ls->area_before, sizeof(area));
	memcpy(area, after, same);
	move(area, after, false);
	ls_native_poke(c->area, area, sizeof(area));
}
