/* The items and files of fw_files.h. */
#include "machine/fw_files.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "machine/map.h"

#define TABLES_FILE "etc/acpi/tables"
#define RSDP_FILE   "etc/acpi/rsdp"
#define COM1	    0x3f8u

enum { LINK_ALLOCATE = 1, LINK_POINTER, LINK_CHECKSUM };
enum { ZONE_HIGH = 1, ZONE_FSEG };

struct link {
	u32 command;
	union {
		struct {
			char file[56];
			u32 align;
			u8 zone;
		} __attribute__((packed)) allocate;
		struct {
			char dest[56], src[56];
			u32 offset;
			u8 size;
		} __attribute__((packed)) pointer;
		struct {
			char file[56];
			u32 where, start, size;
		} __attribute__((packed)) sum;
		u8 room[124];
	};
} __attribute__((packed));

struct link_list {
	unsigned n;
	struct link link[2 + ACPI_POINTERS + ACPI_SUMS];
};

static const char *file_of(u32 at) { return at < ACPI_TABLES ? RSDP_FILE : TABLES_FILE; }
static u32 offset_in(u32 at) { return at < ACPI_TABLES ? at : at - ACPI_TABLES; }

static struct link *add_link(struct link_list *list, u32 command)
{
	struct link *l = &list->link[list->n++];

	memset(l, 0, sizeof(*l));
	l->command = command;
	return l;
}

static void add_allocate(struct link_list *list, const char *file, u32 align, u8 zone)
{
	struct link *l = add_link(list, LINK_ALLOCATE);

	snprintf(l->allocate.file, sizeof(l->allocate.file), "%s", file);
	l->allocate.align = align;
	l->allocate.zone = zone;
}

/* Pointers first: the checksums are over what they become. */
static void build_links(struct link_list *list, const struct acpi_links *links)
{
	list->n = 0;
	add_allocate(list, RSDP_FILE, 16, ZONE_FSEG);
	add_allocate(list, TABLES_FILE, 64, ZONE_HIGH);
	for (unsigned i = 0; i < links->pointers; i++) {
		struct link *l = add_link(list, LINK_POINTER);

		snprintf(l->pointer.dest, sizeof(l->pointer.dest), "%s", file_of(links->pointer[i].at));
		snprintf(l->pointer.src, sizeof(l->pointer.src), "%s", TABLES_FILE);
		l->pointer.offset = offset_in(links->pointer[i].at);
		l->pointer.size = (u8)links->pointer[i].size;
	}
	for (unsigned i = 0; i < links->sums; i++) {
		struct link *l = add_link(list, LINK_CHECKSUM);

		snprintf(l->sum.file, sizeof(l->sum.file), "%s", file_of(links->sum[i].start));
		l->sum.where = offset_in(links->sum[i].where);
		l->sum.start = offset_in(links->sum[i].start);
		l->sum.size = links->sum[i].size;
	}
}

/* A pointer field holds the offset into the file that it points to, until firmware adds where it put that file; a
 * checksum field holds 0. */
static void unlink_tables(u8 *base, const struct acpi_links *links)
{
	for (unsigned i = 0; i < links->pointers; i++) {
		u64 v = 0;

		memcpy(&v, base + links->pointer[i].at, links->pointer[i].size);
		v -= ACPI_TABLES;
		memcpy(base + links->pointer[i].at, &v, links->pointer[i].size);
	}
	for (unsigned i = 0; i < links->sums; i++)
		base[links->sum[i].where] = 0;
}

static int add_acpi(struct fw_cfg *f, const struct acpi_config *acpi, struct err *e)
{
	struct link_list list;
	struct acpi_links links;
	u8 *base = malloc(MAP_ACPI_SIZE);
	u32 end;
	int rc;

	if (!base)
		return err_set(e, ENOMEM, "no memory for the ACPI tables");
	end = acpi_write(base, 0, acpi, &links);
	unlink_tables(base, &links);
	build_links(&list, &links);
	rc = fw_cfg_add_file(f, TABLES_FILE, base + ACPI_TABLES, end - ACPI_TABLES, e);
	if (!rc)
		rc = fw_cfg_add_file(f, RSDP_FILE, base, ACPI_RSDP_SIZE, e);
	if (!rc)
		rc = fw_cfg_add_file(f, "etc/table-loader", list.link, list.n * sizeof(list.link[0]), e);
	free(base);
	return rc;
}

/* RAM and what is reserved, but not the first MiB, which firmware knows best. */
static int add_e820(struct fw_cfg *f, u64 memory, struct err *e)
{
	struct {
		u64 base, size;
		u32 type;
	} __attribute__((packed)) row[3] = {
		{0, map_low(memory), MAP_RAM},
		{MAP_4G, map_high(memory), MAP_RAM},
	};

	return fw_cfg_add_file(f, "etc/e820", row, (map_high(memory) ? 2 : 1) * sizeof(row[0]), e);
}

int fw_files_add(struct fw_cfg *f, const struct machine_config *cfg, const struct acpi_config *acpi, struct err *e)
{
	const u16 com1 = COM1;
	int rc = fw_cfg_add_number(f, FW_CFG_RAM_SIZE, cfg->memory, 8, e);

	if (!rc)
		rc = fw_cfg_add_number(f, FW_CFG_NB_CPUS, cfg->vcpus, 2, e);
	if (!rc)
		rc = fw_cfg_add_number(f, FW_CFG_MAX_CPUS, cfg->vcpus, 2, e);
	if (!rc)
		rc = fw_cfg_add_number(f, FW_CFG_IRQ0, acpi->irq0_gsi != 0, 1, e);
	if (!rc && cfg->kernel.size && !cfg->bios.size)
		rc = fw_cfg_add(f, FW_CFG_KERNEL_DATA, cfg->kernel.data, cfg->kernel.size, e);
	if (!rc)
		rc = add_e820(f, cfg->memory, e);
	if (!rc)
		rc = fw_cfg_add_file(f, "etc/sercon-port", &com1, sizeof(com1), e);
	if (!rc)
		rc = add_acpi(f, acpi, e);
	return rc;
}
