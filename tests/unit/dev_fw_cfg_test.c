/* fw_cfg by port and by DMA, its directory; the test ports; the debug console. */
#include "tests/unit/dev_fake.h"

#include <stdlib.h>
#include <string.h>

#include "dev/debugcon.h"
#include "dev/fw_cfg.h"
#include "dev/pci_testdev.h"
#include "dev/testdev.h"

static void select_key(struct fw_cfg *f, u16 key) { fw_cfg_ops.write(f, 0, 2, key); }

static void items(void **state)
{
	struct vm *vm = calloc(1, sizeof(*vm));
	struct clock_fake clock;
	struct fw_cfg f;
	u32 request[4] = {__builtin_bswap32(0x20u << 16 | 8 | 2), __builtin_bswap32(6), 0, __builtin_bswap32(0x2000)};
	char got[8] = "xxxxxxx";

	(void)state;
	clock_fake_init(&clock);
	assert_int_equal(vm_init(vm, NULL, &clock.clock, NULL), 0);
	assert_int_equal(ram_add(&vm->ram, 0, 0x10000, false, NULL), 0);
	fw_cfg_init(&f, vm);
	assert_int_equal(fw_cfg_add_number(&f, FW_CFG_NB_CPUS, 0x102, 2, NULL), 0);
	assert_int_equal(fw_cfg_add_file(&f, "etc/name", "hello", 5, NULL), 0);
	select_key(&f, 0);
	assert_int_equal(in8(&fw_cfg_ops, &f, 1), 'Q');
	assert_int_equal(in8(&fw_cfg_ops, &f, 1), 'E');
	select_key(&f, FW_CFG_NB_CPUS);
	assert_int_equal(in8(&fw_cfg_ops, &f, 1), 2);
	assert_int_equal(in8(&fw_cfg_ops, &f, 1), 1);
	assert_int_equal(in8(&fw_cfg_ops, &f, 1), 0); /* behind the end */
	select_key(&f, 0x19);
	for (unsigned i = 0; i < 12; i++) { /* count 1; size 5, key 0x20 */
		static const u8 want[12] = {0, 0, 0, 1, 0, 0, 0, 5, 0, 0x20, 0, 0};

		assert_int_equal(in8(&fw_cfg_ops, &f, 1), want[i]);
	}
	assert_int_equal(in8(&fw_cfg_ops, &f, 1), 'e');
	assert_int_equal((u32)fw_cfg_dma_ops.read(&f, 0, 4), __builtin_bswap32(0x51454d55));
	memcpy(ram_host(&vm->ram, 0x1000, 16), request, sizeof(request));
	fw_cfg_dma_ops.write(&f, 0, 4, 0);
	fw_cfg_dma_ops.write(&f, 4, 4, __builtin_bswap32(0x1000));
	assert_int_equal(ram_read(&vm->ram, 0x2000, got, 6), 0);
	assert_memory_equal(got, "hello\0", 6);
	assert_int_equal(ram_read(&vm->ram, 0x1000, got, 4), 0);
	assert_memory_equal(got, "\0\0\0\0", 4);
	request[2] = ~0u; /* to nowhere */
	memcpy(ram_host(&vm->ram, 0x1000, 16), request, sizeof(request));
	fw_cfg_dma_ops.write(&f, 0, 8, __builtin_bswap64(0x1000));
	assert_int_equal(((u8 *)ram_host(&vm->ram, 0x1000, 4))[3], 1);
	fw_cfg_dma_ops.write(&f, 0, 8, ~0ull);
	fw_cfg_destroy(&f);
	vm_destroy(vm);
	free(vm);
}

static unsigned last_pin;
static bool last_level;

static void note(void *ctx, unsigned pin, bool level)
{
	(void)ctx;
	last_pin = pin;
	last_level = level;
}

static void test_ports(void **state)
{
	static struct testdev t;

	(void)state;
	testdev_init(&t, (struct irq_line){note, NULL, 0});
	testdev_latch_ops.write(&t, 0, 4, 0x11223344);
	testdev_latch_ops.write(&t, 1, 1, 0xaa);
	assert_int_equal((u32)testdev_latch_ops.read(&t, 0, 4), 0x1122aa44);
	assert_int_equal((u16)testdev_latch_ops.read(&t, 2, 2), 0x1122);
	testdev_irq_ops.write(&t, 7, 1, 1);
	assert_true(last_pin == 7 && last_level);
	testdev_irq_ops.write(&t, 7, 1, 0);
	assert_false(last_level);
	testdev_mem_ops.write(&t, 0xfff8, 8, 0x0102030405060708);
	assert_int_equal((u16)testdev_mem_ops.read(&t, 0xfffe, 2), 0x0102);
	assert_null(desc_check(&testdev_state_desc));
	assert_null(desc_check(&fw_cfg_state_desc));
	assert_null(desc_check(&pci_testdev_state_desc));
}

static void pci_test(void **state)
{
	struct pci_testdev t;
	const struct bus_ops *mem;
	u32 offset;

	(void)state;
	pci_testdev_init(&t);
	mem = t.pci.bar[0].ops;
	assert_int_equal(mem->read(&t, 0, 4), 0);
	mem->write(&t, 0, 1, 2); /* the test that wants its data */
	assert_int_equal(mem->read(&t, 1, 1), 1);
	offset = (u32)mem->read(&t, 4, 4);
	mem->write(&t, offset, 1, mem->read(&t, 8, 1));
	mem->write(&t, offset, 1, 0);
	assert_int_equal(mem->read(&t, 12, 4), 1);
	mem->write(&t, 0, 1, 9);
	assert_int_equal(mem->read(&t, 12, 4), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(items),
		cmocka_unit_test(test_ports),
		cmocka_unit_test(pci_test),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
