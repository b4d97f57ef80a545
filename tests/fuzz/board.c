/*
 * All chips of the board: port and memory accesses of any size to their registers, in any order, while time passes by
 * leaps. The clock is the input's; messages and interrupts go to a processor that does nothing. An input: which board,
 * then accesses.
 */
#include "tests/fuzz/fuzz.h"

#include "machine/fw_files.h"
#include "machine/map.h"
#include "machine/pc.h"

#define MEMORY (2u << 20)

struct rig {
	struct vm vm;
	struct pc pc;
	struct clock_fake clock;
	struct vcpu vcpu;
};

static void none(struct vcpu *v) {}
static void none_sipi(struct vcpu *v, u8 vector) {}
static void none_drop(struct vcpu *v, u64 pa, u64 len) {}
static const struct vcpu_ops vcpu_ops = {.assert_intr = none,
					 .assert_nmi = none,
					 .assert_init = none,
					 .assert_sipi = none_sipi,
					 .drop_code = none_drop,
					 .kick = none,
					 .destroy = none};
static u64 tsc_now(void *ctx, unsigned index) { return ((struct rig *)ctx)->clock.now_ns; }
static void discard(void *ctx, const u8 *buf, size_t n) {}
static void send(void *ctx, const u8 *frame, size_t n) {}
static void fill(void *ctx, u8 *buf, size_t n) { memset(buf, 1, n); }

static void make(struct rig *r, u8 how)
{
	const struct acpi_config acpi = {.vcpus = 1, .irq0_gsi = PC_IRQ0_GSI, .hpet = true};
	const struct machine_config machine = {.vcpus = 1, .memory = MEMORY};
	struct pc_config cfg = {
		.vcpus = 1,
		.memory = MEMORY,
		.lapic = {.tsc = {tsc_now, r, 1000000000}, .allow_x2apic = true, .phys_bits = 40},
		.serial = {discard, r},
		.debug = {discard, r},
		.channel = {discard, r},
		.channel_name = how & 1 ? NULL : "org.example.test",
		.testdev = true,
		.firmware = how & 1,
		.entropy = {fill, r},
		.net = {send, r},
	};

	memset(r, 0, sizeof(*r));
	clock_fake_init(&r->clock);
	r->clock.now_ns = NS_PER_SEC;
	r->clock.wall_ns = 1700000000ull * NS_PER_SEC;
	fuzz_check(!vm_init(&r->vm, NULL, &r->clock.clock, NULL) && !ram_add(&r->vm.ram, 0, MEMORY, false, NULL),
		   "no memory");
	r->vcpu = (struct vcpu){&vcpu_ops, &r->vm, 0};
	r->vm.vcpu[0] = &r->vcpu;
	r->vm.nvcpus = 1;
	fuzz_check(!pc_init(&r->pc, &r->vm, &cfg, NULL), "no board");
	fuzz_check(!fw_files_add(&r->pc.fw_cfg, &machine, &acpi, NULL), "no files");
	pc_firmware(&r->pc);
}

static u16 some_port(struct fuzz_in *in)
{
	static const u16 base[] = {0x20,  0xa0,	 0x4d0, 0x40, 0x60,   0x70, 0x3f8,   0xcf8,
				   0xcfc, 0x510, 0x514, 0xe0, 0x2000, 0x92, PM_BASE, MAP_PCI_PORTS};
	u8 which = fuzz_u8(in);

	return (u16)(base[which & 15] + (which >> 4));
}

static u64 some_address(struct fuzz_in *in)
{
	static const u64 base[] = {IOAPIC_BASE, LAPIC_BASE,	  HPET_BASE,	     MAP_ECAM,
				   MAP_PCI,	MAP_PCI + 0x8000, MAP_PCI + 0x10000, TESTDEV_MEM};

	return base[fuzz_u8(in) & 7] + (fuzz_u16(in) & 0xfff) * (fuzz_u8(in) & 1 ? 16 : 1);
}

/* A request of fw_cfg's DMA interface: control, length, address, all big-endian. */
static void dma(struct rig *r, struct fuzz_in *in)
{
	u32 request[4] = {__builtin_bswap32((u32)fuzz_u8(in) << 16 | fuzz_u8(in)),
			  __builtin_bswap32((u32)fuzz_value(in)), 0,
			  __builtin_bswap32(fuzz_u32(in) % (MEMORY + 0x1000))};
	u32 at = fuzz_u16(in);

	memcpy(ram_host(&r->vm.ram, at, sizeof(request)), request, sizeof(request));
	vm_port_write(&r->vm, 0x514, 4, 0);
	vm_port_write(&r->vm, 0x518, 4, __builtin_bswap32(at));
}

static void access_one(struct rig *r, struct fuzz_in *in)
{
	u8 op = fuzz_u8(in);
	unsigned size = 1u << (op >> 4 & 3);
	u64 at;

	switch (op & 7) {
	case 0: vm_port_write(&r->vm, some_port(in), MIN(size, 4u), fuzz_value(in)); break;
	case 1: (void)vm_port_read(&r->vm, some_port(in), MIN(size, 4u)); break;
	case 2: /* configuration space */
		vm_port_write(&r->vm, 0xcf8, 4, 0x80000000 | (fuzz_u16(in) & 0xff) << 8 | (fuzz_u8(in) & 0xfc));
		vm_port_write(&r->vm, 0xcfc + (op >> 6), MIN(size, 4u), fuzz_value(in));
		break;
	case 3:
	case 4:
		at = some_address(in);
		/* The processor asks its APIC before the bus. */
		if (!r->vm.apic_ops->mmio_write(r->vm.apic[0], at, size, op & 64 ? fuzz_value(in) : fuzz_u16(in)))
			vm_mmio_write(&r->vm, at, size, fuzz_value(in));
		break;
	case 5:
		at = some_address(in);
		if (!r->vm.apic_ops->mmio_read(r->vm.apic[0], at, size, &(u64){0}))
			(void)vm_mmio_read(&r->vm, at, size);
		break;
	case 6:
		at = op & 8 ? fuzz_value(in) >> 4 : fuzz_u16(in) * 1000ull;
		r->clock.now_ns += MIN(at, 400ull * 86400 * NS_PER_SEC);
		r->clock.wall_ns += MIN(at, 400ull * 86400 * NS_PER_SEC);
		vm_lock(&r->vm);
		timer_queue_run(&r->vm.timers);
		vm_unlock(&r->vm);
		break;
	default:
		if (op & 8) {
			dma(r, in);
		} else if (op & 16) {
			(void)!r->vm.apic_ops->msr_write(r->vm.apic[0], 0x800 + fuzz_u8(in) % 0x40, fuzz_value(in));
		} else if (op & 32) {
			(void)!r->vm.apic_ops->msr_write(r->vm.apic[0], 0x1b, fuzz_value(in));
		} else if (r->vm.apic_ops->highest(r->vm.apic[0]) >= 0) {
			(void)r->vm.apic_ops->ack(r->vm.apic[0]);
		}
	}
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	static struct rig r;
	struct fuzz_in in = {data, size};

	make(&r, fuzz_u8(&in));
	for (unsigned n = 0; in.n && n < 1000; n++)
		access_one(&r, &in);
	pc_destroy(&r.pc);
	r.vm.nvcpus = 0;
	vm_destroy(&r.vm);
	return 0;
}

size_t fuzz_seed(unsigned n, u8 *buf, size_t room)
{
	if (n >= 8)
		return 0;
	for (unsigned i = 0; i < 256; i++)
		buf[i] = (u8)(i * (2 * n + 1) ^ n);
	return 256;
}
