/*
 * The wiring of the board (pc.h).
 *
 * An interrupt output drives a GSI: 0 to 15 are the ISA IRQs, wired to the 8259 pair and to the IOAPIC's input of the
 * same number, but IRQ 0, which goes to input 2; 16 to 19 are PCI's INTx, which the ISA bridge's router also
 * takes to ISA IRQs 10 and 11 or where firmware wants them. No two chips share an input: INTx is combined inside the
 * PCI bus and inside the router.
 */
#include "machine/pc.h"

#include <linux/pci_regs.h>
#include <string.h>

#include "machine/map.h"

#define NO_IRQ	      0xffu
#define SLOT_TERMINAL 28u
#define SLOT_CONSOLE  29u
#define SLOT_TESTDEV  30u
#define SLOT_RNG      2u
#define SLOT_NET      3u
#define SLOT_DISK     4u /* of the first */

/* Which ISA interrupt each PIRQ gets where no firmware decides. */
static const u8 pirq_irq[PCI_INTX] = {10, 10, 11, 11};

static struct irq_line gsi_line(struct pc *pc, unsigned gsi);

/* ---- what chips ask of the machine ---- */

static void on_poweroff(void *vm) { vm_stop(vm, VM_POWEROFF, 0); }
static void on_reset(void *vm) { vm_stop(vm, VM_RESET, 0); }
static void on_debug_exit(void *vm, u32 code) { vm_stop(vm, VM_DEBUG_EXIT, (int)code); }
static u8 reset_read(void *pm) { return pm_reset_read(pm); }
static void reset_write(void *pm, u8 value) { pm_reset_write(pm, value); }

/* ---- making each chip; `line` is the input that its row names ---- */

static void init_lapic(struct pc *pc, struct irq_line line)
{
	lapic_bus_init(&pc->lapic, pc->vm, pc->cfg.vcpus, &pc->cfg.lapic);
	pc->lapic.extint_ack = pic_ack;
	pc->lapic.extint_ctx = &pc->pic;
	pc->lapic.eoi = ioapic_eoi;
	pc->lapic.eoi_ctx = &pc->ioapic;
	pc->vm->apic_ops = &lapic_ops;
	for (unsigned i = 0; i < pc->cfg.vcpus; i++)
		pc->vm->apic[i] = &pc->lapic.apic[i];
	pc->vm->msi = lapic_bus_msi(&pc->lapic);
}

static void init_ioapic(struct pc *pc, struct irq_line line) { ioapic_init(&pc->ioapic, &pc->lapic); }
static void init_pic(struct pc *pc, struct irq_line line) { pic_init(&pc->pic, lapic_bus_extint(&pc->lapic)); }

static void init_hpet(struct pc *pc, struct irq_line line)
{
	const struct irq_line ioapic = {ioapic_set, &pc->ioapic, 0};

	hpet_init(&pc->hpet, &pc->vm->timers, ioapic, gsi_line(pc, 0), gsi_line(pc, 8));
}

static void init_pit(struct pc *pc, struct irq_line line)
{
	pit_init(&pc->pit, &pc->vm->timers, hpet_legacy_line(&pc->hpet, 0));
}

static void init_rtc(struct pc *pc, struct irq_line line)
{
	if (!pc->cfg.irqchip_set)
		line = hpet_legacy_line(&pc->hpet, 1);
	rtc_init(&pc->rtc, &pc->vm->timers, line, map_low(pc->cfg.memory), map_high(pc->cfg.memory));
}

static void init_pm(struct pc *pc, struct irq_line line)
{
	const struct pm_host host = {on_poweroff, on_reset, pc->vm};

	pm_init(&pc->pm, &pc->vm->timers, line, &host);
}

static void init_i8042(struct pc *pc, struct irq_line line)
{
	i8042_init(&pc->i8042, line, gsi_line(pc, 12), on_reset, pc->vm);
}

static void init_uart(struct pc *pc, struct irq_line line)
{
	uart_init(&pc->uart, &pc->vm->timers, line, pc->cfg.serial);
}
static void init_debug_exit(struct pc *pc, struct irq_line line)
{
	debug_exit_init(&pc->debug_exit, on_debug_exit, pc->vm);
}

static void intx_set(void *ctx, unsigned wire, bool level)
{
	struct pc *pc = ctx;
	const struct irq_line apic = gsi_line(pc, PC_INTX_GSI + wire);

	irq_set(&apic, level);
	piix_intx_set(&pc->piix, wire, level);
}

static void init_pci(struct pc *pc, struct irq_line line)
{
	struct irq_line intx[PCI_INTX];

	for (unsigned i = 0; i < PCI_INTX; i++)
		intx[i] = (struct irq_line){intx_set, pc, i};
	pci_bus_init(&pc->pci, pc->vm, intx);
	pc->pci.reset_read = reset_read;
	pc->pci.reset_write = reset_write;
	pc->pci.reset_ctx = &pc->pm;
}

static void init_bridge(struct pc *pc, struct irq_line line)
{
	if (pc->cfg.firmware)
		piix_init_bridge(&pc->bridge);
	else
		pci_bridge_init(&pc->bridge);
	pci_attach(&pc->pci, &pc->bridge, 0);
}

static void init_piix(struct pc *pc, struct irq_line line)
{
	struct irq_line irq[PIIX_IRQS];

	for (unsigned i = 0; i < PIIX_IRQS; i++)
		irq[i] = gsi_line(pc, i);
	piix_init(&pc->piix, PM_BASE, irq);
	pci_attach(&pc->pci, &pc->piix.isa, PIIX_SLOT);
	if (pc->cfg.firmware)
		pci_attach_function(&pc->pci, &pc->piix.pm, PIIX_SLOT, PIIX_PM_FUNCTION);
}

static void init_debugcon(struct pc *pc, struct irq_line line) { debugcon_init(&pc->debugcon, pc->cfg.debug); }
static void init_fw_cfg(struct pc *pc, struct irq_line line) { fw_cfg_init(&pc->fw_cfg, pc->vm); }
static void init_flash(struct pc *pc, struct irq_line line)
{
	flash_init(&pc->flash, pc->vm->log, pc->cfg.flash.data, pc->cfg.flash.size);
}

static void init_testdev(struct pc *pc, struct irq_line line) { testdev_init(&pc->testdev, gsi_line(pc, 0)); }

static void init_pci_testdev(struct pc *pc, struct irq_line line)
{
	pci_testdev_init(&pc->pci_testdev);
	pci_attach(&pc->pci, &pc->pci_testdev.pci, SLOT_TESTDEV);
}

static void init_console(struct pc *pc, struct irq_line line)
{
	virtio_console_init(&pc->console, pc->vm, pc->cfg.channel_name, pc->cfg.channel);
	pci_attach(&pc->pci, &pc->console.pci.pci, SLOT_CONSOLE);
}

static void init_terminal(struct pc *pc, struct irq_line line)
{
	virtio_console_init(&pc->terminal, pc->vm, NULL, pc->cfg.terminal);
	pci_attach(&pc->pci, &pc->terminal.pci.pci, SLOT_TERMINAL);
}

static void init_rng(struct pc *pc, struct irq_line line)
{
	virtio_rng_init(&pc->rng, pc->vm, pc->cfg.entropy);
	pci_attach(&pc->pci, &pc->rng.pci.pci, SLOT_RNG);
}

static void init_net(struct pc *pc, struct irq_line line)
{
	virtio_net_init(&pc->net, pc->vm, pc->cfg.mac, pc->cfg.net);
	pci_attach(&pc->pci, &pc->net.pci.pci, SLOT_NET);
}

static void init_disk(struct pc *pc, unsigned i)
{
	char serial[] = {'d', 'i', 's', 'k', (char)('0' + i), 0};

	virtio_blk_init(&pc->blk[i], pc->vm, &pc->cfg.disk[i].disk, pc->cfg.disk[i].queues, serial);
	pci_attach(&pc->pci, &pc->blk[i].pci.pci, SLOT_DISK + i);
}

static void init_disk0(struct pc *pc, struct irq_line line) { init_disk(pc, 0); }
static void init_disk1(struct pc *pc, struct irq_line line) { init_disk(pc, 1); }
static void init_disk2(struct pc *pc, struct irq_line line) { init_disk(pc, 2); }
static void init_disk3(struct pc *pc, struct irq_line line) { init_disk(pc, 3); }

/* ---- the table ---- */

enum when {
	ALWAYS,
	OWN_IRQCHIP,
	WITH_CHANNEL,
	WITH_TERMINAL,
	WITH_TESTDEV,
	WITH_FIRMWARE,
	WITH_EITHER,
	WITH_FLASH,
	WITH_ENTROPY,
	WITH_NET,
	WITH_DISK0,
	WITH_DISK1,
	WITH_DISK2,
	WITH_DISK3
};
enum space { PORT = 1, MMIO };

struct chip {
	const struct device_class *class;
	size_t at; /* in struct pc */
	enum when when;
	u8 gsi;
	void (*init)(struct pc *pc, struct irq_line line);
	struct {
		enum space space;
		u64 base, size;
		const struct bus_ops *ops;
	} range[5];
};

#define AT(member) offsetof(struct pc, member)

/*
 * In the order of making: a chip may use those above it. A device of several parts has a row for each; the first makes
 * them all. The local APICs answer through lapic_ops before the bus is asked; their range here keeps others out of it.
 */
/* clang-format off */
#define DISK_ROWS(n) \
	{&virtio_blk_class, AT(blk[n]), WITH_DISK##n, NO_IRQ, init_disk##n, {{0}}}, \
	{&virtio_class, AT(blk[n].virtio), WITH_DISK##n, NO_IRQ, NULL, {{0}}}, \
	{&pci_function_class, AT(blk[n].pci.pci), WITH_DISK##n, NO_IRQ, NULL, {{0}}}

static const struct chip chips[] = {
	{&lapic_class, AT(lapic.apic[0]), OWN_IRQCHIP, NO_IRQ, init_lapic,
	 {{MMIO, LAPIC_BASE, LAPIC_SIZE, &lapic_mmio_ops}}},
	{&ioapic_class, AT(ioapic), OWN_IRQCHIP, NO_IRQ, init_ioapic, {{MMIO, IOAPIC_BASE, IOAPIC_SIZE, &ioapic_ops}}},
	{&pic_class, AT(pic), OWN_IRQCHIP, NO_IRQ, init_pic,
	 {{PORT, 0x20, 2, &pic_master_ops}, {PORT, 0xa0, 2, &pic_slave_ops}, {PORT, 0x4d0, 2, &pic_elcr_ops}}},
	{&hpet_class, AT(hpet), OWN_IRQCHIP, NO_IRQ, init_hpet, {{MMIO, HPET_BASE, HPET_SIZE, &hpet_ops}}},
	{&pit_class, AT(pit), OWN_IRQCHIP, 0, init_pit, {{PORT, 0x40, 4, &pit_ops}, {PORT, 0x61, 1, &pit_speaker_ops}}},
	{&rtc_class, AT(rtc), ALWAYS, 8, init_rtc, {{PORT, 0x70, 2, &rtc_ops}}},
	{&pm_class, AT(pm), ALWAYS, 9, init_pm, {{PORT, PM_BASE, PM_SIZE, &pm_ops}}},
	{&i8042_class, AT(i8042), ALWAYS, 1, init_i8042,
	 {{PORT, 0x60, 1, &i8042_data_ops}, {PORT, 0x64, 1, &i8042_command_ops}, {PORT, 0x92, 1, &i8042_port92_ops}}},
	{&uart_class, AT(uart), ALWAYS, 4, init_uart, {{PORT, 0x3f8, 8, &uart_ops}}},
	{&pci_bus_class, AT(pci), ALWAYS, NO_IRQ, init_pci,
	 {{PORT, 0xcf8, 8, &pci_port_ops}, {MMIO, MAP_ECAM, PCI_ECAM_SIZE, &pci_ecam_ops}}},
	{&pci_function_class, AT(bridge), ALWAYS, NO_IRQ, init_bridge, {{0}}},
	{&virtio_console_class, AT(console), WITH_CHANNEL, NO_IRQ, init_console, {{0}}},
	{&virtio_class, AT(console.virtio), WITH_CHANNEL, NO_IRQ, NULL, {{0}}},
	{&pci_function_class, AT(console.pci.pci), WITH_CHANNEL, NO_IRQ, NULL, {{0}}},
	{&virtio_console_class, AT(terminal), WITH_TERMINAL, NO_IRQ, init_terminal, {{0}}},
	{&virtio_class, AT(terminal.virtio), WITH_TERMINAL, NO_IRQ, NULL, {{0}}},
	{&pci_function_class, AT(terminal.pci.pci), WITH_TERMINAL, NO_IRQ, NULL, {{0}}},
	{&virtio_rng_class, AT(rng), WITH_ENTROPY, NO_IRQ, init_rng, {{0}}},
	{&virtio_class, AT(rng.virtio), WITH_ENTROPY, NO_IRQ, NULL, {{0}}},
	{&pci_function_class, AT(rng.pci.pci), WITH_ENTROPY, NO_IRQ, NULL, {{0}}},
	{&virtio_net_class, AT(net), WITH_NET, NO_IRQ, init_net, {{0}}},
	{&virtio_class, AT(net.virtio), WITH_NET, NO_IRQ, NULL, {{0}}},
	{&pci_function_class, AT(net.pci.pci), WITH_NET, NO_IRQ, NULL, {{0}}},
	DISK_ROWS(0),
	DISK_ROWS(1),
	DISK_ROWS(2),
	DISK_ROWS(3),
	{&debug_exit_class, AT(debug_exit), WITH_TESTDEV, NO_IRQ, init_debug_exit, {{PORT, 0xf4, 4, &debug_exit_ops}}},
	{&testdev_class, AT(testdev), WITH_TESTDEV, NO_IRQ, init_testdev,
	 {{PORT, 0xe0, 4, &testdev_latch_ops}, {PORT, 0xe4, 4, &testdev_flush_ops}, {PORT, 0xe8, 1, &testdev_byte_ops},
	  {PORT, 0x2000, TESTDEV_IRQS, &testdev_irq_ops}, {MMIO, TESTDEV_MEM, TESTDEV_MEM_SIZE, &testdev_mem_ops}}},
	{&pci_testdev_class, AT(pci_testdev), WITH_TESTDEV, NO_IRQ, init_pci_testdev, {{0}}},
	{&pci_function_class, AT(pci_testdev.pci), WITH_TESTDEV, NO_IRQ, NULL, {{0}}},
	{&debugcon_class, AT(debugcon), WITH_EITHER, NO_IRQ, init_debugcon,
	 {{PORT, 0xe9, 1, &debugcon_ops}, {PORT, 0x402, 1, &debugcon_ops}}},
	{&fw_cfg_class, AT(fw_cfg), WITH_EITHER, NO_IRQ, init_fw_cfg,
	 {{PORT, 0x510, 2, &fw_cfg_ops}, {PORT, 0x514, 8, &fw_cfg_dma_ops}}},
	{&flash_class, AT(flash), WITH_FLASH, NO_IRQ, init_flash, {{0}}}, /* where it ends the firmware's image begins */
	{&pci_function_class, AT(piix.isa), ALWAYS, NO_IRQ, init_piix, {{0}}},
	{&pci_function_class, AT(piix.pm), WITH_FIRMWARE, NO_IRQ, NULL, {{0}}},
};
/* clang-format on */

static bool present(const struct pc *pc, const struct chip *c)
{
	switch (c->when) {
	case OWN_IRQCHIP: return !pc->cfg.irqchip_set;
	case WITH_CHANNEL: return pc->cfg.channel_name;
	case WITH_TERMINAL: return pc->cfg.terminal.write;
	case WITH_TESTDEV: return pc->cfg.testdev;
	case WITH_FIRMWARE: return pc->cfg.firmware;
	case WITH_EITHER: return pc->cfg.testdev || pc->cfg.firmware;
	case WITH_FLASH: return pc->cfg.flash.data;
	case WITH_ENTROPY: return pc->cfg.entropy.fill;
	case WITH_NET: return pc->cfg.net.send;
	case WITH_DISK0:
	case WITH_DISK1:
	case WITH_DISK2:
	case WITH_DISK3: return (unsigned)(c->when - WITH_DISK0) < pc->cfg.ndisks;
	case ALWAYS: break;
	}
	return true;
}

static void board_gsi_set(void *ctx, unsigned gsi, bool level)
{
	struct pc *pc = ctx;

	if (gsi < 16)
		pic_set(&pc->pic, gsi, level);
	ioapic_set(&pc->ioapic, gsi ? gsi : PC_IRQ0_GSI, level);
}

static struct irq_line gsi_line(struct pc *pc, unsigned gsi)
{
	if (gsi == NO_IRQ)
		return (struct irq_line){0};
	if (pc->cfg.irqchip_set)
		return (struct irq_line){pc->cfg.irqchip_set, pc->cfg.irqchip, gsi};
	return (struct irq_line){board_gsi_set, pc, gsi};
}

static int add_ranges(struct pc *pc, const struct chip *c, struct err *e)
{
	for (unsigned i = 0; i < ARRAY_SIZE(c->range) && c->range[i].space; i++) {
		struct bus *bus = c->range[i].space == PORT ? &pc->vm->ports : &pc->vm->mmio;
		int rc = bus_add(bus, c->range[i].base, c->range[i].size, c->range[i].ops, (char *)pc + c->at,
				 c->class->name, e);

		if (rc)
			return rc;
	}
	if (c->class == &flash_class)
		return bus_add(&pc->vm->mmio, pc->cfg.flash.base, pc->cfg.flash.size, &flash_ops, &pc->flash, "flash",
			       e);
	return 0;
}

int pc_init(struct pc *pc, struct vm *vm, const struct pc_config *cfg, struct err *e)
{
	memset(pc, 0, sizeof(*pc));
	pc->vm = vm;
	pc->cfg = *cfg;
	for (unsigned i = 0; i < ARRAY_SIZE(chips); i++) {
		const struct chip *c = &chips[i];
		int rc;

		if (!present(pc, c))
			continue;
		if (c->init)
			c->init(pc, gsi_line(pc, c->gsi));
		rc = add_ranges(pc, c, e);
		if (rc)
			return rc;
	}
	return 0;
}

void pc_destroy(struct pc *pc)
{
	for (unsigned i = 0; i < pc->cfg.ndisks; i++)
		virtio_blk_destroy(&pc->blk[i]);
	fw_cfg_destroy(&pc->fw_cfg);
}

void pc_each(struct pc *pc, void (*fn)(void *ctx, const struct device_class *class, void *dev), void *ctx)
{
	for (unsigned i = 0; i < ARRAY_SIZE(chips); i++) {
		if (!present(pc, &chips[i]))
			continue;
		if (chips[i].class != &lapic_class)
			fn(ctx, chips[i].class, (char *)pc + chips[i].at);
		for (unsigned k = 0; chips[i].class == &lapic_class && k < pc->cfg.vcpus; k++)
			fn(ctx, &lapic_class, &pc->lapic.apic[k]);
	}
}

/* From the last to the first: the interrupt controllers come when all wires are low. */
void pc_reset(struct pc *pc)
{
	for (unsigned i = ARRAY_SIZE(chips); i--;) {
		if (!present(pc, &chips[i]))
			continue;
		if (chips[i].class != &lapic_class)
			chips[i].class->reset((char *)pc + chips[i].at);
		for (unsigned k = 0; chips[i].class == &lapic_class && k < pc->cfg.vcpus; k++)
			lapic_class.reset(&pc->lapic.apic[k]);
	}
	pc_firmware(pc);
}

const char *pc_owner(const struct pc *pc, const void *at)
{
	size_t offset = (size_t)((const char *)at - (const char *)pc);
	const struct chip *best = NULL;

	for (unsigned i = 0; i < ARRAY_SIZE(chips) && offset < sizeof(*pc); i++)
		if (present(pc, &chips[i]) && chips[i].at <= offset && (!best || best->at <= chips[i].at))
			best = &chips[i];
	return best ? best->class->name : "the host";
}

static void give_address(struct pci_device *d, unsigned bar, u64 *next, u16 command)
{
	*next = ALIGN_UP(*next, d->bar[bar].size);
	pci_bar_assign(d, bar, *next);
	*next += d->bar[bar].size;
	pci_command_set(d, (u16)(d->s.config[PCI_COMMAND] | command));
}

/* As firmware for such boards does: each PIRQ to an interrupt of ISA, level-triggered. */
static void route_pirqs(struct pc *pc)
{
	for (unsigned i = 0; i < PCI_INTX; i++)
		pci_config_write(&pc->piix.isa, PIIX_PIRQ + i, 1, pirq_irq[i]);
	for (unsigned i = 0; i < PCI_INTX && !pc->cfg.irqchip_set; i++)
		pic_elcr_ops.write(&pc->pic, pirq_irq[i] / 8, 1,
				   pic_elcr_ops.read(&pc->pic, pirq_irq[i] / 8, 1) | BIT(pirq_irq[i] % 8));
}

void pc_firmware(struct pc *pc)
{
	u64 memory = MAP_PCI, ports = MAP_PCI_PORTS;

	for (unsigned slot = 0; slot < PCI_SLOTS && !pc->cfg.firmware; slot++) {
		struct pci_device *d = pc->pci.slot[slot];

		for (unsigned i = 0; d && i < PCI_BARS; i++)
			if (d->bar[i].size && d->bar[i].type & PCI_BAR_IO)
				give_address(d, i, &ports, PCI_COMMAND_IO);
			else if (d->bar[i].size)
				give_address(d, i, &memory, PCI_COMMAND_MEMORY);
		if (d && d->s.config[PCI_INTERRUPT_PIN])
			d->s.config[PCI_INTERRUPT_LINE] =
				pirq_irq[piix_pirq(pci_intx_wire(slot, d->s.config[PCI_INTERRUPT_PIN]))];
	}
	if (!pc->cfg.firmware)
		route_pirqs(pc);
	/* LINT0 as ExtINT: the virtual wire mode that a guest without APIC drivers relies on (MP
	 * specification 3.6.2.2). */
	if (!pc->cfg.irqchip_set)
		lapic_virtual_wire(&pc->lapic.apic[0]);
}
