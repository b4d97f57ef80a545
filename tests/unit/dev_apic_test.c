/* Local APICs and the IOAPIC: priorities, EOI, destinations, timer, deadline, mode transitions, level interrupts,
 * ExtINT. */
#include "tests/unit/dev_fake.h"

#include <string.h>

#include "dev/ioapic.h"
#include "dev/lapic.h"
#include "dev/pic.h"

#define CPUS   4u
#define TSC_HZ 2000000000ull

struct fake_cpu {
	struct vcpu vcpu;
	unsigned intr, nmi, init, sipi;
	u8 sipi_vector;
	u64 deadline;
};

struct fixture {
	struct clock_fake clock;
	struct vm vm;
	struct lapic_bus bus;
	struct ioapic io;
	struct pic pic;
	struct fake_cpu cpu[CPUS];
};

static void on_intr(struct vcpu *v) { ((struct fake_cpu *)v)->intr++; }
static void on_nmi(struct vcpu *v) { ((struct fake_cpu *)v)->nmi++; }
static void on_init(struct vcpu *v) { ((struct fake_cpu *)v)->init++; }

static void on_sipi(struct vcpu *v, u8 vector)
{
	((struct fake_cpu *)v)->sipi++;
	((struct fake_cpu *)v)->sipi_vector = vector;
}

static void on_set_deadline(struct vcpu *v, u64 tsc) { ((struct fake_cpu *)v)->deadline = tsc; }

static const struct vcpu_ops cpu_ops = {
	.assert_intr = on_intr,
	.assert_nmi = on_nmi,
	.assert_init = on_init,
	.assert_sipi = on_sipi,
	.set_deadline = on_set_deadline,
};

static u64 tsc_now(void *ctx, unsigned index) { return ((struct fixture *)ctx)->clock.now_ns * (TSC_HZ / NS_PER_SEC); }

static struct fixture fix;

static u32 rd(unsigned cpu, unsigned reg) { return (u32)lapic_mmio_ops.read(&fix.bus.apic[cpu], reg, 4); }
static void wr(unsigned cpu, unsigned reg, u32 v) { lapic_mmio_ops.write(&fix.bus.apic[cpu], reg, 4, v); }
static int highest(unsigned cpu) { return lapic_ops.highest(&fix.bus.apic[cpu]); }
static int ack(unsigned cpu) { return lapic_ops.ack(&fix.bus.apic[cpu]); }
static bool set_msr(unsigned cpu, u32 msr, u64 v) { return lapic_ops.msr_write(&fix.bus.apic[cpu], msr, v); }
static void go(u64 ns) { pass(&fix.clock, &fix.vm.timers, ns); }

static u64 get_msr(unsigned cpu, u32 msr)
{
	u64 v = 0;

	assert_true(lapic_ops.msr_read(&fix.bus.apic[cpu], msr, &v));
	return v;
}

static bool can_read(unsigned cpu, u32 msr)
{
	u64 v;

	return lapic_ops.msr_read(&fix.bus.apic[cpu], msr, &v);
}

static void ipi(unsigned cpu, u32 dest, u32 low)
{
	wr(cpu, 0x310, dest << 24);
	wr(cpu, 0x300, low);
}

static int setup(void **state)
{
	const struct lapic_config cfg = {{tsc_now, &fix, TSC_HZ}, true, 48};

	memset(&fix, 0, sizeof(fix));
	clock_fake_init(&fix.clock);
	fix.clock.now_ns = 5000;
	assert_int_equal(vm_init(&fix.vm, NULL, &fix.clock.clock, NULL), 0);
	lapic_bus_init(&fix.bus, &fix.vm, CPUS, &cfg);
	ioapic_init(&fix.io, &fix.bus);
	pic_init(&fix.pic, lapic_bus_extint(&fix.bus));
	fix.bus.eoi = ioapic_eoi;
	fix.bus.eoi_ctx = &fix.io;
	fix.bus.extint_ack = pic_ack;
	fix.bus.extint_ctx = &fix.pic;
	fix.vm.nvcpus = CPUS;
	for (unsigned i = 0; i < CPUS; i++) {
		fix.cpu[i].vcpu = (struct vcpu){&cpu_ops, &fix.vm, i};
		fix.vm.vcpu[i] = &fix.cpu[i].vcpu;
		wr(i, 0x0f0, 0x1ff);
	}
	return 0;
}

static int teardown(void **state)
{
	fix.vm.nvcpus = 0; /* the fakes have nothing to destroy */
	vm_destroy(&fix.vm);
	return 0;
}

static void power_on(void **state)
{
	const struct lapic_config cfg = {{tsc_now, &fix, TSC_HZ}, true, 48};

	lapic_bus_init(&fix.bus, &fix.vm, CPUS, &cfg);
	assert_int_equal(get_msr(0, 0x1b), 0xfee00900);
	assert_int_equal(get_msr(1, 0x1b), 0xfee00800);
	assert_int_equal(rd(2, 0x20), 2u << 24);
	assert_int_equal(rd(0, 0xe0), 0xffffffff);
	assert_int_equal(rd(0, 0xf0), 0xff);
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(rd(0, 0x320 + i * 16), 0x10000);
	wr(0, 0x320, 0x40); /* software-disabled: the mask cannot be cleared */
	assert_int_equal(rd(0, 0x320), 0x10040);
	assert_false(can_read(0, 0x802));
}

static void priorities(void **state)
{
	ipi(0, 0, 0x4041);
	ipi(0, 0, 0x4045);
	ipi(0, 0, 0x4062);
	assert_int_equal(fix.cpu[0].intr, 3);
	assert_int_equal(highest(0), 0x62);
	assert_int_equal(ack(0), 0x62);
	assert_int_equal(rd(0, 0xa0), 0x60);
	assert_int_equal(highest(0), -1);     /* 45h is of a lower class */
	assert_int_equal(rd(0, 0x220), 0x22); /* IRR 41h 45h */
	assert_int_equal(rd(0, 0x130), 0x4);  /* ISR 62h */
	ipi(0, 0, 0x4071);
	assert_int_equal(ack(0), 0x71);
	wr(0, 0xb0, 0);
	assert_int_equal(highest(0), -1);
	wr(0, 0xb0, 0);
	assert_int_equal(ack(0), 0x45);
	assert_int_equal(highest(0), -1); /* same class */
	wr(0, 0xb0, 0);
	assert_int_equal(ack(0), 0x41);
	wr(0, 0xb0, 0);
	assert_int_equal(ack(0), -1);
}

static void task_priority(void **state)
{
	lapic_ops.cr8_set(&fix.bus.apic[0], 5);
	assert_int_equal(rd(0, 0x80), 0x50);
	ipi(0, 0, 0x4055);
	assert_int_equal(highest(0), -1);
	ipi(0, 0, 0x4061);
	assert_int_equal(highest(0), 0x61);
	wr(0, 0x80, 0x4f);
	assert_int_equal(lapic_ops.cr8_get(&fix.bus.apic[0]), 4);
	assert_int_equal(ack(0), 0x61);
	wr(0, 0xb0, 0);
	assert_int_equal(highest(0), 0x55);
	wr(0, 0x0f0, 0xff); /* disabled by software: held back */
	assert_int_equal(highest(0), -1);
	wr(0, 0x0f0, 0x1ff);
	assert_int_equal(highest(0), 0x55);
}

static void shorthands(void **state)
{
	ipi(1, 0, 0x44050); /* self */
	assert_int_equal(highest(1), 0x50);
	assert_int_equal(highest(0), -1);
	ipi(1, 0, 0xc4060); /* all but self */
	assert_int_equal(highest(0), 0x60);
	assert_int_equal(highest(1), 0x50);
	assert_int_equal(highest(3), 0x60);
	ipi(1, 0, 0x84070); /* all */
	assert_int_equal(highest(1), 0x70);
	assert_int_equal(highest(2), 0x70);
	ipi(1, 0xff, 0x4080); /* broadcast */
	assert_int_equal(highest(1), 0x80);
}

static void logical(void **state)
{
	for (unsigned i = 0; i < CPUS; i++)
		wr(i, 0xd0, 1u << (24 + i));
	ipi(0, 0x6, 0x4850);
	assert_int_equal(highest(0), -1);
	assert_int_equal(highest(1), 0x50);
	assert_int_equal(highest(2), 0x50);
	wr(1, 0x80, 0x20);
	ipi(0, 0xf, 0x4951); /* lowest priority: not 1 */
	assert_int_equal(highest(0), 0x51);
	for (unsigned i = 0; i < CPUS; i++) {
		wr(i, 0xe0, 0x0fffffff);
		wr(i, 0xd0, (i / 2) << 28 | 1u << (24 + i % 2)); /* clusters of two */
	}
	ipi(0, 0x12, 0x4860);
	assert_int_equal(highest(3), 0x60);
	assert_int_equal(highest(2), 0x50);
	ipi(0, 0xf1, 0x4870); /* first of every cluster */
	assert_int_equal(highest(0), 0x70);
	assert_int_equal(highest(2), 0x70);
	assert_int_equal(highest(3), 0x60);
}

static void start_up(void **state)
{
	wr(2, 0x350, 0x700);
	ipi(0, 2, 0xc500); /* INIT, level, assert */
	ipi(0, 2, 0x8500); /* de-assert */
	ipi(0, 2, 0x4699);
	assert_int_equal(fix.cpu[2].init, 1);
	assert_int_equal(fix.cpu[2].sipi, 1);
	assert_int_equal(fix.cpu[2].sipi_vector, 0x99);
	assert_int_equal(rd(2, 0x350), 0x10000);
	assert_int_equal(rd(2, 0x20), 2u << 24);
	ipi(0, 1, 0x4400);
	assert_int_equal(fix.cpu[1].nmi, 1);
}

static void errors(void **state)
{
	wr(0, 0x370, 0xfe);
	ipi(0, 0, 0x4005);
	assert_int_equal(highest(0), 0xfe);
	assert_int_equal(rd(0, 0x280), 0); /* not before a write */
	wr(0, 0x280, 0);
	assert_int_equal(rd(0, 0x280), 0x20);
	wr(0, 0x280, 0);
	assert_int_equal(rd(0, 0x280), 0);
	rd(0, 0x3f0);
	wr(0, 0x280, 0);
	assert_int_equal(rd(0, 0x280), 0x80);
}

static void one_shot(void **state)
{
	wr(0, 0x3e0, 0x3); /* by 16 */
	wr(0, 0x320, 0xec);
	wr(0, 0x380, 1000);
	go(4000);
	assert_int_equal(rd(0, 0x390), 750);
	go(11999);
	assert_int_equal(highest(0), -1);
	go(1);
	assert_int_equal(ack(0), 0xec);
	assert_int_equal(rd(0, 0x390), 0);
	wr(0, 0xb0, 0);
	go(1000000);
	assert_int_equal(highest(0), -1);
	wr(0, 0x380, 1000);
	wr(0, 0x380, 0);
	go(1000000);
	assert_int_equal(highest(0), -1);
}

static void periodic(void **state)
{
	unsigned n = 0;

	wr(0, 0x3e0, 0xb); /* by 1 */
	wr(0, 0x320, 0x200ec);
	wr(0, 0x380, 1000000);
	for (unsigned i = 0; i < 100; i++) {
		go(100000);
		if (highest(0) >= 0) {
			assert_int_equal(ack(0), 0xec);
			wr(0, 0xb0, 0);
			n++;
		}
	}
	assert_int_equal(n, 10);
	go(250000);
	assert_int_equal(rd(0, 0x390), 750000);
	fix.clock.now_ns += 100500000; /* a late host */
	go(0);
	assert_int_equal(ack(0), 0xec);
	assert_int_equal(rd(0, 0x390), 250000); /* still on its grid */
	wr(0, 0x320, 0x300ec);			/* masked */
	wr(0, 0xb0, 0);
	go(5000000);
	assert_int_equal(highest(0), -1);
}

/* The processor says when its TSC is there. */
static void deadline(void **state)
{
	u64 *told = &fix.cpu[0].deadline;
	u64 now;

	assert_true(set_msr(0, 0x6e0, 12345)); /* not in that mode: ignored */
	assert_int_equal(get_msr(0, 0x6e0), 0);
	wr(0, 0x320, 0x400ec);
	now = tsc_now(&fix, 0);
	assert_true(set_msr(0, 0x6e0, now + 2 * TSC_HZ));
	assert_int_equal(get_msr(0, 0x6e0), now + 2 * TSC_HZ);
	assert_int_equal(*told, now + 2 * TSC_HZ);
	go(2 * NS_PER_SEC - 10);
	lapic_ops.deadline(&fix.bus.apic[0]);
	assert_int_equal(highest(0), -1);
	assert_int_equal(*told, now + 2 * TSC_HZ);
	go(20);
	lapic_ops.deadline(&fix.bus.apic[0]);
	assert_int_equal(highest(0), 0xec);
	assert_int_equal(get_msr(0, 0x6e0), 0);
	assert_int_equal(*told, ~0ull);
	assert_int_equal(ack(0), 0xec);
	wr(0, 0xb0, 0);
	assert_true(set_msr(0, 0x6e0, 1)); /* in the past: at once */
	assert_int_equal(ack(0), 0xec);
	assert_int_equal(*told, ~0ull);
	wr(0, 0xb0, 0);
	assert_true(set_msr(0, 0x6e0, tsc_now(&fix, 0) + 1000));
	assert_true(set_msr(0, 0x6e0, 0));
	assert_int_equal(*told, ~0ull);
	assert_true(set_msr(0, 0x6e0, tsc_now(&fix, 0) + 1000));
	wr(0, 0x320, 0xec); /* leaving the mode disarms */
	assert_int_equal(*told, ~0ull);
	go(1000000);
	lapic_ops.deadline(&fix.bus.apic[0]);
	assert_int_equal(highest(0), -1);
}

static void base_transitions(void **state)
{
	assert_false(set_msr(0, 0x1b, 0xfee00400)); /* EXTD without EN */
	assert_false(set_msr(0, 0x1b, 0xfee00a00)); /* reserved */
	assert_false(set_msr(0, 0x1b, 1ull << 48 | 0xfee00900));
	assert_true(set_msr(0, 0x1b, 0xfee00d00));  /* x2APIC */
	assert_false(set_msr(0, 0x1b, 0xfee00900)); /* and not back */
	assert_true(set_msr(0, 0x1b, 0xfee00100));  /* off */
	assert_false(set_msr(0, 0x1b, 0xfee00d00)); /* off to x2APIC */
	assert_true(set_msr(0, 0x1b, 0xfee00900));
	assert_int_equal(rd(0, 0xf0), 0xff); /* as after power-up */
	fix.bus.allow_x2apic = false;
	assert_false(set_msr(0, 0x1b, 0xfee00d00));
}

static void x2apic(void **state)
{
	for (unsigned i = 0; i < CPUS; i++)
		assert_true(set_msr(i, 0x1b, get_msr(i, 0x1b) | 0x400));
	assert_int_equal(rd(0, 0x20), 0xffffffff); /* no memory-mapped registers */
	assert_int_equal(get_msr(3, 0x802), 3);
	assert_int_equal(get_msr(3, 0x80d), 8);
	assert_false(set_msr(0, 0x802, 0));
	assert_false(can_read(0, 0x80b));
	assert_false(can_read(0, 0x80e));
	assert_false(can_read(0, 0x831));
	assert_false(set_msr(0, 0x80b, 1));
	assert_false(set_msr(0, 0x828, 1));
	assert_false(set_msr(0, 0x808, 0x100));
	assert_false(set_msr(0, 0x80f, 0x1000));
	assert_false(set_msr(0, 0x830, 1ull << 20));
	assert_false(set_msr(0, 0x8ff, 0));
	assert_true(set_msr(0, 0x830, 2ull << 32 | 0x4050));
	assert_int_equal(highest(2), 0x50);
	assert_int_equal(get_msr(0, 0x830), 2ull << 32 | 0x4050);
	assert_true(set_msr(0, 0x830, 0xaull << 32 | 0x4860)); /* logical: 1 and 3 */
	assert_int_equal(highest(1), 0x60);
	assert_int_equal(highest(3), 0x60);
	assert_true(set_msr(0, 0x83f, 0x70)); /* self IPI */
	assert_int_equal(ack(0), 0x70);
	assert_true(set_msr(0, 0x80b, 0));
	assert_true(set_msr(0, 0x830, 0xffffffffull << 32 | 0x4080));
	assert_int_equal(highest(0), 0x80);
	assert_int_equal(highest(3), 0x80);
}

static void own_memory(void **state)
{
	u64 v = 0;

	assert_true(lapic_ops.mmio_read(&fix.bus.apic[2], LAPIC_BASE + 0x20, 4, &v));
	assert_int_equal(v, 2u << 24);
	assert_false(lapic_ops.mmio_read(&fix.bus.apic[2], LAPIC_BASE + 0x1000, 4, &v));
	assert_true(lapic_ops.mmio_write(&fix.bus.apic[2], LAPIC_BASE + 0x80, 4, 0x30));
	assert_int_equal(rd(2, 0x80), 0x30);
}

/* ---- IOAPIC ---- */

static u32 io_rd(u8 index)
{
	ioapic_ops.write(&fix.io, 0, 4, index);
	return (u32)ioapic_ops.read(&fix.io, 0x10, 4);
}

static void io_wr(u8 index, u32 v)
{
	ioapic_ops.write(&fix.io, 0, 4, index);
	ioapic_ops.write(&fix.io, 0x10, 4, v);
}

static void io_entry(unsigned pin, u32 dest, u32 low)
{
	io_wr((u8)(0x11 + pin * 2), dest << 24);
	io_wr((u8)(0x10 + pin * 2), low);
}

static void io_registers(void **state)
{
	assert_int_equal(io_rd(1), 0x170020);
	assert_int_equal(io_rd(0x10), 0x10000);
	io_wr(0, 0xffffffff);
	assert_int_equal(io_rd(0), 0x0f000000);
	io_wr(0x12, 0xffffffff);
	assert_int_equal(io_rd(0x12), 0x1afff);
	assert_int_equal(io_rd(0x40), 0xffffffff);
}

static void io_edge(void **state)
{
	io_entry(4, 1, 0x10041);
	ioapic_set(&fix.io, 4, true); /* masked: lost */
	io_entry(4, 1, 0x41);
	assert_int_equal(highest(1), -1);
	ioapic_set(&fix.io, 4, false);
	ioapic_set(&fix.io, 4, true);
	assert_int_equal(ack(1), 0x41);
	ioapic_set(&fix.io, 4, true); /* no edge */
	wr(1, 0xb0, 0);
	assert_int_equal(highest(1), -1);
	assert_int_equal(rd(1, 0x1a0), 0); /* TMR */
}

static void io_level(void **state)
{
	io_entry(17, 0, 0x18055); /* level, masked */
	ioapic_set(&fix.io, 17, true);
	assert_int_equal(highest(0), -1);
	io_entry(17, 0, 0x8055); /* the wire is still high */
	assert_int_equal(highest(0), 0x55);
	assert_int_equal(io_rd(0x10 + 34), 0xc055); /* Remote IRR */
	assert_int_equal(ack(0), 0x55);
	assert_int_equal(rd(0, 0x1a0), 1u << 21);
	wr(0, 0xb0, 0); /* not silenced: again */
	assert_int_equal(ack(0), 0x55);
	ioapic_set(&fix.io, 17, false);
	wr(0, 0xb0, 0);
	assert_int_equal(highest(0), -1);
	assert_int_equal(io_rd(0x10 + 34), 0x8055);
	ioapic_set(&fix.io, 17, true);
	ioapic_set(&fix.io, 17, false);
	assert_int_equal(ack(0), 0x55);
	ioapic_ops.write(&fix.io, 0x40, 4, 0x55); /* directed EOI */
	assert_int_equal(io_rd(0x10 + 34), 0x8055);
}

static void extint(void **state)
{
	const u8 master[] = {0x11, 0x30, 0x04, 0x01}, slave[] = {0x11, 0x38, 0x02, 0x01};

	for (unsigned i = 0; i < 4; i++) {
		out8(&pic_master_ops, &fix.pic, i != 0, master[i]);
		out8(&pic_slave_ops, &fix.pic, i != 0, slave[i]);
	}
	pic_set(&fix.pic, 0, true);
	assert_int_equal(highest(0), -1); /* LINT0 is masked */
	lapic_virtual_wire(&fix.bus.apic[0]);
	assert_int_equal(highest(0), LAPIC_EXTINT);
	assert_int_equal(highest(1), -1);
	assert_int_equal(ack(0), 0x30);
	assert_int_equal(highest(0), -1);
	assert_int_equal(rd(0, 0x110), 0); /* no ISR bit for it */
	pic_set(&fix.pic, 0, false);
	out8(&pic_master_ops, &fix.pic, 0, 0x20);
	assert_true(set_msr(0, 0x1b, 0xfee00100)); /* APIC off: INTR is the processor's own pin */
	pic_set(&fix.pic, 1, true);
	assert_int_equal(ack(0), 0x31);
}

static void msi(void **state)
{
	struct msi_sink sink = lapic_bus_msi(&fix.bus);

	sink.send(sink.ctx, 0xfee03000, 0x4061);
	assert_int_equal(highest(3), 0x61);
	for (unsigned i = 0; i < CPUS; i++)
		wr(i, 0xd0, 1u << (24 + i));
	sink.send(sink.ctx, 0xfee0300c, 0x62); /* redirection hint: one of 0 and 1 */
	assert_int_equal((highest(0) == 0x62) + (highest(1) == 0x62), 1);
	sink.send(sink.ctx, 0xfed00000, 0x63);
	assert_int_equal(highest(2), -1);
}

static void tiles(void **state)
{
	assert_null(desc_check(&lapic_state_desc));
	assert_null(desc_check(&ioapic_state_desc));
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(power_on),
		T(priorities),
		T(task_priority),
		T(shorthands),
		T(logical),
		T(start_up),
		T(errors),
		T(one_shot),
		T(periodic),
		T(deadline),
		T(base_transitions),
		T(x2apic),
		T(own_memory),
		T(io_registers),
		T(io_edge),
		T(io_level),
		T(extint),
		T(msi),
		cmocka_unit_test(tiles),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
