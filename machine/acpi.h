/*
 * The board's ACPI tables (ACPI Specification 6.4, ch. 5 "ACPI Software Programming Model"): RSDP, XSDT, FADT, FACS,
 * MADT, MCFG, and the DSDT that iasl compiled from dsdt.asl. They lie at MAP_ACPI, where an operating system looks for
 * the RSDP by itself, too.
 */
#ifndef MACHINE_ACPI_H
#define MACHINE_ACPI_H

#include "core/ram.h"

struct acpi_config {
	unsigned vcpus;
	unsigned irq0_gsi; /* the IOAPIC input that ISA IRQ 0 is wired to */
};

/* Writes the tables into RAM; returns the address of the RSDP. There is RAM at MAP_ACPI. */
u64 acpi_build(struct ram *ram, const struct acpi_config *cfg);

/* dsdt.c: the compiled DSDT. */
const u8 *acpi_dsdt(u32 *size);

#endif
