/* The DSDT as iasl compiled it from dsdt.asl: its output begins with "unsigned char dsdt_aml_code[]". */
#include "machine/acpi.h"

/* clang-format off */
static const
#include "machine/dsdt.hex"

const u8 *acpi_dsdt(u32 *size)
{
	*size = sizeof(dsdt_aml_code);
	return dsdt_aml_code;
}
