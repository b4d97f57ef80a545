/* Firmware's image, and its part of the processor's state (firmware.h). */
#include "machine/firmware.h"

#include <cpuid.h>
#include <errno.h>
#include <string.h>

#include "machine/map.h"

#define IMAGE_MIN 0x10000u
#define IMAGE_MAX 0x1000000u
#define SHADOW	  0x20000u

#define MTRR_UC		  0u
#define MTRR_WB		  6u
#define MTRR_FIXED_ENABLE BIT(10)
#define MTRR_ENABLE	  BIT(11)
#define MTRR_VALID	  BIT(11)

void firmware_set_mtrrs(struct x86_state *st, unsigned phys_bits)
{
	const u64 fixed_wb = 0x0606060606060606ull, fixed_uc = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(st->msr.mtrr_fix); i++)
		st->msr.mtrr_fix[i] = fixed_wb;
	st->msr.mtrr_fix[2] = fixed_uc; /* MTRRfix16K_A0000: the hole where VGA would be */
	for (unsigned i = 0; i < X86_MTRR_VAR; i++)
		st->msr.mtrr_base[i] = st->msr.mtrr_mask[i] = 0;
	st->msr.mtrr_base[0] = MAP_LOW_LIMIT | MTRR_UC;
	st->msr.mtrr_mask[0] = (MASK(phys_bits) & ~(MAP_4G - MAP_LOW_LIMIT - 1)) | MTRR_VALID;
	st->msr.mtrr_def = MTRR_WB | MTRR_FIXED_ENABLE | MTRR_ENABLE;
}

int firmware_map(struct ram *ram, const struct machine_blob *image, struct err *e)
{
	int rc;

	if (image->size < IMAGE_MIN || image->size > IMAGE_MAX || image->size % RAM_PAGE)
		return err_set(e, EINVAL,
			       "the firmware image is %zu bytes long: it must be whole pages, 64 KiB to 16 MiB",
			       image->size);
	rc = ram_add(ram, MAP_4G - image->size, image->size, true, e);
	if (rc)
		return rc;
	memcpy(ram_host(ram, MAP_4G - image->size, image->size), image->data, image->size);
	return 0;
}

void firmware_shadow(struct ram *ram, const struct machine_blob *image)
{
	u64 low = MIN(image->size, (size_t)SHADOW);

	memcpy(ram_host(ram, MAP_HIGH - low, low), (const u8 *)image->data + (image->size - low), low);
}

unsigned firmware_host_phys_bits(void)
{
	unsigned a, b, c, d;

	return __get_cpuid(0x80000008, &a, &b, &c, &d) && (a & 0xff) >= 32 ? a & 0xff : 36;
}
