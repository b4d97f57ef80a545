/*
 * What firmware is told through fw_cfg: memory, processors, the memory map, where to print, and the ACPI tables with
 * the commands by which firmware links them (QEMU, docs/specs/acpi_hw_reduced and hw/acpi/bios-linker-loader: commands
 * ALLOCATE, ADD_POINTER, ADD_CHECKSUM of 128 bytes each).
 */
#ifndef MACHINE_FW_FILES_H
#define MACHINE_FW_FILES_H

#include "dev/fw_cfg.h"
#include "machine/acpi.h"
#include "machine/machine.h"

int fw_files_add(struct fw_cfg *f, const struct machine_config *cfg, const struct acpi_config *acpi, struct err *e);

#endif
