/* PCI bus 0 as a kernel's probing sees it: mechanism #1 and ECAM, sizing and moving BARs, INTx, MSI-X with its masks.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <linux/pci_regs.h>

#include "dev/pci.h"

#define ECAM 0xe0000000u
#define SLOT 3u

struct rig {
	struct vm vm;
	struct pci_bus bus;
	struct pci_device bridge, dev;
	bool wire[PCI_INTX];
	unsigned wire_changes;
	u64 msi_addr;
	u32 msi_data;
	unsigned msis;
	u64 last_offset;
	u8 reset_value;
};

static void wire_set(void *ctx, unsigned pin, bool level)
{
	struct rig *r = ctx;

	r->wire[pin] = level;
	r->wire_changes++;
}

static void msi_send(void *ctx, u64 addr, u32 data)
{
	struct rig *r = ctx;

	r->msi_addr = addr;
	r->msi_data = data;
	r->msis++;
}

static u64 bar_read(void *dev, u64 offset, unsigned size)
{
	struct rig *r = dev;

	r->last_offset = offset;
	return offset >= 0x1000 ? pci_msix_read(&r->dev, offset - 0x1000, size) : 0x5a;
}

static void bar_write(void *dev, u64 offset, unsigned size, u64 value)
{
	struct rig *r = dev;

	if (offset >= 0x1000)
		pci_msix_write(&r->dev, offset - 0x1000, size, value);
}

static const struct bus_ops bar_ops = {bar_read, bar_write};
static u8 reset_read(void *ctx) { return ((struct rig *)ctx)->reset_value; }
static void reset_write(void *ctx, u8 value) { ((struct rig *)ctx)->reset_value = value; }

static int setup(void **state)
{
	static struct rig r;
	const struct pci_ids ids = {0x1234, 0x5678, 1, 2, 0x020000, 7, 1};
	struct irq_line intx[PCI_INTX];

	r = (struct rig){0};
	assert_int_equal(vm_init(&r.vm, NULL, clock_host(), NULL), 0);
	r.vm.msi = (struct msi_sink){msi_send, &r};
	for (unsigned i = 0; i < PCI_INTX; i++)
		intx[i] = (struct irq_line){wire_set, &r, i};
	pci_bus_init(&r.bus, &r.vm, intx);
	r.bus.reset_read = reset_read;
	r.bus.reset_write = reset_write;
	r.bus.reset_ctx = &r;
	pci_bridge_init(&r.bridge);
	pci_attach(&r.bus, &r.bridge, 0);
	pci_device_init(&r.dev, "test", &ids, &r);
	pci_bar_init(&r.dev, 0, PCI_BAR_MEM32, 0x2000, &bar_ops);
	pci_bar_init(&r.dev, 1, PCI_BAR_IO, 0x20, &bar_ops);
	pci_bar_init(&r.dev, 2, PCI_BAR_MEM64 | PCI_BAR_PREFETCH, 0x10000, &bar_ops);
	pci_msix_init(&r.dev, 3, 0, 0x1000, 0x1800);
	pci_attach(&r.bus, &r.dev, SLOT);
	assert_int_equal(bus_add(&r.vm.ports, 0xcf8, 8, &pci_port_ops, &r.bus, "pci", NULL), 0);
	assert_int_equal(bus_add(&r.vm.mmio, ECAM, PCI_ECAM_SIZE, &pci_ecam_ops, &r.bus, "ecam", NULL), 0);
	*state = &r;
	return 0;
}

static int teardown(void **state)
{
	vm_destroy(&((struct rig *)*state)->vm);
	return 0;
}

static u32 conf_read(struct rig *r, unsigned slot, u32 reg, unsigned size)
{
	vm_port_write(&r->vm, 0xcf8, 4, 0x80000000 | slot << 11 | (reg & ~3u));
	return (u32)vm_port_read(&r->vm, (u16)(0xcfc + (reg & 3)), size);
}

static void conf_write(struct rig *r, unsigned slot, u32 reg, unsigned size, u32 value)
{
	vm_port_write(&r->vm, 0xcf8, 4, 0x80000000 | slot << 11 | (reg & ~3u));
	vm_port_write(&r->vm, (u16)(0xcfc + (reg & 3)), size, value);
}

static void mechanisms(void **state)
{
	struct rig *r = *state;

	assert_int_equal(conf_read(r, SLOT, PCI_VENDOR_ID, 4), 0x56781234);
	assert_int_equal(conf_read(r, SLOT, PCI_DEVICE_ID, 2), 0x5678);
	assert_int_equal(conf_read(r, SLOT, PCI_CLASS_REVISION + 3, 1), 0x02);
	assert_int_equal(conf_read(r, 0, PCI_CLASS_DEVICE, 2), 0x0600);
	assert_int_equal(conf_read(r, 5, PCI_VENDOR_ID, 4), 0xffffffff);
	assert_int_equal(vm_port_read(&r->vm, 0xcf8, 4), 0x80000000 | 5 << 11);
	/* Another function, another bus, enable bit clear: nobody. */
	vm_port_write(&r->vm, 0xcf8, 4, 0x80000000 | SLOT << 11 | 1 << 8);
	assert_int_equal(vm_port_read(&r->vm, 0xcfc, 4), 0xffffffff);
	vm_port_write(&r->vm, 0xcf8, 4, 0x80010000 | SLOT << 11);
	assert_int_equal(vm_port_read(&r->vm, 0xcfc, 4), 0xffffffff);
	vm_port_write(&r->vm, 0xcf8, 4, SLOT << 11);
	assert_int_equal(vm_port_read(&r->vm, 0xcfc, 4), 0xffffffff);
	assert_int_equal(vm_mmio_read(&r->vm, ECAM + (SLOT << 15), 4), 0x56781234);
	assert_int_equal(vm_mmio_read(&r->vm, ECAM + (SLOT << 15) + 0x100, 4), 0xffffffff);
	assert_int_equal(vm_mmio_read(&r->vm, ECAM + (SLOT << 15) + (1 << 12), 4), 0xffffffff);
	assert_int_equal(vm_mmio_read(&r->vm, ECAM + (9 << 15), 4), 0xffffffff);
}

static void reset_register_inside(void **state)
{
	struct rig *r = *state;

	vm_port_write(&r->vm, 0xcf8, 4, 0x80000000);
	vm_port_write(&r->vm, 0xcf9, 1, 2);
	assert_int_equal(r->reset_value, 2);
	assert_int_equal(vm_port_read(&r->vm, 0xcf9, 1), 2);
	assert_int_equal(vm_port_read(&r->vm, 0xcf8, 4), 0x80000000);
}

static void read_only_bytes(void **state)
{
	struct rig *r = *state;

	conf_write(r, SLOT, PCI_VENDOR_ID, 4, 0);
	conf_write(r, SLOT, PCI_CLASS_REVISION, 4, 0);
	assert_int_equal(conf_read(r, SLOT, PCI_VENDOR_ID, 4), 0x56781234);
	assert_int_equal(conf_read(r, SLOT, PCI_CLASS_REVISION, 4), 0x02000007);
	conf_write(r, SLOT, PCI_INTERRUPT_LINE, 1, 0x2b);
	assert_int_equal(conf_read(r, SLOT, PCI_INTERRUPT_LINE, 4), 0x12b);
}

static void sizing_and_moving(void **state)
{
	struct rig *r = *state;

	conf_write(r, SLOT, PCI_BASE_ADDRESS_0, 4, 0xffffffff);
	assert_int_equal(conf_read(r, SLOT, PCI_BASE_ADDRESS_0, 4), 0xffffe000);
	conf_write(r, SLOT, PCI_BASE_ADDRESS_1, 4, 0xffffffff);
	assert_int_equal(conf_read(r, SLOT, PCI_BASE_ADDRESS_1, 4), 0xffffffe1);
	conf_write(r, SLOT, PCI_BASE_ADDRESS_2, 4, 0xffffffff);
	conf_write(r, SLOT, PCI_BASE_ADDRESS_3, 4, 0xffffffff);
	assert_int_equal(conf_read(r, SLOT, PCI_BASE_ADDRESS_2, 4), 0xffff000c);
	assert_int_equal(conf_read(r, SLOT, PCI_BASE_ADDRESS_3, 4), 0xffffffff);
	assert_int_equal(conf_read(r, SLOT, PCI_BASE_ADDRESS_4, 4), 0);

	conf_write(r, SLOT, PCI_BASE_ADDRESS_0, 4, 0xc0000000);
	conf_write(r, SLOT, PCI_BASE_ADDRESS_1, 4, 0x1000);
	conf_write(r, SLOT, PCI_BASE_ADDRESS_2, 4, 0x10000);
	conf_write(r, SLOT, PCI_BASE_ADDRESS_3, 4, 0x9);
	assert_null(bus_find(&r->vm.mmio, 0xc0000000));
	conf_write(r, SLOT, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_int_equal(vm_mmio_read(&r->vm, 0xc0000010, 4), 0x5a);
	assert_int_equal(vm_mmio_read(&r->vm, 0x900010000, 1), 0x5a);
	assert_null(bus_find(&r->vm.ports, 0x1000));
	conf_write(r, SLOT, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_IO);
	assert_int_equal(vm_port_read(&r->vm, 0x101f, 1), 0x5a);
	/* Onto ECAM: taken, so it stays away; and back. */
	conf_write(r, SLOT, PCI_BASE_ADDRESS_0, 4, ECAM);
	assert_null(bus_find(&r->vm.mmio, 0xc0000000));
	assert_int_equal(vm_mmio_read(&r->vm, ECAM, 4), 0x00081b36);
	conf_write(r, SLOT, PCI_BASE_ADDRESS_0, 4, 0xd0000000);
	assert_int_equal(vm_mmio_read(&r->vm, 0xd0000ffc, 4), 0x5a);
	assert_int_equal(r->last_offset, 0xffc);
	pci_device_reset(&r->dev);
	assert_int_equal(r->vm.mmio.n, 1);
	assert_int_equal(r->vm.ports.n, 1);
}

static void intx(void **state)
{
	struct rig *r = *state;
	unsigned wire = pci_intx_wire(SLOT, 1);

	pci_intx_set(&r->dev, true);
	assert_true(r->wire[wire]);
	assert_true(conf_read(r, SLOT, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
	pci_intx_set(&r->dev, true);
	assert_int_equal(r->wire_changes, 1);
	conf_write(r, SLOT, PCI_COMMAND, 2, PCI_COMMAND_INTX_DISABLE);
	assert_false(r->wire[wire]);
	conf_write(r, SLOT, PCI_COMMAND, 2, 0);
	assert_true(r->wire[wire]);
	conf_write(r, SLOT, r->dev.msix_cap + PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_ENABLE);
	assert_false(r->wire[wire]);
}

static void msix(void **state)
{
	struct rig *r = *state;
	u8 cap = (u8)conf_read(r, SLOT, PCI_CAPABILITY_LIST, 1);

	assert_int_equal(conf_read(r, SLOT, cap, 2), PCI_CAP_ID_MSIX);
	assert_int_equal(conf_read(r, SLOT, cap + PCI_MSIX_FLAGS, 2), 2);
	pci_bar_assign(&r->dev, 0, 0xc0000000);
	conf_write(r, SLOT, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	conf_write(r, SLOT, cap + PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL | 0x3f);
	assert_int_equal(conf_read(r, SLOT, cap + PCI_MSIX_FLAGS, 2),
			 PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL | 2);
	vm_mmio_write(&r->vm, 0xc0001010, 4, 0xfee00000);
	vm_mmio_write(&r->vm, 0xc0001018, 4, 0x41);
	assert_int_equal(vm_mmio_read(&r->vm, 0xc000101c, 4), 1);
	vm_mmio_write(&r->vm, 0xc000101c, 4, 0);
	pci_msix_send(&r->dev, 1);
	assert_int_equal(r->msis, 0);
	assert_int_equal(pci_msix_pending_read(&r->dev, 0, 8), 2);
	conf_write(r, SLOT, cap + PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_ENABLE);
	assert_int_equal(r->msis, 1);
	assert_int_equal(r->msi_addr, 0xfee00000);
	assert_int_equal(r->msi_data, 0x41);
	/* Masked one by one: kept until unmasked, once. */
	vm_mmio_write(&r->vm, 0xc000101c, 4, 1);
	pci_msix_send(&r->dev, 1);
	pci_msix_send(&r->dev, 1);
	assert_int_equal(r->msis, 1);
	vm_mmio_write(&r->vm, 0xc000101c, 4, 0);
	assert_int_equal(r->msis, 2);
	/* Out of range: nothing. */
	pci_msix_send(&r->dev, 3);
	vm_mmio_write(&r->vm, 0xc0001030, 4, ~0u);
	assert_int_equal(vm_mmio_read(&r->vm, 0xc0001030, 4), 0);
	assert_int_equal(r->msis, 2);
	/* No bus mastering, no message; it goes out with it. */
	conf_write(r, SLOT, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	pci_msix_send(&r->dev, 1);
	assert_int_equal(r->msis, 2);
	conf_write(r, SLOT, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	assert_int_equal(r->msis, 3);
}

static void tables_tile(void **state)
{
	assert_null(desc_check(&pci_state_desc));
	assert_null(desc_check(&pci_bus_state_desc));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(mechanisms, setup, teardown),
		cmocka_unit_test_setup_teardown(reset_register_inside, setup, teardown),
		cmocka_unit_test_setup_teardown(read_only_bytes, setup, teardown),
		cmocka_unit_test_setup_teardown(sizing_and_moving, setup, teardown),
		cmocka_unit_test_setup_teardown(intx, setup, teardown),
		cmocka_unit_test_setup_teardown(msix, setup, teardown),
		cmocka_unit_test(tables_tile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
