/*
 * The gdb stub's packets and the monitor's lines, over a machine that stands still in a state of the input's making:
 * paging of any kind, tables that lead anywhere, perhaps inside a nested guest. An input: registers, table entries,
 * then lines: bytes of the wire ('$' first), a command of the monitor ('!' first), or a packet's data.
 */
#include "tests/fuzz/fuzz.h"

#include <elf.h>
#undef PF_R
#undef PF_W
#undef PF_X

#include "arch/x86/state.h"
#include "arch/x86/vmcb.h"
#include "arch/x86/vmcs.h"
#include "cmd/monitor.h"
#include "gdb/stub.h"
#include "machine/machine.h"

#define MEMORY (2u << 20)
#define TABLE  0x100000u /* four pages of tables */
#define BLOCK  0x110000u /* VMCB or VMCS */

static struct machine *machine;
static struct x86_state reset;
static FILE *null;

static void make(void)
{
	static u8 file[0x400];
	const Elf32_Ehdr e = {.e_ident = {0x7f, 'E', 'L', 'F', 1, 1, 1},
			      .e_machine = EM_386,
			      .e_entry = 0x100000,
			      .e_phoff = 64,
			      .e_phentsize = sizeof(Elf32_Phdr),
			      .e_phnum = 1};
	const Elf32_Phdr p = {.p_type = PT_LOAD,
			      .p_offset = 0x200,
			      .p_vaddr = 0x100000,
			      .p_paddr = 0x100000,
			      .p_filesz = 16,
			      .p_memsz = 16};
	const struct machine_config cfg = {.accel = ACCEL_SOFT,
					   .cpu = "EPYC",
					   .vcpus = 2,
					   .memory = MEMORY,
					   .kernel = {file, sizeof(file)},
					   .testdev = true,
					   .log = log_new(fopen("/dev/null", "w"), "")};
	struct err error = {0};

	memcpy(file, &e, sizeof(e));
	memcpy(file + 64, &p, sizeof(p));
	fuzz_check(!machine_new(&cfg, &machine, &error), error.text);
	machine_vm(machine)->vcpu[0]->ops->get_state(machine_vm(machine)->vcpu[0], &reset);
	null = fopen("/dev/null", "w");
}

static void set_up(struct vm *vm, struct fuzz_in *in)
{
	struct x86_state st = reset;
	u8 how = fuzz_u8(in), *ram = ram_host(&vm->ram, 0, MEMORY);
	struct err e = {0};

	memset(ram + TABLE, 0, 0x20000);
	if (how & 1) {
		st.cr0 |= CR0_PG;
		st.cr3 = TABLE;
	}
	if (how & 2)
		st.cr4 |= CR4_PAE | CR4_PSE;
	if (how & 4) {
		st.cr4 |= CR4_PAE;
		st.msr.efer |= EFER_LME | (how & 1 ? EFER_LMA | EFER_NXE : 0);
	}
	if (how & 8) {
		struct vmcb *b = (struct vmcb *)(ram + BLOCK);

		st.svm.in_guest = 1;
		st.svm.vmcb = how & 32 ? fuzz_value(in) & ~0xfffull : BLOCK;
		b->c.np_control = NP_ENABLE;
		b->c.ncr3 = TABLE + 0x1000;
		b->c.asid = 1;
	} else if (how & 16) {
		struct vmcs *v = (struct vmcs *)(ram + BLOCK);

		st.vmx.on = st.vmx.in_guest = 1;
		st.vmx.vmcs = how & 32 ? fuzz_value(in) & ~0xfffull : BLOCK;
		v->f[VMCS_PROC] = (u32)VMX_PROC_PROC2;
		v->f[VMCS_PROC2] = VMX_PROC2_EPT;
		v->f[VMCS_EPTP] = (TABLE + 0x1000) | 3 << 3 | 6;
	}
	for (unsigned i = 0; i < 16; i++)
		st.gpr[i] = i * 0x1111;
	for (u8 n = fuzz_u8(in) & 15; n--;) {
		u64 v = fuzz_u8(in), at = TABLE + fuzz_u16(in) % 0x4000;

		v = v & 1 ? fuzz_value(in) : TABLE + (v >> 1 & 3) * 0x1000 + (v & 0xf0) + 7;
		memcpy(ram + (at & ~7u), &v, 8);
	}
	fuzz_check(!vm->vcpu[0]->ops->set_state(vm->vcpu[0], &st, &e), "the state was refused");
}

static void run_monitor(void *ctx, unsigned vcpu, const char *line, FILE *out) { monitor_run(ctx, vcpu, line, out); }

static void packet(struct gdb_stub *s, const char *data, size_t n)
{
	static struct packet_out out;
	static char frame[sizeof(out.data) + 4];
	char *copy = malloc(n + 1); /* exactly as long, with the 0 that packet_in puts behind */

	memcpy(copy, data, n);
	copy[n] = 0;
	out.n = 0;
	out.overflow = false;
	(void)stub_command(s, copy, (u32)n, &out);
	if (!out.overflow)
		(void)packet_frame(&out, frame);
	free(copy);
}

static void wire(struct gdb_stub *s, const u8 *p, size_t n)
{
	static struct packet_in in;

	in = (struct packet_in){0};
	for (size_t i = 0; i < n; i++)
		if (packet_byte(&in, p[i]) == PACKET_READY)
			packet(s, in.data, in.n);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	struct fuzz_in in = {data, size};
	struct gdb_stub stub;
	struct vm *vm;

	if (!machine)
		make();
	vm = machine_vm(machine);
	set_up(vm, &in);
	fuzz_check(!stub_init(&stub, vm, &(struct gdb_monitor){run_monitor, machine}), "no memory");
	while (in.n) {
		const u8 *end = memchr(in.p, '\n', in.n);
		size_t n = end ? (size_t)(end - in.p) : in.n;

		if (n && in.p[0] == '$') {
			wire(&stub, in.p, n);
		} else if (n && in.p[0] == '!') {
			char *line = strndup((const char *)in.p + 1, n - 1);

			monitor_run(machine, 0, line, null);
			free(line);
		} else if (n <= PACKET_MAX) {
			packet(&stub, (const char *)in.p, n);
		}
		in.p += n + (end != NULL);
		in.n -= n + (end != NULL);
	}
	debug_clear(vm);
	stub_destroy(&stub);
	return 0;
}

size_t fuzz_seed(unsigned n, u8 *buf, size_t room)
{
	static const char *const lines[] = {
		"qSupported:swbreak+\n?\ng\np10\nm100000,40\nM100000,2:9090\nZ0,100000,1\nz0,100000,1\nvCont?\nvCont;s:"
		"1;c\nqC\n"
		"qfThreadInfo\nqThreadExtraInfo,2\nqXfer:features:read:target.xml:0,ffb\nHg2\nT1\nqRcmd,"
		"72656773\nQStartNoAckMode\nD",
		"!regs\n!x 0x100000 64\n!phys 0x1000\n!walk 0x123456\n!counters\n!help\n!x",
		"!entry\n!entry 0\n!entry 7\n!vmcb\n!vmcb 0x100000\n!vmcs\n!vmcs 0x100000\n!vmcs x",
		"$m0,8#01\n$g#67\n$X100000,4:}\x03}]ab#00\n$vCont;C05:-1#00\nP10=0011223344\nZ2,100000,8\ns\nc",
	};
	size_t size;

	if (n >= 2 * ARRAY_SIZE(lines))
		return 0;
	memset(buf, 0, 12);
	buf[0] = (u8)(n & 1 ? 5 + n * 4 : 0);
	buf[1] = 1;
	buf[2] = 2;
	size = strlen(lines[n / 2]);
	memcpy(buf + 5, lines[n / 2], size);
	return 5 + size;
}
