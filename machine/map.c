/* The memory map as firmware would report it (map.h). */
#include "machine/map.h"

#include "dev/pci.h"

unsigned map_build(u64 memory, struct map_entry out[MAP_ENTRIES])
{
	const struct map_entry all[] = {
		{0, MAP_EBDA, MAP_RAM},
		{MAP_EBDA, MAP_VGA - MAP_EBDA, MAP_RESERVED},
		{MAP_ACPI, MAP_ACPI_SIZE, MAP_RESERVED},
		{MAP_HIGH, map_low(memory) - MAP_HIGH, MAP_RAM},
		{MAP_ECAM, PCI_ECAM_SIZE, MAP_RESERVED},
		{MAP_4G, map_high(memory), MAP_RAM},
	};
	unsigned n = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(all); i++)
		if (all[i].size)
			out[n++] = all[i];
	return n;
}
