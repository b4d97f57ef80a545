/*
 * The loader and the tables: a made-up bzImage loaded, refused, truncated and corrupted; the memory map; ACPI checksums
 * and pointers.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <asm/bootparam.h>
#include <cmocka.h>

#include "arch/x86/state.h"
#include "machine/acpi.h"
#include "machine/bzimage.h"
#include "machine/firmware.h"

#define SETUP  1024u
#define CODE   0x4000u
#define MEMORY (64u << 20)

static u8 file[SETUP + CODE];

static struct setup_header *header(void) { return (struct setup_header *)(file + 0x1f1); }

static struct machine_blob make(void)
{
	struct setup_header *h = header();

	for (unsigned i = 0; i < sizeof(file); i++)
		file[i] = (u8)(i * 7);
	memset(h, 0, sizeof(*h));
	h->setup_sects = SETUP / 512 - 1;
	h->syssize = CODE / 16;
	h->boot_flag = 0xaa55;
	h->jump = 0xeb | 0x6a << 8;
	h->header = 0x53726448;
	h->version = 0x020f;
	h->kernel_version = 0x100;
	h->loadflags = LOADED_HIGH;
	h->initrd_addr_max = 0x7fffffff;
	h->kernel_alignment = 0x200000;
	h->relocatable_kernel = 1;
	h->xloadflags = XLF_KERNEL_64;
	h->cmdline_size = 2047;
	h->pref_address = 0x1000000;
	h->init_size = 0x100000;
	strcpy((char *)file + 0x300, "6.1.0-test (me@here)");
	return (struct machine_blob){file, sizeof(file)};
}

static void refused(const struct machine_blob *b, const char *words)
{
	struct bzimage k;
	struct err e = {0};

	assert_int_equal(bzimage_parse(b, &k, &e), -EINVAL);
	if (!strstr(e.text, words))
		fail_msg("\"%s\" does not say \"%s\"", e.text, words);
}

static void parses(void **state)
{
	struct machine_blob b = make();
	struct bzimage k;

	assert_int_equal(bzimage_parse(&b, &k, NULL), 0);
	assert_string_equal(k.version, "6.1.0-test (me@here)");
	assert_ptr_equal(k.code, file + SETUP);
	assert_int_equal(k.code_size, CODE);
}

static void refuses(void **state)
{
	struct machine_blob b = make();

	b.size -= 16;
	refused(&b, "truncated");
	b.size = 100;
	refused(&b, "too short");
	b.size = 0;
	refused(&b, "too short");
	b = make();
	header()->header++;
	refused(&b, "boot header");
	b = make();
	header()->version = 0x20b;
	refused(&b, "2.11");
	b = make();
	header()->xloadflags = 0;
	refused(&b, "64-bit");
	b = make();
	header()->syssize = ~0u;
	refused(&b, "truncated");
	b = make();
	header()->kernel_alignment = 3;
	refused(&b, "alignment");
	b = make();
	header()->jump = 0xeb;
	refused(&b, "header has a wrong length");
}

static struct ram *new_ram(u64 size)
{
	static struct ram r;

	memset(&r, 0, sizeof(r));
	assert_int_equal(ram_add(&r, 0, size, false, NULL), 0);
	return &r;
}

static void loads(void **state)
{
	struct machine_blob b = make();
	struct ram *ram = new_ram(MEMORY);
	struct bzimage k;
	struct boot_entry entry;
	struct boot_args args = {&k, {"initrd!", 7}, "console=ttyS0", 0xe0000, MEMORY};
	struct boot_params *p;
	struct x86_state *st = calloc(1, sizeof(*st));

	assert_int_equal(bzimage_parse(&b, &k, NULL), 0);
	assert_int_equal(bzimage_load(ram, &args, &entry, NULL), 0);
	assert_int_equal(entry.rip, 0x1000200);
	assert_memory_equal(ram_host(ram, 0x1000000, CODE), file + SETUP, CODE);
	p = ram_host(ram, entry.zero_page, sizeof(*p));
	assert_int_equal(p->hdr.header, 0x53726448);
	assert_int_equal(p->hdr.type_of_loader, 0xff);
	assert_string_equal(ram_host(ram, p->hdr.cmd_line_ptr, 64), "console=ttyS0");
	assert_int_equal(p->hdr.ramdisk_size, 7);
	assert_int_equal(p->hdr.ramdisk_image, MEMORY - 4096);
	assert_memory_equal(ram_host(ram, p->hdr.ramdisk_image, 7), "initrd!", 7);
	assert_int_equal(p->acpi_rsdp_addr, 0xe0000);
	assert_int_equal(p->e820_entries, 5);
	assert_int_equal(p->e820_table[3].addr, 0x100000);
	assert_int_equal(p->e820_table[3].size, MEMORY - 0x100000);
	x86_reset(st, X86_AMD, 0x800f12, false);
	bzimage_state(st, &entry);
	firmware_set_mtrrs(st, 40);
	assert_int_equal(st->gpr[RSI], entry.zero_page);
	assert_int_equal(st->msr.mtrr_mask[0], 0xffc0000800ull);
	/* The tables map the kernel to itself. */
	u64 *pml4 = ram_host(ram, st->cr3, 4096);
	u64 *pdpt = ram_host(ram, pml4[0] & ~0xfffull, 4096);
	u64 *pd = ram_host(ram, pdpt[3] & ~0xfffull, 4096);
	assert_int_equal(pd[511], 0xffe00000 | PTE_P | PTE_W | PTE_PS);
	free(st);
	ram_destroy(ram);
}

static void does_not_fit(void **state)
{
	struct machine_blob b = make();
	struct ram *ram = new_ram(MEMORY);
	static char line[3000];
	struct bzimage k;
	struct boot_entry entry;
	struct boot_args args = {&k, {0}, "", 0, MEMORY};
	struct err e = {0};

	assert_int_equal(bzimage_parse(&b, &k, NULL), 0);
	args.memory = 16u << 20;
	assert_int_equal(bzimage_load(ram, &args, &entry, &e), -ENOSPC);
	args.memory = MEMORY;
	args.initrd = (struct machine_blob){file, MEMORY};
	assert_int_equal(bzimage_load(ram, &args, &entry, &e), -ENOSPC);
	args.initrd.size = ~0ull;
	assert_int_equal(bzimage_load(ram, &args, &entry, &e), -ENOSPC);
	args.initrd.size = 0;
	memset(line, 'x', sizeof(line) - 1);
	args.cmdline = line;
	assert_int_equal(bzimage_load(ram, &args, &entry, &e), -EINVAL);
	ram_destroy(ram);
}

/* Any file, however spoiled, is an error with words or a kernel within RAM; the sanitizers watch. */
static void spoiled(void **state)
{
	struct ram *ram = new_ram(MEMORY);
	unsigned seed = 3, good = 0;

	for (unsigned round = 0; round < 20000; round++) {
		struct machine_blob b = make();
		struct bzimage k;
		struct boot_entry entry;
		struct boot_args args = {&k, {file, 100}, "x", 0xe0000, MEMORY};
		struct err e = {0};
		u8 *copy;

		for (unsigned n = (unsigned)rand_r(&seed) % 4; n; n--)
			((u8 *)header())[(unsigned)rand_r(&seed) % sizeof(struct setup_header)] = (u8)rand_r(&seed);
		if (rand_r(&seed) % 4 == 0)
			b.size = (unsigned)rand_r(&seed) % sizeof(file);
		copy = malloc(b.size + 1); /* the allocation's end is watched */
		assert_non_null(copy);
		memcpy(copy, file, b.size);
		b.data = copy;
		if (!bzimage_parse(&b, &k, &e) && !bzimage_load(ram, &args, &entry, &e))
			good++;
		else
			assert_true(e.code > 0 && e.text[0]);
		free(copy);
	}
	assert_true(good > 1000);
	ram_destroy(ram);
}

static u8 sum(const u8 *p, u32 n)
{
	u8 s = 0;

	while (n--)
		s += *p++;
	return s;
}

static void acpi_tables(void **state)
{
	struct ram *ram = new_ram(MAP_MIN_RAM);
	const struct acpi_config cfg = {.vcpus = 1, .irq0_gsi = 2};
	u8 *rsdp = ram_host(ram, acpi_build(ram, &cfg), 36);
	u64 xsdt_at, at;
	u8 *xsdt;
	u32 len;
	char seen[4][5] = {{0}};

	assert_memory_equal(rsdp, "RSD PTR ", 8);
	assert_int_equal(sum(rsdp, 20), 0);
	assert_int_equal(sum(rsdp, 36), 0);
	memcpy(&xsdt_at, rsdp + 24, 8);
	xsdt = ram_host(ram, xsdt_at, 36);
	memcpy(&len, xsdt + 4, 4);
	assert_int_equal(len, 36 + 3 * 8);
	assert_int_equal(sum(xsdt, len), 0);
	for (unsigned i = 0; i < 3; i++) {
		u8 *t;

		memcpy(&at, xsdt + 36 + i * 8, 8);
		t = ram_host(ram, at, 36);
		assert_non_null(t);
		memcpy(seen[i], t, 4);
		memcpy(&len, t + 4, 4);
		assert_int_equal(sum(t, len), 0);
		if (!memcmp(t, "FACP", 4)) {
			u32 dsdt;

			assert_int_equal(len, 276);
			memcpy(&dsdt, t + 40, 4);
			t = ram_host(ram, dsdt, 36);
			assert_memory_equal(t, "DSDT", 4);
			memcpy(&len, t + 4, 4);
			assert_int_equal(sum(t, len), 0);
		}
	}
	assert_string_equal(seen[0], "FACP");
	assert_string_equal(seen[1], "APIC");
	assert_string_equal(seen[2], "MCFG");
	ram_destroy(ram);
}

static void memory_map(void **state)
{
	struct map_entry m[MAP_ENTRIES];
	unsigned n = map_build(5ull << 30, m);

	assert_int_equal(n, 6);
	assert_int_equal(m[3].base + m[3].size, 0xc0000000);
	assert_int_equal(m[5].base, 0x100000000);
	assert_int_equal(m[5].size, 2ull << 30);
	for (unsigned i = 1; i < n; i++)
		assert_true(m[i].base >= m[i - 1].base + m[i - 1].size);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parses),	cmocka_unit_test(refuses), cmocka_unit_test(loads),
		cmocka_unit_test(does_not_fit), cmocka_unit_test(spoiled), cmocka_unit_test(acpi_tables),
		cmocka_unit_test(memory_map),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
