/*
 * Kernel and firmware files of each kind (LOAD_KIND) into a machine of 2 to 70 MiB: whatever the file says, an error
 * with one sentence or a processor that stands somewhere. What marks the kind is put right in each input, or most would
 * end at the first check. Afterwards RAM's edges are as they were: slots have pages on either side that may not be
 * touched (core/ram.c).
 *
 * An input: memory, command line's length, initrd and modules, then the file.
 */
#include "tests/fuzz/fuzz.h"

#include <elf.h>
#undef PF_R
#undef PF_W
#undef PF_X
#include <asm/bootparam.h>

#include "arch/x86/state.h"
#include "machine/boot.h"
#include "machine/bzimage.h"
#include "machine/firmware.h"

#define LOAD_BZIMAGE   1
#define LOAD_ELF       2
#define LOAD_PVH       3
#define LOAD_MULTIBOOT 4
#define LOAD_FIRMWARE  5
#define LOAD_ANY       6

#define FILE_MAX 0x3f00u
#define HEADER	 0x40u /* where multiboot's header is looked for first */

struct head {
	u8 memory, words, initrd, modules;
};

static void put16(u8 *p, u16 v) { memcpy(p, &v, 2); }
static void put32(u8 *p, u32 v) { memcpy(p, &v, 4); }
static u32 get32(const u8 *p)
{
	u32 v;

	memcpy(&v, p, 4);
	return v;
}

static void mark(u8 *file, size_t size)
{
	if (LOAD_KIND == LOAD_BZIMAGE && size > 0x268) {
		put16(file + 0x1fe, 0xaa55);
		put32(file + 0x202, 0x53726448);
		file[0x207] |= 2; /* protocol 2.12 or later */
		file[0x211] |= LOADED_HIGH;
		file[0x236] |= XLF_KERNEL_64;
	}
	if ((LOAD_KIND == LOAD_ELF || LOAD_KIND == LOAD_PVH) && size > 64) {
		memcpy(file, ELFMAG, 4);
		file[4] = file[4] & 1 ? 1 : 2;
		file[5] = 1;
		put16(file + 18, file[18] & 1 ? EM_386 : EM_X86_64);
		put16(file + (file[4] == 1 ? 42 : 54), file[4] == 1 ? sizeof(Elf32_Phdr) : sizeof(Elf64_Phdr));
	}
	if (LOAD_KIND == LOAD_MULTIBOOT && size > HEADER + 32) {
		put32(file + HEADER, 0x1badb002);
		put32(file + HEADER + 4, get32(file + HEADER + 4) & (1u << 16 | 7));
		put32(file + HEADER + 8, -(0x1badb002 + get32(file + HEADER + 4)));
	}
}

static void check_err(const struct err *e)
{
	size_t n = strnlen(e->text, sizeof(e->text));

	fuzz_check(n > 10 && n < sizeof(e->text) && !strchr(e->text, '\n'), "an error without a sentence");
}

static int load_firmware(struct ram *ram, const struct machine_config *cfg, struct err *e)
{
	/* A whole image of 64 KiB to 16 MiB and more; its content plays no part. */
	size_t size = (size_t)(cfg->kernel.size ? ((const u8 *)cfg->kernel.data)[0] : 0) << 16;
	struct machine_blob image = {NULL, size + (cfg->kernel.size & 1 ? 0x1000 : cfg->kernel.size)};
	u8 *data = calloc(1, image.size ? image.size : 1);
	int rc;

	memcpy(data, cfg->kernel.data, MIN(cfg->kernel.size, image.size));
	image.data = data;
	rc = firmware_map(ram, &image, e);
	if (!rc)
		firmware_shadow(ram, &image);
	free(data);
	return rc;
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	static u8 initrd[0x8000];
	struct fuzz_in in = {data, size};
	struct head h;
	struct ram ram = {0};
	struct x86_state st;
	struct err e = {0};
	struct machine_config cfg = {.vcpus = 1, .kernel_name = "a", .modules = 0};
	const struct boot_image image = {.cfg = &cfg, .ram = &ram, .rsdp = 0xe0000};
	size_t words;
	char *cmdline;
	u8 *file;
	int rc;

	fuzz_bytes(&in, &h, sizeof(h));
	file = malloc(in.n ? in.n : 1);
	memcpy(file, in.p, in.n);
	mark(file, in.n);
	words = (size_t)h.words << (h.words & 3 ? 1 : 9);
	cmdline = malloc(words + 1);
	memset(cmdline, 'w', words);
	cmdline[words] = 0;
	cfg.memory = (2ull << 20) + ((u64)h.memory << (h.memory & 1 ? 12 : 18));
	cfg.kernel = (struct machine_blob){file, in.n};
	cfg.cmdline = cmdline;
	cfg.initrd = (struct machine_blob){initrd, (size_t)h.initrd << 7};
	cfg.modules = h.modules % (MACHINE_MODULES + 1);
	for (unsigned i = 0; i < cfg.modules; i++)
		cfg.module[i] = (struct machine_module){{initrd, (size_t)h.initrd << i}, i & 1 ? NULL : cmdline};
	fuzz_check(!ram_add(&ram, 0, map_low(cfg.memory), false, NULL), "no memory");
	x86_reset(&st, X86_AMD, 0, false);
	(void)machine_kernel_is_foreign(&cfg.kernel);
	rc = LOAD_KIND == LOAD_FIRMWARE ? load_firmware(&ram, &cfg, &e) : boot_load(&image, &st, &e);
	if (rc)
		check_err(&e);
	ram_destroy(&ram);
	free(cmdline);
	free(file);
	return 0;
}

/* ---- seeds ---- */

static size_t bzimage(u8 *file)
{
	struct setup_header h = {
		.setup_sects = 1,
		.syssize = 0x40,
		.boot_flag = 0xaa55,
		.header = 0x53726448,
		.version = 0x20f,
		.loadflags = LOADED_HIGH,
		.kernel_alignment = 0x200000,
		.relocatable_kernel = 1,
		.xloadflags = XLF_KERNEL_64,
		.cmdline_size = 2047,
		.pref_address = 0x100000,
		.init_size = 0x10000,
		.initrd_addr_max = 0x7fffffff,
		.kernel_version = 0x100,
	};

	memcpy(file + 0x1f1, &h, sizeof(h));
	file[0x201] = 0x6a;
	strcpy((char *)file + 0x300, "6.1.0 (a@b) #1");
	return 0x800;
}

static size_t elf(u8 *file, bool wide, bool pvh)
{
	const Elf64_Ehdr e64 = {.e_ident = {0x7f, 'E', 'L', 'F', 2, 1, 1},
				.e_machine = EM_X86_64,
				.e_entry = 0xffffffff80000010,
				.e_phoff = 64,
				.e_phentsize = sizeof(Elf64_Phdr),
				.e_phnum = 2};
	const Elf64_Phdr p64[2] = {{.p_type = PT_LOAD,
				    .p_offset = 0x200,
				    .p_vaddr = 0xffffffff80000000,
				    .p_paddr = 0x100000,
				    .p_filesz = 0x100,
				    .p_memsz = 0x3000},
				   {.p_type = pvh ? PT_NOTE : PT_NULL, .p_offset = 0x180, .p_filesz = 20}};
	const Elf32_Ehdr e32 = {.e_ident = {0x7f, 'E', 'L', 'F', 1, 1, 1},
				.e_machine = EM_386,
				.e_entry = 0x100020,
				.e_phoff = 64,
				.e_phentsize = sizeof(Elf32_Phdr),
				.e_phnum = 2};
	const Elf32_Phdr p32[2] = {{.p_type = PT_LOAD,
				    .p_offset = 0x200,
				    .p_vaddr = 0x100000,
				    .p_paddr = 0x100000,
				    .p_filesz = 0x100,
				    .p_memsz = 0x3000},
				   {.p_type = pvh ? PT_NOTE : PT_NULL, .p_offset = 0x180, .p_filesz = 20}};
	const u32 note[] = {4, 4, 18, 0x006e6558, 0x100030};

	memcpy(file, wide ? (const void *)&e64 : &e32, wide ? sizeof(e64) : sizeof(e32));
	memcpy(file + 64, wide ? (const void *)p64 : p32, wide ? sizeof(p64) : sizeof(p32));
	memcpy(file + 0x180, note, sizeof(note));
	return 0x300;
}

static size_t multiboot(u8 *file, u32 flags)
{
	const u32 h[] = {0x1badb002, flags,   -(0x1badb002 + flags), 0x100000 + HEADER, 0x100000, 0x100200,
			 0x101000,   0x100080};

	memcpy(file + HEADER, h, sizeof(h));
	return 0x200;
}

size_t fuzz_seed(unsigned n, u8 *buf, size_t room)
{
	struct head h = {(u8)(n & 1 ? 255 : 16), 8, (u8)(n & 2 ? 9 : 0), (u8)(n & 2 ? 3 : 0)};
	u8 *file = buf + sizeof(h);
	size_t size;

	if (n >= 4 || room < FILE_MAX)
		return 0;
	memset(buf, 0, FILE_MAX);
	memcpy(buf, &h, sizeof(h));
	switch (LOAD_KIND == LOAD_ANY ? (int)n + 1 : LOAD_KIND) {
	case LOAD_BZIMAGE: size = bzimage(file); break;
	case LOAD_ELF: size = elf(file, n & 1, false); break;
	case LOAD_PVH: size = elf(file, n & 1, true); break;
	case LOAD_MULTIBOOT:
		if (n & 1)
			elf(file, false, false);
		size = MAX(multiboot(file, n & 1 ? 3 : 1u << 16 | 3), (size_t)0x300);
		break;
	default: file[0] = (u8)(1 << n); size = 0x1000;
	}
	return sizeof(h) + size;
}
