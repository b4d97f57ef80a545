/*
 * The virtio console driven as a driver would: capabilities, negotiation, control queue, data both ways, MSI-X and
 * INTx, event index; then what a hostile driver may put into its rings.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_console.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>

#include "dev/virtio_console.h"

#define RAM_SIZE  0x200000u
#define BAR	  0xc0000000u
#define QSIZE	  16u
#define RING(q)	  (0x10000u + (q)*0x2000u)
#define AVAIL(q)  (RING(q) + 0x800)
#define USED(q)	  (RING(q) + 0x1000)
#define BUF(q, i) (0x100000u + (q)*0x10000u + (i)*0x1000u)

enum { RX, TX, CRX, CTX };

struct rig {
	struct vm vm;
	struct pci_bus bus;
	struct virtio_console console;
	bool wire;
	unsigned msis[8];
	u8 out[65536];
	size_t nout;
	unsigned rooms;
	u32 common, notify, isr, device;
	u16 avail[4], seen[4];
};

static void wire_set(void *ctx, unsigned pin, bool level) { ((struct rig *)ctx)->wire = level; }
static void msi_send(void *ctx, u64 addr, u32 data) { ((struct rig *)ctx)->msis[data & 7]++; }
static void on_room(void *ctx) { ((struct rig *)ctx)->rooms++; }

static void sink_write(void *ctx, const u8 *buf, size_t n)
{
	struct rig *r = ctx;

	if (n <= sizeof(r->out) - r->nout) {
		memcpy(r->out + r->nout, buf, n);
		r->nout += n;
	}
}

static void *ram(struct rig *r, u64 gpa) { return ram_host(&r->vm.ram, gpa, 1); }
static u64 common_read(struct rig *r, u32 reg, unsigned size) { return vm_mmio_read(&r->vm, r->common + reg, size); }
static void common_write(struct rig *r, u32 reg, unsigned size, u64 v)
{
	vm_mmio_write(&r->vm, r->common + reg, size, v);
}

static void find_areas(struct rig *r)
{
	const u8 *c = r->console.pci.pci.s.config;

	for (u8 at = c[PCI_CAPABILITY_LIST]; at; at = c[at + 1]) {
		struct virtio_pci_cap cap;

		if (c[at] != PCI_CAP_ID_VNDR)
			continue;
		memcpy(&cap, c + at, sizeof(cap));
		if (cap.cfg_type == VIRTIO_PCI_CAP_COMMON_CFG)
			r->common = BAR + cap.offset;
		if (cap.cfg_type == VIRTIO_PCI_CAP_NOTIFY_CFG)
			r->notify = BAR + cap.offset;
		if (cap.cfg_type == VIRTIO_PCI_CAP_ISR_CFG)
			r->isr = BAR + cap.offset;
		if (cap.cfg_type == VIRTIO_PCI_CAP_DEVICE_CFG)
			r->device = BAR + cap.offset;
	}
	assert_true(r->common && r->notify && r->isr && r->device);
}

static int setup_kind(void **state, const char *port_name)
{
	struct rig *r = calloc(1, sizeof(*r));
	const struct irq_line line = {wire_set, r, 0};
	const struct irq_line intx[PCI_INTX] = {line, line, line, line};

	assert_int_equal(vm_init(&r->vm, NULL, clock_host(), NULL), 0);
	assert_int_equal(ram_add(&r->vm.ram, 0, RAM_SIZE, false, NULL), 0);
	r->vm.msi = (struct msi_sink){msi_send, r};
	pci_bus_init(&r->bus, &r->vm, intx);
	virtio_console_init(&r->console, &r->vm, port_name, (struct char_sink){sink_write, r});
	virtio_console_on_room(&r->console, on_room, r);
	pci_attach(&r->bus, &r->console.pci.pci, 1);
	pci_bar_assign(&r->console.pci.pci, 0, BAR);
	pci_command_set(&r->console.pci.pci, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	find_areas(r);
	*state = r;
	return 0;
}

static int setup(void **state) { return setup_kind(state, "org.example.test"); }
static int setup_terminal(void **state) { return setup_kind(state, NULL); }

static int teardown(void **state)
{
	struct rig *r = *state;

	vm_destroy(&r->vm);
	free(r);
	return 0;
}

static void kick(struct rig *r, unsigned q) { vm_mmio_write(&r->vm, r->notify + q * 4, 2, q); }

static void put_desc_at(struct rig *r, u64 table, unsigned i, u64 addr, u32 len, u16 flags, u16 next)
{
	struct vring_desc d = {addr, len, flags, next};

	memcpy((u8 *)ram(r, table) + i * sizeof(d), &d, sizeof(d));
}

static void put_desc(struct rig *r, unsigned q, unsigned i, u64 addr, u32 len, u16 flags, u16 next)
{
	put_desc_at(r, RING(q), i, addr, len, flags, next);
}

static void offer(struct rig *r, unsigned q, u16 head)
{
	u16 *avail = ram(r, AVAIL(q));

	avail[2 + r->avail[q] % QSIZE] = head;
	avail[1] = ++r->avail[q];
}

static bool take(struct rig *r, unsigned q, struct vring_used_elem *e)
{
	u16 *used = ram(r, USED(q));

	if (used[1] == r->seen[q])
		return false;
	memcpy(e, (u8 *)used + 4 + 8 * (r->seen[q]++ % QSIZE), sizeof(*e));
	return true;
}

static void start(struct rig *r, u64 features, bool vectors)
{
	common_write(r, VIRTIO_PCI_COMMON_STATUS, 1, 0);
	common_write(r, VIRTIO_PCI_COMMON_STATUS, 1, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	for (unsigned i = 0; i < 2; i++) {
		common_write(r, VIRTIO_PCI_COMMON_GFSELECT, 4, i);
		common_write(r, VIRTIO_PCI_COMMON_GF, 4, (u32)(features >> (32 * i)));
	}
	common_write(r, VIRTIO_PCI_COMMON_STATUS, 1, 11);
	assert_int_equal(common_read(r, VIRTIO_PCI_COMMON_STATUS, 1), 11);
	if (vectors) {
		pci_config_write(&r->console.pci.pci, r->console.pci.pci.msix_cap + 2, 2, PCI_MSIX_FLAGS_ENABLE);
		for (unsigned i = 0; i < 5; i++) {
			vm_mmio_write(&r->vm, BAR + 0x4000 + i * 16, 8, 0xfee00000);
			vm_mmio_write(&r->vm, BAR + 0x4008 + i * 16, 4, i);
			vm_mmio_write(&r->vm, BAR + 0x400c + i * 16, 4, 0);
		}
		common_write(r, VIRTIO_PCI_COMMON_MSIX, 2, 4);
	}
	for (unsigned q = 0; q < 4; q++) {
		common_write(r, VIRTIO_PCI_COMMON_Q_SELECT, 2, q);
		assert_int_equal(common_read(r, VIRTIO_PCI_COMMON_Q_SIZE, 2), 128);
		common_write(r, VIRTIO_PCI_COMMON_Q_SIZE, 2, QSIZE);
		if (vectors)
			common_write(r, VIRTIO_PCI_COMMON_Q_MSIX, 2, q);
		common_write(r, VIRTIO_PCI_COMMON_Q_DESCLO, 4, RING(q));
		common_write(r, VIRTIO_PCI_COMMON_Q_DESCHI, 4, 0);
		common_write(r, VIRTIO_PCI_COMMON_Q_AVAILLO, 8, AVAIL(q));
		common_write(r, VIRTIO_PCI_COMMON_Q_USEDLO, 4, USED(q));
		common_write(r, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
		assert_int_equal(common_read(r, VIRTIO_PCI_COMMON_Q_NOFF, 2), q);
		memset(ram(r, RING(q)), 0, 0x2000);
		r->avail[q] = r->seen[q] = 0;
	}
	common_write(r, VIRTIO_PCI_COMMON_STATUS, 1, 15);
}

#define BASIC (BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_CONSOLE_F_MULTIPORT))
#define FULL  (BASIC | BIT(VIRTIO_RING_F_INDIRECT_DESC) | BIT(VIRTIO_RING_F_EVENT_IDX))

static void send_control(struct rig *r, u32 id, u16 event, u16 value)
{
	struct virtio_console_control m = {id, event, value};
	struct vring_used_elem e;

	memcpy(ram(r, BUF(CTX, 0)), &m, sizeof(m));
	put_desc(r, CTX, 0, BUF(CTX, 0), sizeof(m), 0, 0);
	offer(r, CTX, 0);
	kick(r, CTX);
	assert_true(take(r, CTX, &e));
}

static void expect_control_bytes(struct rig *r, u16 event, const void *tail, size_t n)
{
	struct virtio_console_control m;
	struct vring_used_elem e;

	assert_true(take(r, CRX, &e));
	assert_int_equal(e.len, sizeof(m) + n);
	memcpy(&m, ram(r, BUF(CRX, e.id)), sizeof(m));
	assert_int_equal(m.event, event);
	assert_int_equal(m.value, 1);
	assert_memory_equal((u8 *)ram(r, BUF(CRX, e.id)) + sizeof(m), tail, n);
}

static void expect_control(struct rig *r, u16 event, const char *tail)
{
	expect_control_bytes(r, event, tail, strlen(tail));
}

static void give_control_buffers(struct rig *r)
{
	for (u16 i = 0; i < 4; i++) {
		put_desc(r, CRX, i, BUF(CRX, i), 0x100, VRING_DESC_F_WRITE, 0);
		offer(r, CRX, i);
	}
	kick(r, CRX);
}

static void open_port(struct rig *r)
{
	give_control_buffers(r);
	send_control(r, VIRTIO_CONSOLE_BAD_ID, VIRTIO_CONSOLE_DEVICE_READY, 1);
	expect_control(r, VIRTIO_CONSOLE_PORT_ADD, "");
	send_control(r, 0, VIRTIO_CONSOLE_PORT_READY, 1);
	expect_control(r, VIRTIO_CONSOLE_PORT_NAME, "org.example.test");
	expect_control(r, VIRTIO_CONSOLE_PORT_OPEN, "");
	send_control(r, 0, VIRTIO_CONSOLE_PORT_OPEN, 1);
}

static void negotiation(void **state)
{
	struct rig *r = *state;
	u64 offered;

	common_write(r, VIRTIO_PCI_COMMON_DFSELECT, 4, 1);
	offered = common_read(r, VIRTIO_PCI_COMMON_DF, 4) << 32;
	common_write(r, VIRTIO_PCI_COMMON_DFSELECT, 4, 0);
	offered |= common_read(r, VIRTIO_PCI_COMMON_DF, 4);
	assert_int_equal(offered, FULL);
	assert_int_equal(common_read(r, VIRTIO_PCI_COMMON_NUMQ, 2), 4);
	/* Wanting what is not offered, or not VERSION_1: FEATURES_OK does not stick. */
	common_write(r, VIRTIO_PCI_COMMON_STATUS, 1, 3);
	common_write(r, VIRTIO_PCI_COMMON_GFSELECT, 4, 0);
	common_write(r, VIRTIO_PCI_COMMON_GF, 4, 1u << VIRTIO_CONSOLE_F_SIZE);
	common_write(r, VIRTIO_PCI_COMMON_STATUS, 1, 11);
	assert_int_equal(common_read(r, VIRTIO_PCI_COMMON_STATUS, 1), 3);
	start(r, FULL, false);
	assert_int_equal(common_read(r, VIRTIO_PCI_COMMON_STATUS, 1), 15);
	assert_int_equal(vm_mmio_read(&r->vm, r->device + 4, 4), 1);
	common_write(r, VIRTIO_PCI_COMMON_STATUS, 1, 0);
	assert_int_equal(common_read(r, VIRTIO_PCI_COMMON_STATUS, 1), 0);
	assert_int_equal(common_read(r, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
}

static void data(struct rig *r)
{
	struct char_source source = virtio_console_source(&r->console);
	struct vring_used_elem e;
	const char *msg = "{\"hello\":1}\n";

	assert_int_equal(source.room(source.ctx), 0);
	open_port(r);
	assert_true(r->rooms > 0);
	/* Out: two segments in one chain. */
	memcpy(ram(r, BUF(TX, 0)), "abc", 3);
	memcpy(ram(r, BUF(TX, 1)), "defg", 4);
	put_desc(r, TX, 0, BUF(TX, 0), 3, VRING_DESC_F_NEXT, 1);
	put_desc(r, TX, 1, BUF(TX, 1), 4, 0, 0);
	offer(r, TX, 0);
	kick(r, TX);
	assert_true(take(r, TX, &e));
	assert_int_equal(e.id, 0);
	assert_int_equal(r->nout, 7);
	assert_memory_equal(r->out, "abcdefg", 7);
	/* In: spread over two small chains. */
	put_desc(r, RX, 2, BUF(RX, 2), 8, VRING_DESC_F_WRITE, 0);
	put_desc(r, RX, 3, BUF(RX, 3), 8, VRING_DESC_F_WRITE, 0);
	offer(r, RX, 2);
	offer(r, RX, 3);
	assert_int_equal(source.room(source.ctx), 16);
	source.receive(source.ctx, (const u8 *)msg, strlen(msg));
	assert_true(take(r, RX, &e));
	assert_int_equal(e.id, 2);
	assert_int_equal(e.len, 8);
	assert_memory_equal(ram(r, BUF(RX, 2)), msg, 8);
	assert_true(take(r, RX, &e));
	assert_int_equal(e.len, 4);
	assert_memory_equal(ram(r, BUF(RX, 3)), msg + 8, 4);
	assert_int_equal(source.room(source.ctx), 0);
}

/* A port without a name is a console port; its size follows, and each change of it. */
static void console_port(void **state)
{
	struct rig *r = *state;
	struct char_source source = virtio_console_source(&r->console);
	struct vring_used_elem e;

	virtio_console_resize(&r->console, 24, 80); /* no driver yet: kept */
	for (unsigned run = 0; run < 2; run++) {    /* also after a reset */
		start(r, BASIC | BIT(VIRTIO_CONSOLE_F_SIZE), true);
		assert_int_equal(vm_mmio_read(&r->vm, r->device, 2), 80);
		assert_int_equal(vm_mmio_read(&r->vm, r->device + 2, 2), run ? 50 : 24);
		give_control_buffers(r);
		send_control(r, VIRTIO_CONSOLE_BAD_ID, VIRTIO_CONSOLE_DEVICE_READY, 1);
		expect_control(r, VIRTIO_CONSOLE_PORT_ADD, "");
		send_control(r, 0, VIRTIO_CONSOLE_PORT_READY, 1);
		expect_control(r, VIRTIO_CONSOLE_CONSOLE_PORT, "");
		expect_control(r, VIRTIO_CONSOLE_PORT_OPEN, "");
		expect_control_bytes(r, VIRTIO_CONSOLE_RESIZE, (const u16[]){80, run ? 50 : 24}, 4);
		assert_int_equal(source.room(source.ctx), 0);
		send_control(r, 0, VIRTIO_CONSOLE_PORT_OPEN, 1);
		assert_false(take(r, CRX, &e));
		put_desc(r, RX, 0, BUF(RX, 0), 8, VRING_DESC_F_WRITE, 0);
		offer(r, RX, 0);
		assert_int_equal(source.room(source.ctx), 8);
		/* Changes while no buffer is there: one message, with the last size. */
		virtio_console_resize(&r->console, 30, 90);
		virtio_console_resize(&r->console, 50, 80);
		assert_false(take(r, CRX, &e));
		give_control_buffers(r);
		expect_control_bytes(r, VIRTIO_CONSOLE_RESIZE, (const u16[]){80, 50}, 4);
		assert_false(take(r, CRX, &e));
	}
	/* A driver that does not want sizes is told none. */
	start(r, BASIC, false);
	give_control_buffers(r);
	send_control(r, 0, VIRTIO_CONSOLE_PORT_READY, 1);
	send_control(r, 0, VIRTIO_CONSOLE_PORT_OPEN, 1);
	expect_control(r, VIRTIO_CONSOLE_CONSOLE_PORT, "");
	expect_control(r, VIRTIO_CONSOLE_PORT_OPEN, "");
	virtio_console_resize(&r->console, 10, 10);
	assert_false(take(r, CRX, &e));
}

static void data_msix(void **state)
{
	struct rig *r = *state;

	start(r, BASIC, true);
	data(r);
	assert_int_equal(r->msis[TX], 1);
	assert_int_equal(r->msis[RX], 1);
	assert_int_equal(r->msis[CRX], 2);
	assert_false(r->wire);
}

static void data_intx(void **state)
{
	struct rig *r = *state;

	start(r, FULL, false);
	data(r);
	assert_true(r->wire);
	assert_int_equal(vm_mmio_read(&r->vm, r->isr, 1), 1);
	assert_false(r->wire);
	assert_int_equal(vm_mmio_read(&r->vm, r->isr, 1), 0);
}

static void event_index(void **state)
{
	struct rig *r = *state;
	u16 *avail;

	start(r, FULL, true);
	avail = ram(r, AVAIL(TX));
	put_desc(r, TX, 0, BUF(TX, 0), 1, 0, 0);
	avail[2 + QSIZE] = 2; /* used_event: after the third */
	for (unsigned i = 0; i < 4; i++) {
		offer(r, TX, 0);
		kick(r, TX);
		assert_int_equal(r->msis[TX], i >= 2);
		/* avail_event: ring for the next. */
		assert_int_equal(*(u16 *)ram(r, USED(TX) + 4 + 8 * QSIZE), i + 1);
	}
	assert_int_equal(r->nout, 4);
}

static void suppressed_interrupt(void **state)
{
	struct rig *r = *state;

	start(r, BASIC, true);
	*(u16 *)ram(r, AVAIL(TX)) = VRING_AVAIL_F_NO_INTERRUPT;
	put_desc(r, TX, 0, BUF(TX, 0), 1, 0, 0);
	offer(r, TX, 0);
	kick(r, TX);
	assert_int_equal(r->nout, 1);
	assert_int_equal(r->msis[TX], 0);
}

static void indirect(void **state)
{
	struct rig *r = *state;
	struct vring_used_elem e;

	start(r, FULL, true);
	memcpy(ram(r, BUF(TX, 0)), "xyz", 3);
	put_desc_at(r, BUF(TX, 5), 0, BUF(TX, 0), 1, VRING_DESC_F_NEXT, 2);
	put_desc_at(r, BUF(TX, 5), 2, BUF(TX, 0) + 1, 2, 0, 0);
	put_desc(r, TX, 3, BUF(TX, 5), 48, VRING_DESC_F_INDIRECT, 0);
	offer(r, TX, 3);
	kick(r, TX);
	assert_true(take(r, TX, &e));
	assert_int_equal(e.id, 3);
	assert_memory_equal(r->out, "xyz", 3);
}

static void no_bus_master(void **state)
{
	struct rig *r = *state;

	start(r, BASIC, true);
	pci_command_set(&r->console.pci.pci, PCI_COMMAND_MEMORY);
	put_desc(r, TX, 0, BUF(TX, 0), 1, 0, 0);
	offer(r, TX, 0);
	kick(r, TX);
	assert_int_equal(r->nout, 0);
}

static void config_access_capability(void **state)
{
	struct rig *r = *state;
	struct pci_device *d = &r->console.pci.pci;
	u8 at = r->console.pci.cfg_cap;

	pci_config_write(d, at + 4, 1, 0);
	pci_config_write(d, at + 8, 4, VIRTIO_PCI_COMMON_STATUS);
	pci_config_write(d, at + 12, 4, 1);
	pci_config_write(d, at + 16, 1, 1);
	assert_int_equal(common_read(r, VIRTIO_PCI_COMMON_STATUS, 1), 1);
	common_write(r, VIRTIO_PCI_COMMON_STATUS, 1, 3);
	assert_int_equal(pci_config_read(d, at + 16, 1), 3);
	/* Foolish requests do nothing. */
	pci_config_write(d, at + 8, 4, 0xfffffff0);
	pci_config_write(d, at + 16, 4, ~0ull);
	pci_config_write(d, at + 12, 4, 3);
	pci_config_read(d, at + 16, 4);
}

static void broken_by(struct rig *r)
{
	size_t before = r->nout;

	offer(r, TX, 0);
	kick(r, TX);
	assert_true(common_read(r, VIRTIO_PCI_COMMON_STATUS, 1) & VIRTIO_CONFIG_S_NEEDS_RESET);
	assert_true(r->msis[4] > 0);
	r->msis[4] = 0;
	assert_int_equal(r->nout, before);
	start(r, FULL, true);
	assert_int_equal(common_read(r, VIRTIO_PCI_COMMON_STATUS, 1), 15);
}

static void hostile_rings(void **state)
{
	struct rig *r = *state;

	start(r, FULL, true);
	put_desc(r, TX, 0, BUF(TX, 0), 1, VRING_DESC_F_NEXT, 0); /* a loop */
	broken_by(r);
	put_desc(r, TX, 0, BUF(TX, 0), 1, VRING_DESC_F_NEXT, QSIZE); /* out of the table */
	broken_by(r);
	put_desc(r, TX, 0, RAM_SIZE - 1, 2, 0, 0); /* out of RAM */
	broken_by(r);
	put_desc(r, TX, 0, ~0ull, 2, 0, 0);
	broken_by(r);
	put_desc(r, TX, 0, BUF(TX, 0), 0xffffffff, 0, 0);
	broken_by(r);
	put_desc(r, TX, 0, BUF(TX, 0), 1, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 1); /* order */
	put_desc(r, TX, 1, BUF(TX, 0), 1, 0, 0);
	broken_by(r);
	put_desc(r, TX, 0, BUF(TX, 5), 17, VRING_DESC_F_INDIRECT, 0); /* odd table */
	broken_by(r);
	put_desc(r, TX, 0, BUF(TX, 5), 16, VRING_DESC_F_INDIRECT, 0); /* nested */
	put_desc_at(r, BUF(TX, 5), 0, BUF(TX, 6), 16, VRING_DESC_F_INDIRECT, 0);
	broken_by(r);
	put_desc(r, TX, 0, RAM_SIZE - 16, 32, VRING_DESC_F_INDIRECT, 0);
	put_desc_at(r, RAM_SIZE - 16, 0, BUF(TX, 0), 1, VRING_DESC_F_NEXT, 1);
	broken_by(r);
	r->avail[TX] = 300; /* an index far ahead */
	broken_by(r);
}

/* Rings of random bytes, at random places: no crash, and a reset mends it. */
static void random_rings(void **state)
{
	struct rig *r = *state;
	unsigned seed = 1;

	for (unsigned round = 0; round < 3000; round++) {
		u8 *mem = ram(r, 0);

		start(r, FULL, round & 1);
		for (unsigned i = 0; i < 400; i++)
			mem[RING(0) + (unsigned)rand_r(&seed) % 0x8000] = (u8)rand_r(&seed);
		for (unsigned q = 0; q < 4; q++) {
			u16 *avail = ram(r, AVAIL(q));

			avail[1] = (u16)(rand_r(&seed) % (QSIZE + 2));
			kick(r, q);
		}
		r->nout = 0;
	}
	start(r, FULL, true);
	data(r);
}

static void random_registers(void **state)
{
	struct rig *r = *state;
	unsigned seed = 2;

	for (unsigned i = 0; i < 100000; i++) {
		u64 at = (u64)rand_r(&seed) % 0x8000;
		unsigned size = 1u << (rand_r(&seed) & 3);

		if (at + size > 0x8000)
			continue;
		if (rand_r(&seed) & 1)
			at &= 0x3f;
		if (rand_r(&seed) & 1)
			vm_mmio_write(&r->vm, BAR + at, size, (u64)rand_r(&seed) << (rand_r(&seed) % 40));
		else
			vm_mmio_read(&r->vm, BAR + at, size);
		r->nout = 0;
	}
	for (unsigned i = 0; i < 100000; i++) {
		u32 at = (u32)rand_r(&seed) % 256;

		pci_config_write(&r->console.pci.pci, at, 1u << (rand_r(&seed) % 3), (u64)rand_r(&seed));
		pci_config_read(&r->console.pci.pci, at, 4);
	}
}

static void tables_tile(void **state)
{
	assert_null(desc_check(&virtio_state_desc));
	assert_null(desc_check(&virtio_console_state_desc));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(negotiation, setup, teardown),
		cmocka_unit_test_setup_teardown(console_port, setup_terminal, teardown),
		cmocka_unit_test_setup_teardown(data_msix, setup, teardown),
		cmocka_unit_test_setup_teardown(data_intx, setup, teardown),
		cmocka_unit_test_setup_teardown(event_index, setup, teardown),
		cmocka_unit_test_setup_teardown(suppressed_interrupt, setup, teardown),
		cmocka_unit_test_setup_teardown(indirect, setup, teardown),
		cmocka_unit_test_setup_teardown(no_bus_master, setup, teardown),
		cmocka_unit_test_setup_teardown(config_access_capability, setup, teardown),
		cmocka_unit_test_setup_teardown(hostile_rings, setup, teardown),
		cmocka_unit_test_setup_teardown(random_rings, setup, teardown),
		cmocka_unit_test_setup_teardown(random_registers, setup, teardown),
		cmocka_unit_test(tables_tile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
