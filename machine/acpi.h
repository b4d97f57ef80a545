/*
 * The board's ACPI tables (ACPI Specification 6.4, ch. 5 "ACPI Software Programming Model"): RSDP, XSDT, FADT, FACS,
 * MADT, MCFG, HPET, and the DSDT that iasl compiled from dsdt.asl. They lie at MAP_ACPI, where an operating system
 * looks for the RSDP by itself, too.
 */
#ifndef MACHINE_ACPI_H
#define MACHINE_ACPI_H

#include "core/ram.h"

struct acpi_config {
	unsigned vcpus;
	bool hpet;
	unsigned irq0_gsi; /* the IOAPIC input that ISA IRQ 0 is wired to */
};

#define ACPI_RSDP_SIZE 36u
#define ACPI_TABLES    64u /* where the tables start; the RSDP lies before them */
#define ACPI_POINTERS  32u
#define ACPI_SUMS      16u

/* What must be mended when the tables move: offsets from the RSDP. */
struct acpi_links {
	unsigned pointers, sums;
	struct acpi_pointer {
		u32 at, size;
	} pointer[ACPI_POINTERS];
	struct acpi_sum {
		u32 where, start, size;
	} sum[ACPI_SUMS];
};

/* Writes them to base, MAP_ACPI_SIZE bytes that the guest sees at `origin`. Returns the bytes used. */
u32 acpi_write(u8 *base, u64 origin, const struct acpi_config *cfg, struct acpi_links *links);
/* Writes the tables into RAM; returns the address of the RSDP. There is RAM at MAP_ACPI. */
u64 acpi_build(struct ram *ram, const struct acpi_config *cfg);

/* dsdt.c: the compiled DSDT. */
const u8 *acpi_dsdt(u32 *size);

#endif
