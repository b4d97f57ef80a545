/*
 * Building the tables: a cursor that appends little-endian fields in the order of the specification's tables, and a
 * checksum at each end (acpi.h).
 */
#include "machine/acpi.h"

#include <assert.h>
#include <string.h>

#include "core/vm.h"
#include "dev/hpet.h"
#include "dev/ioapic.h"
#include "dev/lapic.h"
#include "dev/pci.h"
#include "dev/pm.h"
#include "machine/map.h"

#define SCI	     9u
#define CMOS_CENTURY 0x32u

struct writer {
	u8 *base;
	u64 origin; /* the guest's address of base[0] */
	u32 at;
	struct acpi_links *links;
};

static void put(struct writer *w, unsigned size, u64 value)
{
	assert(w->at + size <= MAP_ACPI_SIZE);
	memcpy(w->base + w->at, &value, size);
	w->at += size;
}

static void put_text(struct writer *w, const char *text, unsigned size)
{
	assert(w->at + size <= MAP_ACPI_SIZE && strlen(text) <= size);
	memset(w->base + w->at, 0, size);
	memcpy(w->base + w->at, text, strlen(text));
	w->at += size;
}

/* A pointer to the table that starts at `to`. */
static void put_address(struct writer *w, unsigned size, u32 to)
{
	assert(w->links->pointers < ACPI_POINTERS);
	w->links->pointer[w->links->pointers++] = (struct acpi_pointer){w->at, size};
	put(w, size, w->origin + to);
}

static void set_checksum(struct writer *w, u32 start, u32 size, u32 where)
{
	u8 sum = 0;

	assert(w->links->sums < ACPI_SUMS);
	w->links->sum[w->links->sums++] = (struct acpi_sum){where, start, size};
	w->base[where] = 0;
	for (u32 i = 0; i < size; i++)
		sum += w->base[start + i];
	w->base[where] = (u8)-sum;
}

/* 5.2.6 "System Description Table Header". Returns where the table starts; table_end fills length and checksum. */
static u32 table_begin(struct writer *w, const char *signature, u8 revision)
{
	u32 start;

	w->at = (u32)ALIGN_UP(w->at, 64);
	start = w->at;
	put_text(w, signature, 4);
	put(w, 4, 0);
	put(w, 1, revision);
	put(w, 1, 0);
	put_text(w, "NESTBX", 6);
	put_text(w, "NESTBOX", 8);
	put(w, 4, 1);
	put_text(w, "NSTB", 4);
	put(w, 4, 1);
	return start;
}

static void table_end(struct writer *w, u32 start)
{
	u32 size = w->at - start;

	memcpy(w->base + start + 4, &size, 4);
	set_checksum(w, start, size, start + 9);
}

static u32 build_dsdt(struct writer *w)
{
	u32 start = w->at = (u32)ALIGN_UP(w->at, 64), size;
	const u8 *dsdt = acpi_dsdt(&size);

	assert(w->at + size <= MAP_ACPI_SIZE);
	memcpy(w->base + start, dsdt, size);
	w->at += size;
	return start;
}

/* 5.2.10 "Firmware ACPI Control Structure": no checksum, 64 bytes. */
static u32 build_facs(struct writer *w)
{
	u32 start = w->at = (u32)ALIGN_UP(w->at, 64);

	put_text(w, "FACS", 4);
	put(w, 4, 64);
	for (unsigned i = 0; i < 24; i++)
		put(w, 1, 0);
	put(w, 1, 2); /* version */
	while (w->at < start + 64)
		put(w, 1, 0);
	return start;
}

/* 5.2.3.2 "Generic Address Structure": ports. */
static void put_gas(struct writer *w, unsigned bits, unsigned access, u32 port)
{
	put(w, 1, 1);
	put(w, 1, bits);
	put(w, 1, 0);
	put(w, 1, access);
	put(w, 8, port);
}

static void put_gas_none(struct writer *w)
{
	put(w, 4, 0);
	put(w, 8, 0);
}

/* 5.2.9 "Fixed ACPI Description Table", revision 6.4. */
static u32 build_fadt(struct writer *w, u32 facs, u32 dsdt)
{
	u32 start = table_begin(w, "FACP", 6);

	put_address(w, 4, facs);
	put_address(w, 4, dsdt);
	put(w, 1, 0);
	put(w, 1, 0); /* Preferred_PM_Profile: unspecified */
	put(w, 2, SCI);
	put(w, 4, 0); /* SMI_CMD: ACPI is always on */
	put(w, 4, 0); /* ACPI_ENABLE, ACPI_DISABLE, S4BIOS_REQ, PSTATE_CNT */
	put(w, 4, PM_BASE + PM_EVT);
	put(w, 4, 0);
	put(w, 4, PM_BASE + PM_CNT);
	put(w, 4, 0);
	put(w, 4, 0);
	put(w, 4, PM_BASE + PM_TIMER);
	put(w, 4, PM_BASE + PM_GPE0);
	put(w, 4, 0);
	put(w, 1, 4); /* PM1_EVT_LEN */
	put(w, 1, 2); /* PM1_CNT_LEN */
	put(w, 1, 0);
	put(w, 1, 4); /* PM_TMR_LEN */
	put(w, 1, PM_GPE0_LEN);
	put(w, 3, 0);	  /* GPE1_BLK_LEN, GPE1_BASE, CST_CNT */
	put(w, 2, 0xfff); /* P_LVL2_LAT, P_LVL3_LAT: no C2, no C3 */
	put(w, 2, 0xfff);
	put(w, 4, 0); /* FLUSH_SIZE, FLUSH_STRIDE */
	put(w, 2, 0); /* DUTY_OFFSET, DUTY_WIDTH */
	put(w, 2, 0); /* DAY_ALRM, MON_ALRM */
	put(w, 1, CMOS_CENTURY);
	/* IAPC_BOOT_ARCH: LEGACY_DEVICES, no VGA. No 8042: there is no keyboard behind it to look for. */
	put(w, 2, BIT(0) | BIT(2));
	put(w, 1, 0);
	/* WBINVD, PROC_C1, no sleep button, no RTC wake status, 32-bit timer, reset register. */
	put(w, 4, BIT(0) | BIT(2) | BIT(5) | BIT(6) | BIT(8) | BIT(10));
	put_gas(w, 8, 1, PM_RESET_PORT);
	put(w, 1, PM_RESET_VALUE);
	put(w, 2, 0);
	put(w, 1, 4); /* minor version */
	put(w, 8, 0); /* X_FIRMWARE_CTRL: the 32-bit one holds it */
	put_address(w, 8, dsdt);
	put_gas(w, 32, 2, PM_BASE + PM_EVT);
	put_gas_none(w);
	put_gas(w, 16, 2, PM_BASE + PM_CNT);
	put_gas_none(w);
	put_gas_none(w);
	put_gas(w, 32, 3, PM_BASE + PM_TIMER);
	put_gas(w, PM_GPE0_LEN * 8, 1, PM_BASE + PM_GPE0);
	put_gas_none(w);
	put_gas_none(w); /* SLEEP_CONTROL_REG, SLEEP_STATUS_REG: hardware-reduced only */
	put_gas_none(w);
	put(w, 8, 0);
	assert(w->at - start == 276);
	table_end(w, start);
	return start;
}

static void put_override(struct writer *w, unsigned irq, unsigned gsi, u16 flags)
{
	put(w, 1, 2);
	put(w, 1, 10);
	put(w, 1, 0);
	put(w, 1, irq);
	put(w, 4, gsi);
	put(w, 2, flags);
}

/* APIC IDs above 254 need the x2APIC form (5.2.12.12 "Processor Local x2APIC Structure"). */
static void put_processor(struct writer *w, unsigned id)
{
	if (id < 255) {
		put(w, 1, 0);
		put(w, 1, 8);
		put(w, 1, id);
		put(w, 1, id);
		put(w, 4, 1);
	} else {
		put(w, 1, 9);
		put(w, 1, 16);
		put(w, 2, 0);
		put(w, 4, id);
		put(w, 4, 1);
		put(w, 4, id);
	}
}

/* 5.2.12 "Multiple APIC Description Table". */
static u32 build_madt(struct writer *w, const struct acpi_config *cfg)
{
	const u16 level_high = 0x000d;
	u32 start = table_begin(w, "APIC", 5);

	put(w, 4, LAPIC_BASE);
	put(w, 4, 1); /* PCAT_COMPAT: there is a pair of 8259s */
	for (unsigned i = 0; i < cfg->vcpus; i++)
		put_processor(w, i);
	put(w, 1, 1);
	put(w, 1, 12);
	put(w, 1, 0); /* IOAPIC ID as it is after reset */
	put(w, 1, 0);
	put(w, 4, IOAPIC_BASE);
	put(w, 4, 0);
	if (cfg->irq0_gsi)
		put_override(w, 0, cfg->irq0_gsi, 0);
	put_override(w, SCI, SCI, level_high);
	/* NMI is wired to LINT1 of every processor. */
	put(w, 1, 4);
	put(w, 1, 6);
	put(w, 1, 0xff);
	put(w, 2, 0);
	put(w, 1, 1);
	table_end(w, start);
	return start;
}

/* PCI Firmware Specification 3.0, 4.1.2 "MCFG Table Description". */
static u32 build_mcfg(struct writer *w)
{
	u32 start = table_begin(w, "MCFG", 1);

	put(w, 8, 0);
	put(w, 8, MAP_ECAM);
	put(w, 2, 0);
	put(w, 1, 0);
	put(w, 1, PCI_ECAM_SIZE / 0x100000 - 1);
	put(w, 4, 0);
	table_end(w, start);
	return start;
}

/* IA-PC HPET Specification 1.0a, 3.2.4 "The ACPI 2.0 HPET Description Table (HPET)". */
static u32 build_hpet(struct writer *w)
{
	u32 start = table_begin(w, "HPET", 1);

	put(w, 4, HPET_ID);
	put(w, 1, 0); /* memory */
	put(w, 1, 64);
	put(w, 1, 0);
	put(w, 1, 0);
	put(w, 8, HPET_BASE);
	put(w, 1, 0);
	put(w, 2, 128); /* shortest period, in ticks, that loses no interrupt */
	put(w, 1, 0);
	table_end(w, start);
	return start;
}

static u32 build_xsdt(struct writer *w, const u32 *tables, unsigned n)
{
	u32 start = table_begin(w, "XSDT", 1);

	for (unsigned i = 0; i < n; i++)
		put_address(w, 8, tables[i]);
	table_end(w, start);
	return start;
}

u32 acpi_write(u8 *base, u64 origin, const struct acpi_config *cfg, struct acpi_links *links)
{
	struct writer w = {.base = base, .origin = origin, .links = links};
	u32 tables[4], n = 0, facs, dsdt, xsdt, end;

	memset(w.base, 0, MAP_ACPI_SIZE);
	*links = (struct acpi_links){0};
	w.at = ACPI_TABLES; /* the RSDP goes first, where the scan of 0xe0000-0xfffff finds it at once */
	facs = build_facs(&w);
	dsdt = build_dsdt(&w);
	tables[n++] = build_fadt(&w, facs, dsdt);
	tables[n++] = build_madt(&w, cfg);
	tables[n++] = build_mcfg(&w);
	if (cfg->hpet)
		tables[n++] = build_hpet(&w);
	xsdt = build_xsdt(&w, tables, n);
	end = w.at;
	/* 5.2.5.3 "Root System Description Pointer (RSDP) Structure". */
	w.at = 0;
	put_text(&w, "RSD PTR ", 8);
	put(&w, 1, 0);
	put_text(&w, "NESTBX", 6);
	put(&w, 1, 2);
	put(&w, 4, 0); /* no RSDT: revision 2 readers take the XSDT */
	put(&w, 4, 36);
	put_address(&w, 8, xsdt);
	put(&w, 4, 0);
	set_checksum(&w, 0, 20, 8);
	set_checksum(&w, 0, 36, 32);
	return end;
}

u64 acpi_build(struct ram *ram, const struct acpi_config *cfg)
{
	struct acpi_links links;

	acpi_write(ram_host(ram, MAP_ACPI, MAP_ACPI_SIZE), MAP_ACPI, cfg, &links);
	return MAP_ACPI;
}
