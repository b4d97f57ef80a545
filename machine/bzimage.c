/*
 * Loading a bzImage (bzimage.h).
 *
 * What lies where, below 640 KiB: GDT 0x1000, stack under 0x6000, zero page 0x7000, identity page tables of the first 4
 * GiB 0x9000-0xefff (2 MiB pages: any long-mode processor has them), command line 0x20000. The kernel goes to the
 * address it prefers, the initrd as high as the kernel allows.
 */
#include "machine/bzimage.h"

#include <asm/bootparam.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "arch/x86/state.h"

#define GDT	     0x1000u
#define STACK_TOP    0x6000u
#define ZERO_PAGE    0x7000u
#define PAGE_TABLES  0x9000u
#define CMDLINE	     0x20000u
#define CMDLINE_ROOM 0x10000u

#define HEADER_OFFSET 0x1f1u
#define SECTOR	      512u
#define MIN_VERSION   0x020cu
#define ENTRY_64      0x200u
#define LOADER_OTHER  0xffu

#define BOOT_CS	 0x10u
#define BOOT_DS	 0x18u
#define BOOT_TSS 0x20u

static int parse_error(struct err *e, const char *why)
{
	return err_set(e, EINVAL, "not a bootable Linux kernel image (bzImage): %s", why);
}

static void parse_version(const struct machine_blob *file, u32 offset, char *out, size_t room)
{
	const char *from = file->data;
	size_t n = 0;

	if (offset && (u64)offset + 0x200 < file->size)
		for (from += offset + 0x200;
		     n + 1 < room && offset + 0x200 + n < file->size && from[n] >= ' ' && from[n] <= '~'; n++)
			out[n] = from[n];
	out[n] = 0;
}

int bzimage_parse(const struct machine_blob *file, struct bzimage *out, struct err *e)
{
	const u8 *data = file->data;
	struct setup_header h;
	u64 setup, code;

	memset(out, 0, sizeof(*out));
	if (file->size < HEADER_OFFSET + sizeof(h))
		return parse_error(e, "the file is too short");
	memcpy(&h, data + HEADER_OFFSET, sizeof(h));
	if (h.boot_flag != 0xaa55 || h.header != 0x53726448)
		return parse_error(e, "it has no boot header");
	if (h.version < MIN_VERSION)
		return err_set(e, EINVAL, "the kernel image speaks boot protocol %u.%02u; 2.12 or later is needed",
			       h.version >> 8, h.version & 0xff);
	if (!(h.loadflags & LOADED_HIGH) || !(h.xloadflags & XLF_KERNEL_64))
		return parse_error(e, "it has no 64-bit entry point");
	setup = (h.setup_sects ? h.setup_sects + 1ull : 5ull) * SECTOR;
	code = h.syssize * 16ull;
	/* syssize counts paragraphs: the last may be cut short. */
	if (setup + code > ALIGN_UP(file->size, 16))
		return err_set(e, EINVAL,
			       "the kernel image is truncated: its header promises %" PRIu64 " bytes, the file has %zu",
			       setup + code, file->size);
	if (code <= ENTRY_64)
		return parse_error(e, "its code is too short");
	out->header = data;
	/* The byte before the magic is the jump's displacement: the header ends where it lands (boot.rst, "Details of
	 * Header Fields"). */
	out->header_end = 0x202u + data[0x201];
	if (out->header_end < 0x268 || out->header_end > HEADER_OFFSET + sizeof(h) + 64 || out->header_end > file->size)
		return parse_error(e, "its boot header has a wrong length");
	out->code = data + setup;
	out->code_size = MIN(code, file->size - setup);
	out->pref_address = h.pref_address;
	out->init_size = MAX((u64)h.init_size, code);
	out->alignment = h.kernel_alignment;
	out->relocatable = h.relocatable_kernel;
	out->initrd_max = h.initrd_addr_max;
	out->cmdline_max = h.cmdline_size;
	if (!out->alignment || out->alignment & (out->alignment - 1) || out->pref_address & 0xfff)
		return parse_error(e, "its load address or alignment makes no sense");
	parse_version(file, h.kernel_version, out->version, sizeof(out->version));
	return 0;
}

/* RAM that was found to be there: the boot structures lie below MAP_EBDA. */
static void *low(struct ram *ram, u64 gpa, u64 len) { return ram_host(ram, gpa, len); }

static void build_page_tables(struct ram *ram)
{
	u64 *pml4 = low(ram, PAGE_TABLES, 0x6000);
	u64 *pdpt = pml4 + 512, *pd = pdpt + 512;

	memset(pml4, 0, 0x6000);
	pml4[0] = (PAGE_TABLES + 0x1000) | PTE_P | PTE_W;
	for (u64 i = 0; i < 4; i++)
		pdpt[i] = (PAGE_TABLES + 0x2000 + i * 0x1000) | PTE_P | PTE_W;
	for (u64 i = 0; i < 4 * 512; i++)
		pd[i] = i << 21 | PTE_P | PTE_W | PTE_PS;
}

/* Boot.rst: __BOOT_CS(0x10) flat execute/read, __BOOT_DS(0x18) flat read/write; a TSS, because a processor in long mode
 * has one. */
static void build_gdt(struct ram *ram)
{
	static const u64 gdt[] = {0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00008b0000000067, 0};

	memcpy(low(ram, GDT, sizeof(gdt)), gdt, sizeof(gdt));
}

static int place_kernel(struct ram *ram, const struct boot_args *args, u64 *where, struct err *e)
{
	const struct bzimage *k = args->image;
	u64 at = ALIGN_UP(MAX(k->pref_address, (u64)MAP_HIGH), k->relocatable ? k->alignment : 1);
	u64 end;
	u8 *host;

	if (!k->relocatable && at != k->pref_address)
		return err_set(e, EINVAL,
			       "the kernel must be loaded at %#" PRIx64 ", where there is none but firmware's memory",
			       k->pref_address);
	if (__builtin_add_overflow(at, k->init_size, &end) || end > map_low(args->memory))
		return err_set(e, ENOSPC,
			       "the kernel needs memory up to %" PRIu64 " MiB below 3 GiB, the machine has %" PRIu64
			       " MiB",
			       (end >> 20) + 1, map_low(args->memory) >> 20);
	host = ram_host(ram, at, k->init_size);
	if (!host)
		return err_set(e, ENOSPC, "there is no RAM at %#" PRIx64 " for the kernel", at);
	memcpy(host, k->code, k->code_size);
	*where = at;
	return 0;
}

static int place_initrd(struct ram *ram, const struct boot_args *args, u64 kernel_end, u64 *where, struct err *e)
{
	u64 top = MIN(args->image ? args->image->initrd_max + 1 : MAP_LOW_LIMIT, map_low(args->memory));
	u64 size = args->initrd.size, at;
	u8 *host;

	*where = 0;
	if (!size)
		return 0;
	at = size <= top ? ALIGN_DOWN(top - size, RAM_PAGE) : 0;
	host = at >= kernel_end ? ram_host(ram, at, size) : NULL;
	if (!host)
		return err_set(e, ENOSPC,
			       "an initrd of %" PRIu64 " MiB and the kernel do not fit into %" PRIu64 " MiB of memory",
			       (size >> 20) + 1, args->memory >> 20);
	memcpy(host, args->initrd.data, size);
	*where = at;
	return 0;
}

static void build_zero_page(struct ram *ram, const struct boot_args *args, u64 kernel, u64 initrd)
{
	const struct bzimage *k = args->image;
	struct boot_params *p = low(ram, ZERO_PAGE, sizeof(*p));
	struct map_entry map[MAP_ENTRIES];

	memset(p, 0, sizeof(*p));
	if (k) {
		memcpy(&p->hdr, k->header + HEADER_OFFSET, MIN(k->header_end - HEADER_OFFSET, (u32)sizeof(p->hdr)));
	} else {
		p->hdr.boot_flag = 0xaa55;
		p->hdr.header = 0x53726448;
		p->hdr.version = MIN_VERSION;
		p->hdr.loadflags = LOADED_HIGH;
		p->hdr.kernel_alignment = 0x1000000;
	}
	p->hdr.type_of_loader = LOADER_OTHER;
	p->hdr.ext_loader_type = 0;
	p->hdr.ext_loader_ver = 0;
	p->hdr.vid_mode = 0xffff; /* "normal" */
	p->hdr.code32_start = (u32)kernel;
	p->hdr.ramdisk_image = (u32)initrd;
	p->hdr.ramdisk_size = (u32)args->initrd.size;
	p->hdr.cmd_line_ptr = CMDLINE;
	p->hdr.hardware_subarch = 0;
	p->hdr.setup_data = 0;
	p->acpi_rsdp_addr = args->rsdp;
	p->e820_entries = (u8)map_build(args->memory, map);
	for (unsigned i = 0; i < p->e820_entries; i++)
		p->e820_table[i] = (struct boot_e820_entry){map[i].base, map[i].size, map[i].type};
}

static int check_room(struct ram *ram, const struct boot_args *args, struct err *e)
{
	u32 max = args->image ? args->image->cmdline_max : CMDLINE_ROOM - 1;
	size_t len = strlen(args->cmdline);

	if (args->memory < MAP_MIN_RAM || !low(ram, 0, MAP_MIN_RAM))
		return err_set(e, ENOSPC, "the machine has less than %u MiB of memory", MAP_MIN_RAM >> 20);
	if (len > max || len >= CMDLINE_ROOM)
		return err_set(e, EINVAL, "the kernel command line is %zu bytes long; this kernel takes %u", len, max);
	return 0;
}

static void build_low(struct ram *ram, const struct boot_args *args, u64 kernel, u64 initrd, struct boot_entry *entry)
{
	size_t len = strlen(args->cmdline);

	memcpy(low(ram, CMDLINE, len + 1), args->cmdline, len + 1);
	build_page_tables(ram);
	build_gdt(ram);
	build_zero_page(ram, args, kernel, initrd);
	*entry = (struct boot_entry){
		.zero_page = ZERO_PAGE,
		.page_table = PAGE_TABLES,
		.gdt = GDT,
		.stack = STACK_TOP,
	};
}

int bzimage_load(struct ram *ram, const struct boot_args *args, struct boot_entry *entry, struct err *e)
{
	u64 kernel = 0, initrd = 0;
	int rc = check_room(ram, args, e);

	if (!rc)
		rc = place_kernel(ram, args, &kernel, e);
	if (!rc)
		rc = place_initrd(ram, args, kernel + args->image->init_size, &initrd, e);
	if (rc)
		return rc;
	build_low(ram, args, kernel, initrd, entry);
	entry->rip = kernel + ENTRY_64;
	return 0;
}

int bzimage_load_plain(struct ram *ram, const struct boot_args *args, u64 rip, u64 end, struct boot_entry *entry,
		       struct err *e)
{
	u64 initrd = 0;
	int rc = check_room(ram, args, e);

	if (!rc)
		rc = place_initrd(ram, args, end, &initrd, e);
	if (rc)
		return rc;
	build_low(ram, args, rip, initrd, entry);
	entry->rip = rip;
	return 0;
}

void bzimage_state(struct x86_state *st, const struct boot_entry *entry)
{
	const struct x86_seg data = {
		.sel = BOOT_DS,
		.attr = SEG_P | SEG_S | SEG_RW | SEG_ACCESSED | SEG_DB | SEG_G,
		.limit = 0xffffffff,
	};

	st->cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_PG;
	st->cr3 = entry->page_table;
	st->cr4 = CR4_PAE;
	st->msr.efer = EFER_LME | EFER_LMA;
	for (unsigned i = 0; i < X86_SREGS; i++)
		st->seg[i] = data;
	st->seg[CS].sel = BOOT_CS;
	st->seg[CS].attr = SEG_P | SEG_S | SEG_CODE | SEG_RW | SEG_ACCESSED | SEG_L | SEG_G;
	st->tr = (struct x86_seg){.sel = BOOT_TSS, .attr = SEG_P | 0xb, .limit = 0x67};
	st->ldtr = (struct x86_seg){0};
	st->gdtr = (struct x86_dtr){.base = entry->gdt, .limit = 0x2f};
	st->idtr = (struct x86_dtr){0};
	st->cpl = 0;
	st->activity = ACT_RUNNING;
	x86_set_rflags(st, FL_FIXED);
	memset(st->gpr, 0, sizeof(st->gpr));
	st->gpr[RSI] = entry->zero_page;
	st->gpr[RSP] = entry->stack;
	st->rip = entry->rip;
}
