/* The board's wiring: who answers where with either kind of interrupt controller, which chip drives which input, and
 * the ways out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "machine/map.h"
#include "machine/pc.h"

struct rig {
	struct vm vm;
	struct pc pc;
	struct clock_fake clock;
	struct vcpu vcpu;
	unsigned asserted, kicked;
	bool gsi[24];
	char out[64];
	size_t nout;
};

static void vcpu_intr(struct vcpu *v) { container_of(v, struct rig, vcpu)->asserted++; }
static void vcpu_kick(struct vcpu *v) { container_of(v, struct rig, vcpu)->kicked++; }
static void vcpu_destroy(struct vcpu *v) { (void)v; }
static const struct vcpu_ops vcpu_ops = {.assert_intr = vcpu_intr, .kick = vcpu_kick, .destroy = vcpu_destroy};
static u64 tsc_now(void *ctx, unsigned index) { return 0; }
static void gsi_set(void *ctx, unsigned gsi, bool level) { ((struct rig *)ctx)->gsi[gsi] = level; }

static void serial(void *ctx, const u8 *buf, size_t n)
{
	struct rig *r = ctx;

	assert_true(r->nout + n < sizeof(r->out));
	memcpy(r->out + r->nout, buf, n);
	r->nout += n;
}

static struct rig *make(bool own_irqchip)
{
	struct rig *r = calloc(1, sizeof(*r));
	struct pc_config cfg = {
		.vcpus = 1,
		.memory = 64u << 20,
		.lapic = {.tsc = {tsc_now, NULL, 1000000000}, .allow_x2apic = true, .phys_bits = 40},
		.serial = {serial, r},
		.channel_name = "org.example.test",
		.testdev = true,
	};

	clock_fake_init(&r->clock);
	assert_int_equal(vm_init(&r->vm, NULL, &r->clock.clock, NULL), 0);
	r->vcpu = (struct vcpu){&vcpu_ops, &r->vm, 0};
	r->vm.vcpu[0] = &r->vcpu;
	r->vm.nvcpus = 1;
	if (!own_irqchip) {
		cfg.irqchip_set = gsi_set;
		cfg.irqchip = r;
	}
	assert_int_equal(pc_init(&r->pc, &r->vm, &cfg, NULL), 0);
	pc_firmware(&r->pc);
	return r;
}

static int setup_own(void **state) { return (*state = make(true)) ? 0 : -1; }
static int setup_kernel(void **state) { return (*state = make(false)) ? 0 : -1; }

static int teardown(void **state)
{
	struct rig *r = *state;

	vm_destroy(&r->vm);
	free(r);
	return 0;
}

static void out(struct rig *r, u16 port, unsigned size, u64 v) { vm_port_write(&r->vm, port, size, v); }
static u64 in(struct rig *r, u16 port, unsigned size) { return vm_port_read(&r->vm, port, size); }

static void ioapic_route(struct rig *r, unsigned pin, u8 vector)
{
	vm_mmio_write(&r->vm, IOAPIC_BASE, 4, 0x10 + pin * 2);
	vm_mmio_write(&r->vm, IOAPIC_BASE + 0x10, 4, vector);
	vm_mmio_write(&r->vm, IOAPIC_BASE, 4, 0x11 + pin * 2);
	vm_mmio_write(&r->vm, IOAPIC_BASE + 0x10, 4, 0);
}

static void lapic_on(struct rig *r)
{
	assert_true(r->vm.apic_ops->mmio_write(r->vm.apic[0], LAPIC_BASE + 0xf0, 4, 0x1ff));
}

static int pending(struct rig *r) { return r->vm.apic_ops->highest(r->vm.apic[0]); }

static void uart_interrupts(struct rig *r)
{
	out(r, 0x3fc, 1, 0x08); /* OUT2 lets the interrupt out */
	out(r, 0x3f9, 1, 0x02); /* THRE */
}

static void both_have(void **state)
{
	struct rig *r = *state;

	assert_int_equal(in(r, 0x3fd, 1) & 0x60, 0x60);
	assert_int_equal(in(r, PM_BASE + PM_CNT, 2) & 1, 1);
	out(r, 0x70, 1, 0x0d);
	assert_int_equal(in(r, 0x71, 1), 0x80);
	out(r, 0xcf8, 4, 0x80000000 | 29 << 11);
	assert_int_equal(in(r, 0xcfc, 4), 0x10431af4);
	out(r, 0xcf8, 4, 0x80000000 | 29 << 11 | 0x10);
	assert_int_equal(in(r, 0xcfc, 4), MAP_PCI);
	assert_int_equal(vm_mmio_read(&r->vm, MAP_ECAM, 4), 0x00081b36);
	assert_int_equal(vm_mmio_read(&r->vm, MAP_PCI + 0x12, 2), 4); /* num_queues */
	out(r, 0x3f8, 1, 'h');
	out(r, 0x3f8, 1, '\n');
	vm_lock(&r->vm);
	uart_flush(&r->pc.uart);
	vm_unlock(&r->vm);
	assert_memory_equal(r->out, "h\n", 2);
}

static void own_wires(void **state)
{
	struct rig *r = *state;

	both_have(state);
	lapic_on(r);
	assert_int_equal(pending(r), -1);
	ioapic_route(r, 4, 0x44);
	uart_interrupts(r);
	assert_int_equal(pending(r), 0x44);
	assert_true(r->asserted > 0);
	assert_int_equal(r->vm.apic_ops->ack(r->vm.apic[0]), 0x44);
	/* Timer: counter 0 in mode 2, 1000 ticks, on input 2. */
	ioapic_route(r, PC_IRQ0_GSI, 0x50);
	out(r, 0x43, 1, 0x34);
	out(r, 0x40, 1, 1000 & 0xff);
	out(r, 0x40, 1, 1000 >> 8);
	r->clock.now_ns += 2000000;
	vm_lock(&r->vm);
	timer_queue_run(&r->vm.timers);
	vm_unlock(&r->vm);
	assert_int_equal(pending(r), 0x50);
}

static void own_pci_wire_and_msi(void **state)
{
	struct rig *r = *state;

	lapic_on(r);
	ioapic_route(r, 17, 0x61);
	vm_lock(&r->vm);
	pci_intx_set(&r->pc.console.pci.pci, true);
	vm_unlock(&r->vm);
	assert_int_equal(pending(r), 0x61);
	vm_lock(&r->vm);
	r->vm.msi.send(r->vm.msi.ctx, 0xfee00000, 0x72);
	vm_unlock(&r->vm);
	assert_int_equal(pending(r), 0x72);
}

/* The console's INTA is PIRQA, which the router takes to IRQ 10 until it is told otherwise. */
static void own_pci_router(void **state)
{
	struct rig *r = *state;

	vm_lock(&r->vm);
	assert_int_equal(r->pc.pic.s.chip[1].elcr, 0x0c);
	pci_intx_set(&r->pc.console.pci.pci, true);
	assert_int_equal(r->pc.pic.s.chip[1].level, 1 << 2);
	pci_config_write(&r->pc.piix.isa, PIIX_PIRQ, 1, 5);
	assert_int_equal(r->pc.pic.s.chip[1].level, 0);
	assert_int_equal(r->pc.pic.s.chip[0].level, 1 << 5);
	pci_config_write(&r->pc.piix.isa, PIIX_PIRQ, 1, 0x8a);
	assert_int_equal(r->pc.pic.s.chip[0].level | r->pc.pic.s.chip[1].level, 0);
	pci_config_write(&r->pc.piix.isa, PIIX_PIRQ, 1, 13); /* not one that it can reach */
	assert_int_equal(r->pc.pic.s.chip[1].level, 0);
	pci_config_write(&r->pc.piix.isa, PIIX_PIRQ, 1, 11);
	assert_int_equal(r->pc.pic.s.chip[1].level, 1 << 3);
	pc_reset(&r->pc);
	assert_int_equal(r->pc.pic.s.chip[1].level, 0);
	assert_int_equal(r->pc.piix.isa.s.config[PIIX_PIRQ], 10);
	vm_unlock(&r->vm);
}

static void own_pic_in_virtual_wire(void **state)
{
	struct rig *r = *state;

	lapic_on(r);
	assert_true(r->vm.apic_ops->mmio_write(r->vm.apic[0], LAPIC_BASE + 0x350, 4, 0x700)); /* LINT0: ExtINT */
	out(r, 0x20, 1, 0x11);
	out(r, 0x21, 1, 0x30);
	out(r, 0x21, 1, 4);
	out(r, 0x21, 1, 1);
	out(r, 0x21, 1, 0xef);
	uart_interrupts(r);
	assert_int_equal(pending(r), 256);
	assert_int_equal(r->vm.apic_ops->ack(r->vm.apic[0]), 0x34);
}

static void kernel_wires(void **state)
{
	struct rig *r = *state;

	both_have(state);
	assert_null(r->vm.apic_ops);
	assert_null(bus_find(&r->vm.mmio, IOAPIC_BASE));
	assert_null(bus_find(&r->vm.ports, 0x20));
	assert_null(bus_find(&r->vm.ports, 0x40));
	uart_interrupts(r);
	assert_true(r->gsi[4]);
	vm_lock(&r->vm);
	pci_intx_set(&r->pc.console.pci.pci, true);
	vm_unlock(&r->vm);
	assert_true(r->gsi[17]);
}

static void poweroff(void **state)
{
	struct rig *r = *state;

	out(r, PM_BASE + PM_CNT, 2, 1 << 13 | PM_SLP_S5 << 10);
	assert_int_equal(r->vm.stop, VM_POWEROFF);
	assert_int_equal(r->kicked, 1);
}

static void reset_by_cf9(void **state)
{
	struct rig *r = *state;

	out(r, PM_RESET_PORT, 1, 2);
	assert_int_equal(r->vm.stop, VM_RUNNING);
	out(r, PM_RESET_PORT, 1, PM_RESET_VALUE);
	assert_int_equal(r->vm.stop, VM_RESET);
}

static void reset_by_keyboard(void **state)
{
	struct rig *r = *state;

	out(r, 0x64, 1, 0xfe);
	assert_int_equal(r->vm.stop, VM_RESET);
}

static void debug_exit(void **state)
{
	struct rig *r = *state;

	out(r, 0xf4, 1, 0x21);
	assert_int_equal(r->vm.stop, VM_DEBUG_EXIT);
	assert_int_equal(r->vm.stop_code, 0x21);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(own_wires, setup_own, teardown),
		cmocka_unit_test_setup_teardown(own_pci_wire_and_msi, setup_own, teardown),
		cmocka_unit_test_setup_teardown(own_pic_in_virtual_wire, setup_own, teardown),
		cmocka_unit_test_setup_teardown(own_pci_router, setup_own, teardown),
		cmocka_unit_test_setup_teardown(kernel_wires, setup_kernel, teardown),
		cmocka_unit_test_setup_teardown(poweroff, setup_own, teardown),
		cmocka_unit_test_setup_teardown(reset_by_cf9, setup_own, teardown),
		cmocka_unit_test_setup_teardown(reset_by_keyboard, setup_kernel, teardown),
		cmocka_unit_test_setup_teardown(debug_exit, setup_kernel, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
