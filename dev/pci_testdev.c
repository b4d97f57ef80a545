/* See pci_testdev.h. */
#include "dev/pci_testdev.h"

#include <stdio.h>
#include <string.h>

#define TESTS_PER_BAR 3u
#define MEM_SIZE      4096u
#define PORT_SIZE     256u
#define DATA_MATCH    0xfau
#define DATA_OTHER    0xceu

/* The header as a guest reads it. */
struct test_header {
	u8 test, width, pad0[2];
	u32 offset;
	u8 data, pad1[3];
	u32 count;
	char name[32];
};

static u32 test_offset(unsigned i) { return (i < TESTS_PER_BAR ? MEM_SIZE : PORT_SIZE) / 2 + i; }

static bool test_matches_data(unsigned i) { return i % TESTS_PER_BAR == 2; }

static void build_header(const struct pci_testdev *t, unsigned i, struct test_header *h)
{
	static const char *const kind[] = {"no-eventfd", "wildcard-eventfd", "datamatch-eventfd"};

	memset(h, 0, sizeof(*h));
	h->test = (u8)(i % TESTS_PER_BAR);
	h->width = 1;
	h->offset = test_offset(i);
	h->data = test_matches_data(i) ? DATA_MATCH : DATA_OTHER;
	h->count = t->s.count[i];
	snprintf(h->name, sizeof(h->name), "%s-%s", i < TESTS_PER_BAR ? "mmio" : "portio", kind[i % TESTS_PER_BAR]);
}

static u64 bar_read(void *dev, u64 offset, unsigned size)
{
	struct pci_testdev *t = dev;
	struct test_header h;
	u64 v = 0;

	if (t->s.current >= PCI_TESTDEV_TESTS || offset + size > sizeof(h))
		return 0;
	build_header(t, t->s.current, &h);
	memcpy(&v, (const u8 *)&h + offset, size);
	return v;
}

static void bar_write(struct pci_testdev *t, unsigned first, u64 offset, u64 value)
{
	unsigned i = t->s.current;

	if (!offset) {
		t->s.current = value < TESTS_PER_BAR ? first + (u32)value : PCI_TESTDEV_NONE;
		if (t->s.current != PCI_TESTDEV_NONE)
			t->s.count[t->s.current] = 0;
	} else if (i < PCI_TESTDEV_TESTS && i - first < TESTS_PER_BAR && offset == test_offset(i) &&
		   (!test_matches_data(i) || value == DATA_MATCH)) {
		t->s.count[i]++;
	}
}

static void mem_write(void *dev, u64 offset, unsigned size, u64 value) { bar_write(dev, 0, offset, value); }
static void port_write(void *dev, u64 offset, unsigned size, u64 value)
{
	bar_write(dev, TESTS_PER_BAR, offset, value);
}

static const struct bus_ops mem_ops = {bar_read, mem_write};
static const struct bus_ops port_ops = {bar_read, port_write};

void pci_testdev_init(struct pci_testdev *t)
{
	static const struct pci_ids ids = {
		.vendor = 0x1b36,
		.device = 0x0005,
		.subvendor = 0x1af4,
		.subdevice = 0x1100,
		.class_code = 0x00ff00,
	};

	memset(t, 0, sizeof(*t));
	t->s.current = PCI_TESTDEV_NONE;
	pci_device_init(&t->pci, "pci-testdev", &ids, t);
	pci_bar_init(&t->pci, 0, PCI_BAR_MEM32, MEM_SIZE, &mem_ops);
	pci_bar_init(&t->pci, 1, PCI_BAR_IO, PORT_SIZE, &port_ops);
}

static void reset(void *dev)
{
	struct pci_testdev *t = dev;

	memset(&t->s, 0, sizeof(t->s));
	t->s.current = PCI_TESTDEV_NONE;
}

static const struct desc_field fields[] = {
	DESC_INT(struct pci_testdev_state, current),
	DESC_ARR(struct pci_testdev_state, count),
};
DESC(pci_testdev_state_desc, struct pci_testdev_state, fields);

const struct device_class pci_testdev_class = {"pci-testdev", MIGRATE_STATE, &pci_testdev_state_desc, reset};
