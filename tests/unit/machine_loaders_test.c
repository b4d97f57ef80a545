/* Multiboot, PVH and ELF images made up here: loaded, described to the guest, refused; and every one of them corrupted.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <elf.h>
#undef PF_R
#undef PF_W
#undef PF_X

#include "arch/x86/state.h"
#include "machine/boot.h"

#define MEMORY (64u << 20)
#define LOAD   0x100000u

static u8 file[0x2000];
static struct ram ram;
static struct x86_state st;

static int setup(void **state)
{
	memset(file, 0, sizeof(file));
	memset(&ram, 0, sizeof(ram));
	(void)state;
	return ram_add(&ram, 0, MEMORY, false, NULL);
}

static int teardown(void **state)
{
	(void)state;
	ram_destroy(&ram);
	return 0;
}

static u32 u32_at(u64 gpa)
{
	u32 v;

	memcpy(&v, ram_host(&ram, gpa, 4), 4);
	return v;
}

static struct machine_config config(void)
{
	return (struct machine_config){
		.vcpus = 1,
		.memory = MEMORY,
		.kernel = {file, sizeof(file)},
		.kernel_name = "prog",
		.cmdline = "a b",
		.initrd = {"ENV=1\n", 6},
		.modules = 1,
		.module = {{{"second", 6}, "two words"}},
	};
}

static int load(const struct machine_config *cfg, struct err *e)
{
	const struct boot_image b = {.cfg = cfg, .ram = &ram, .rsdp = 0xe0000};

	x86_reset(&st, X86_AMD, 0, false);
	return boot_load(&b, &st, e);
}

static void put32(unsigned at, u32 v) { memcpy(file + at, &v, 4); }

static void make_multiboot(u32 flags)
{
	const u32 h[] = {0x1badb002, flags,	   -(0x1badb002 + flags), LOAD + 0x40,
			 LOAD,	     LOAD + 0x200, LOAD + 0x1000,	  LOAD + 0x80};

	memcpy(file + 0x40, h, sizeof(h));
	file[0x1ff] = 0x5a;
}

static void make_elf(bool wide, bool pvh)
{
	const Elf64_Ehdr e64 = {.e_ident = {0x7f, 'E', 'L', 'F', 2, 1, 1},
				.e_machine = EM_X86_64,
				.e_entry = 0xffffffff80000010,
				.e_phoff = 64,
				.e_phentsize = sizeof(Elf64_Phdr),
				.e_phnum = 2};
	const Elf64_Phdr p64[2] = {{.p_type = PT_LOAD,
				    .p_offset = 0x1000,
				    .p_vaddr = 0xffffffff80000000,
				    .p_paddr = LOAD,
				    .p_filesz = 0x100,
				    .p_memsz = 0x3000},
				   {.p_type = pvh ? PT_NOTE : PT_NULL, .p_offset = 0x200, .p_filesz = 20}};
	const Elf32_Ehdr e32 = {.e_ident = {0x7f, 'E', 'L', 'F', 1, 1, 1},
				.e_machine = EM_386,
				.e_entry = LOAD + 0x20,
				.e_phoff = 64,
				.e_phentsize = sizeof(Elf32_Phdr),
				.e_phnum = 1};
	const Elf32_Phdr p32 = {.p_type = PT_LOAD,
				.p_offset = 0x1000,
				.p_vaddr = LOAD,
				.p_paddr = LOAD,
				.p_filesz = 0x100,
				.p_memsz = 0x3000};
	const u32 note[] = {4, 4, 18, 0x006e6558, LOAD + 0x30};

	if (wide) {
		memcpy(file, &e64, sizeof(e64));
		memcpy(file + 64, p64, sizeof(p64));
	} else {
		memcpy(file, &e32, sizeof(e32));
		memcpy(file + 64, &p32, sizeof(p32));
	}
	memcpy(file + 0x200, note, sizeof(note));
	file[0x10ff] = 0x5a;
}

static void multiboot(void **state)
{
	struct machine_config cfg = config();
	u32 info, mods;

	(void)state;
	make_multiboot(1u << 16 | 3);
	*(u8 *)ram_host(&ram, LOAD + 0x200, 1) = 0xff; /* bss */
	assert_int_equal(load(&cfg, NULL), 0);
	assert_int_equal(st.rip, LOAD + 0x80);
	assert_int_equal(st.gpr[RAX], 0x2badb002);
	assert_int_equal(st.cr0 & (CR0_PE | CR0_PG), CR0_PE);
	assert_int_equal(*(u8 *)ram_host(&ram, LOAD + 0x1ff, 1), 0x5a);
	assert_int_equal(*(u8 *)ram_host(&ram, LOAD + 0x200, 1), 0);
	info = (u32)st.gpr[RBX];
	assert_int_equal(u32_at(info) & 0x4d, 0x4d);
	assert_string_equal((char *)ram_host(&ram, u32_at(info + 16), 8), "prog a b");
	assert_int_equal(u32_at(info + 20), 2);
	mods = u32_at(info + 24);
	assert_memory_equal(ram_host(&ram, u32_at(mods), 6), "ENV=1\n", 6);
	assert_true(u32_at(mods) >= LOAD + 0x1000);
	assert_int_equal(u32_at(mods + 4) - u32_at(mods), 6);
	assert_string_equal((char *)ram_host(&ram, u32_at(mods + 16 + 8), 10), "two words");
	assert_int_equal(u32_at(u32_at(info + 48)), 20); /* memory map */
	assert_int_equal(u32_at(0x40e) & 0xffff, 0x9fc0); /* BIOS data area */
	assert_int_equal(u32_at(0x413) & 0xffff, u32_at(info + 4));
	make_multiboot(1u << 16 | 4);
	assert_int_equal(load(&cfg, NULL), -EINVAL);
	make_multiboot(1u << 16 | 3);
	put32(0x40 + 16, 0x7ffff000); /* load address: before > at */
	assert_int_equal(load(&cfg, NULL), -EINVAL);
}

static void elf32(void **state)
{
	struct machine_config cfg = config();

	(void)state;
	make_elf(false, false);
	assert_int_equal(load(&cfg, NULL), 0);
	assert_int_equal(st.rip, LOAD + 0x20);
	assert_int_equal(st.msr.efer, 0);
	assert_int_equal(*(u8 *)ram_host(&ram, LOAD + 0xff, 1), 0x5a);
}

static void elf64(void **state)
{
	struct machine_config cfg = config();

	(void)state;
	make_elf(true, false);
	assert_int_equal(load(&cfg, NULL), 0);
	assert_int_equal(st.rip, LOAD + 0x10);
	assert_true(st.msr.efer & EFER_LMA);
	assert_memory_equal(ram_host(&ram, st.gpr[RSI] + 0x202, 4), "HdrS", 4);
}

static void pvh(void **state)
{
	struct machine_config cfg = config();
	u32 info;

	(void)state;
	make_elf(true, true);
	assert_int_equal(load(&cfg, NULL), 0);
	assert_int_equal(st.rip, LOAD + 0x30);
	info = (u32)st.gpr[RBX];
	assert_int_equal(u32_at(info), 0x336ec578);
	assert_int_equal(u32_at(info + 12), 2);
	assert_string_equal((char *)ram_host(&ram, u32_at(info + 24), 4), "a b");
	assert_int_equal(u32_at(info + 32), 0xe0000);
}

static void too_much(void **state)
{
	struct machine_config cfg = config();
	struct err e;

	(void)state;
	make_elf(false, false);
	put32(64 + 20, 0xf0000000); /* p_memsz */
	assert_int_equal(load(&cfg, &e), -ENOSPC);
	make_elf(true, false);
	cfg.kernel.size = 70;
	assert_int_equal(load(&cfg, &e), -EINVAL);
}

/* Whatever is in the file: an error, or a processor to start; never a crash. */
static void corrupted(void **state)
{
	struct machine_config cfg = config();
	u32 seed = 1;

	(void)state;
	for (unsigned round = 0; round < 3000; round++) {
		memset(file, 0, sizeof(file));
		if (round % 4 == 0)
			make_multiboot(1u << 16 | 3);
		else
			make_elf(round & 1, round & 2);
		for (unsigned n = 0; n < 4; n++) {
			seed = seed * 1664525 + 1013904223;
			file[round % 4 ? (seed >> 8) % 0x220 : 0x4c + (seed >> 8) % 20] = (u8)(seed >> 24);
		}
		cfg.kernel.size = round % 5 ? sizeof(file) : seed % sizeof(file);
		(void)!load(&cfg, NULL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(multiboot, setup, teardown),
		cmocka_unit_test_setup_teardown(elf32, setup, teardown),
		cmocka_unit_test_setup_teardown(elf64, setup, teardown),
		cmocka_unit_test_setup_teardown(pvh, setup, teardown),
		cmocka_unit_test_setup_teardown(too_much, setup, teardown),
		cmocka_unit_test_setup_teardown(corrupted, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
