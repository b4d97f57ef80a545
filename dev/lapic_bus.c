/*
 * Messages between local APICs, from the IOAPIC and from MSIs: who is addressed, and what each delivery mode does to
 * him.
 *
 * SDM vol. 3 11.6 "Issuing Interprocessor Interrupts", 11.6.2 "Determining IPI Destination", 11.11 "Message Signalled
 * Interrupts". A destination is 32 bits wide in a message; 8-bit senders widen FFh to the broadcast FFFFFFFFh.
 */
#include "dev/lapic_int.h"

#define BROADCAST 0xffffffffu

static u32 widen(u32 dest8) { return dest8 == 0xff ? BROADCAST : dest8; }

static bool addressed(const struct lapic *l, u32 dest, bool logical)
{
	u32 ldr = l->s.ldr;

	if (dest == BROADCAST)
		return true;
	if (!logical)
		return dest == lapic_id(l);
	if (lapic_x2(l))
		return dest >> 16 == ldr >> 16 && dest & ldr & 0xffff;
	if (dest > 0xff)
		return false;
	if (l->s.dfr >> 28 == 0xf) /* flat */
		return dest & ldr >> 24;
	return (dest >> 4 == ldr >> 28 || dest >> 4 == 0xf) && dest & ldr >> 24 & 0xf;
}

/* One processor takes a message. */
static void deliver(struct lapic *l, const struct apic_msg *m)
{
	struct vm *vm = l->bus->vm;
	struct vcpu *vcpu = vm->vcpu[l->index];

	switch (m->mode) {
	case APIC_FIXED:
	case APIC_LOWEST: lapic_accept(l, m->vector, m->level); break;
	case APIC_NMI:
		if (vcpu)
			vcpu->ops->assert_nmi(vcpu);
		break;
	case APIC_SMI:
		if (vcpu && vcpu->ops->assert_smi)
			vcpu->ops->assert_smi(vcpu);
		break;
	case APIC_INIT:
		lapic_init_reset(l);
		if (vcpu)
			vcpu->ops->assert_init(vcpu);
		break;
	case APIC_STARTUP:
		if (vcpu)
			vcpu->ops->assert_sipi(vcpu, m->vector);
		break;
	default: log_limit(vm->log, "local APIC: a message of delivery mode %u", m->mode);
	}
}

static unsigned send_lowest(struct lapic_bus *bus, const struct apic_msg *m)
{
	struct lapic *best = NULL;

	for (unsigned i = 0; i < bus->n; i++) {
		struct lapic *l = &bus->apic[i];

		if (lapic_enabled(l) && l->s.svr & SVR_ENABLE && addressed(l, m->dest, m->logical) &&
		    (!best || lapic_ppr(l) < lapic_ppr(best)))
			best = l;
	}
	if (!best)
		return 0;
	deliver(best, m);
	return 1;
}

unsigned lapic_bus_send(struct lapic_bus *bus, const struct apic_msg *m)
{
	unsigned n = 0;

	if (trace_on(bus->vm->topics, TRACE_INT))
		log_trace(bus->vm->log, TRACE_INT, "apic message: %s vector %02x %s %s %x", apic_delivery_name(m->mode),
			  m->vector, m->level ? "level" : "edge", m->logical ? "logical" : "physical", m->dest);
	if (m->mode == APIC_LOWEST)
		return send_lowest(bus, m);
	for (unsigned i = 0; i < bus->n; i++) {
		struct lapic *l = &bus->apic[i];

		if (lapic_enabled(l) && addressed(l, m->dest, m->logical)) {
			deliver(l, m);
			n++;
		}
	}
	return n;
}

void lapic_send_icr(struct lapic *l, u64 icr)
{
	unsigned shorthand = icr >> 18 & 3;
	bool assert = icr & BIT(14), level = icr & BIT(15);
	struct apic_msg m = {
		.dest = lapic_x2(l) ? icr >> 32 : widen(icr >> 56),
		.logical = icr & BIT(11),
		.mode = icr >> 8 & 7,
		.vector = icr & 0xff,
	};

	if (m.mode == APIC_INIT && level && !assert)
		return; /* INIT level de-assert: synchronised arbitration IDs, nothing else */
	if ((m.mode == APIC_FIXED || m.mode == APIC_LOWEST) && m.vector < 16) {
		lapic_error(l, ESR_SEND_ILLEGAL);
		return;
	}
	switch (shorthand) {
	case 0: lapic_bus_send(l->bus, &m); break;
	case 1:
		if (m.mode == APIC_FIXED)
			deliver(l, &m);
		else
			log_limit(l->bus->vm->log, "local APIC: self IPI of delivery mode %u", m.mode);
		break;
	default:
		m.dest = BROADCAST;
		m.logical = false;
		for (unsigned i = 0; i < l->bus->n; i++)
			if ((shorthand == 2 || i != l->index) && lapic_enabled(&l->bus->apic[i]))
				deliver(&l->bus->apic[i], &m);
	}
}

/* SDM vol. 3 11.11.1 and 11.11.2. Bits 63:40 of the address carry destination bits 31:8, as x2APIC guests of
 * hypervisors use them. */
static void msi_send(void *ctx, u64 addr, u32 data)
{
	struct lapic_bus *bus = ctx;
	u32 dest = (addr >> 12 & 0xff) | (addr >> 32 & 0xffffff00);
	struct apic_msg m = {
		.dest = widen(dest),
		.logical = addr & BIT(2),
		.mode = data >> 8 & 7,
		.vector = data & 0xff,
		.level = data & BIT(15),
	};

	if ((addr & 0xfff00000) != LAPIC_BASE) {
		log_limit(bus->vm->log, "message-signalled interrupt to address %#llx", (unsigned long long)addr);
		return;
	}
	if (m.level && !(data & BIT(14)))
		return; /* de-assert */
	if (addr & BIT(3) && m.mode == APIC_FIXED && m.logical)
		m.mode = APIC_LOWEST; /* redirection hint */
	lapic_bus_send(bus, &m);
}

struct msi_sink lapic_bus_msi(struct lapic_bus *bus) { return (struct msi_sink){msi_send, bus}; }

static void extint_set(void *ctx, unsigned pin, bool level)
{
	struct lapic_bus *bus = ctx;

	(void)pin;
	for (unsigned i = 0; i < bus->n; i++) {
		struct lapic *l = &bus->apic[i];
		bool edge = level && !l->s.extint;

		l->s.extint = level;
		if (edge && (l->s.lvt[LVT_LINT0] >> LVT_MODE_SHIFT & 7) != APIC_EXTINT)
			lapic_lvt_fire(l, LVT_LINT0);
		lapic_update(l);
	}
}

struct irq_line lapic_bus_extint(struct lapic_bus *bus) { return (struct irq_line){extint_set, bus, 0}; }

void lapic_bus_init(struct lapic_bus *bus, struct vm *vm, unsigned n, const struct lapic_config *cfg)
{
	bus->vm = vm;
	bus->tsc = cfg->tsc;
	bus->allow_x2apic = cfg->allow_x2apic;
	bus->phys_mask = MASK(cfg->phys_bits);
	bus->extint_ack = NULL;
	bus->eoi = NULL;
	bus->n = n;
	for (unsigned i = 0; i < n; i++) {
		struct lapic *l = &bus->apic[i];

		l->bus = bus;
		l->index = i;
		atomic_init(&l->summary, -1);
		lapic_timer_init(l);
		l->s.extint = 0;
		lapic_reset(l);
	}
}
