/* RAM slots, DMA and the VM's stop. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "core/vm.h"

struct fake_vcpu {
	struct vcpu v;
	u64 dropped;
	unsigned drops, kicks;
};

static void fake_kick(struct vcpu *v) { container_of(v, struct fake_vcpu, v)->kicks++; }

static void fake_drop(struct vcpu *v, u64 pa, u64 len)
{
	struct fake_vcpu *f = container_of(v, struct fake_vcpu, v);

	f->dropped = pa;
	f->drops++;
	assert_int_equal(len, RAM_PAGE);
}

static void fake_destroy(struct vcpu *v) {}

static const struct vcpu_ops fake_ops = {.kick = fake_kick, .drop_code = fake_drop, .destroy = fake_destroy};

static void slots(void **state)
{
	struct ram ram = {0};
	struct err e;
	u8 buf[8192];

	assert_int_equal(ram_add(&ram, 0x100000, 0x3000, false, &e), 0);
	assert_int_equal(ram_add(&ram, 0, 0x2000, false, &e), 0);
	assert_int_equal(ram_add(&ram, 0x1000, 0x1000, false, &e), -EINVAL);
	assert_int_equal(ram_add(&ram, 0xff000, 0x2000, false, &e), -EINVAL);
	assert_int_equal(ram_add(&ram, 0x5000, 0x10, false, &e), -EINVAL);
	assert_int_equal(ram_add(&ram, 0x2000, 0x1000, false, &e), 0);
	assert_int_equal(ram.slot[0].gpa, 0);
	assert_int_equal(ram.slot[1].gpa, 0x2000);
	memset(ram_host(&ram, 0x1000, 0x1000), 0xaa, 0x1000);
	memset(ram_host(&ram, 0x2000, 0x1000), 0xbb, 0x1000);
	assert_null(ram_host(&ram, 0x1000, 0x1001));
	assert_null(ram_host(&ram, 0x3000, 1));
	assert_int_equal(ram_read(&ram, 0x1800, buf, 0x1000), 0);
	assert_int_equal(buf[0x7ff], 0xaa);
	assert_int_equal(buf[0x800], 0xbb);
	assert_int_equal(ram_read(&ram, 0x2fff, buf, 2), -EFAULT);
	ram_destroy(&ram);
	assert_int_equal(ram.n, 0);
}

static void dma_drops_code(void **state)
{
	struct vm vm;
	struct fake_vcpu f = {.v = {.ops = &fake_ops}};
	struct err e;
	u8 buf[0x1800] = {1};

	assert_int_equal(vm_init(&vm, NULL, clock_host(), &e), 0);
	assert_int_equal(ram_add(&vm.ram, 0x10000, 0x4000, false, &e), 0);
	assert_int_equal(ram_add(&vm.ram, 0x14000, 0x1000, true, &e), 0);
	vm.vcpu[vm.nvcpus++] = &f.v;
	assert_int_equal(vm_dma_write(&vm, 0x10800, buf, sizeof(buf)), 0);
	assert_int_equal(f.drops, 0);
	vm.ram.slot[0].flags[1] |= RAM_CODE;
	assert_int_equal(vm_dma_write(&vm, 0x10800, buf, sizeof(buf)), 0);
	assert_int_equal(f.drops, 1);
	assert_int_equal(f.dropped, 0x11000);
	assert_int_equal(vm_dma_write(&vm, 0x12000, buf, sizeof(buf)), 0);
	assert_int_equal(f.drops, 1);
	assert_int_equal(vm_dma_write(&vm, 0x13800, buf, sizeof(buf)), -EFAULT);
	assert_int_equal(vm_dma_read(&vm, 0x13000, buf, 0x1800), 0);
	assert_int_equal(vm_dma_read(&vm, 0x15000, buf, 1), -EFAULT);
	vm_destroy(&vm);
}

static void count_stop(void *ctx) { ++*(unsigned *)ctx; }

static void first_stop_wins(void **state)
{
	struct vm vm;
	struct fake_vcpu f = {.v = {.ops = &fake_ops}};
	unsigned stops = 0;
	struct err e;

	assert_int_equal(vm_init(&vm, NULL, clock_host(), &e), 0);
	vm.vcpu[vm.nvcpus++] = &f.v;
	vm.on_stop = count_stop;
	vm.on_stop_ctx = &stops;
	vm_stop(&vm, VM_DEBUG_EXIT, 42);
	vm_stop(&vm, VM_TIMEOUT, 1);
	assert_int_equal(atomic_load(&vm.stop), VM_DEBUG_EXIT);
	assert_int_equal(vm.stop_code, 42);
	assert_int_equal(stops, 1);
	assert_int_equal(f.kicks, 1);
	assert_int_equal(vm_port_read(&vm, 0x80, 2), 0xffff);
	vm_port_write(&vm, 0x80, 1, 1);
	assert_int_equal(vm_mmio_read(&vm, 0xfee00000, 4), 0xffffffff);
	vm_mmio_write(&vm, 0xfee00000, 4, 1);
	vm_destroy(&vm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slots),
		cmocka_unit_test(dma_drops_code),
		cmocka_unit_test(first_stop_wins),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
