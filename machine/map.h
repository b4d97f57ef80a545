/*
 * The board's address map.
 *
 *   0x0000000000  low RAM, up to 3 GiB
 *   0x000009fc00  RAM that is not the operating system's, to 0xfffff;
 *   0x00000e0000  in it the ACPI tables
 *   0x00c0000000  window for PCI memory BARs
 *   0x00e0000000  ECAM of bus 0
 *   0x00fec00000  IOAPIC
 *   0x00fee00000  local APICs
 *   0x0100000000  the rest of RAM
 */
#ifndef MACHINE_MAP_H
#define MACHINE_MAP_H

#include "base/types.h"

#define MAP_EBDA      0x9fc00u
#define MAP_VGA	      0xa0000u
#define MAP_ACPI      0xe0000u
#define MAP_ACPI_SIZE 0x20000u
#define MAP_HIGH      0x100000u /* RAM goes on */
#define MAP_LOW_LIMIT 0xc0000000ull
#define MAP_PCI	      0xc0000000u
#define MAP_ECAM      0xe0000000u
#define MAP_PCI_PORTS 0xc000u /* port BARs */
#define MAP_4G	      0x100000000ull

#define MAP_MIN_RAM 0x200000u

struct map_entry {
	u64 base, size;
	u32 type; /* e820: 1 RAM, 2 reserved */
};

#define MAP_ENTRIES  8
#define MAP_RAM	     1u
#define MAP_RESERVED 2u

static inline u64 map_low(u64 memory) { return MIN(memory, MAP_LOW_LIMIT); }
static inline u64 map_high(u64 memory) { return memory - map_low(memory); }
/* The memory map that an operating system is told, for so many bytes of RAM. Returns the number of entries. */
unsigned map_build(u64 memory, struct map_entry out[MAP_ENTRIES]);

#endif
