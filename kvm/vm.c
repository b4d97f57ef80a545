/*
 * A VM of /dev/kvm: memory slots over vm->ram, the in-kernel interrupt controllers and timer, interrupt lines and
 * messages.
 *
 * GSIs are the board's: 0 to 15 are the ISA interrupts (8259 input n; IOAPIC input n, but 2 for the timer's 0, as the
 * MADT says), 16 to 23 IOAPIC inputs alone.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kvm/internal.h"

/* Pages that KVM takes from the guest's address space for real mode on Intel: below the firmware's place, above the
 * APICs. */
#define IDENTITY_MAP 0xfffbc000ull
#define TSS_PAGES    0xfffbd000ull
#define IOAPIC_PINS  24
#define ISA_PINS     16
#define TIMER_GSI    0
#define TIMER_PIN    2

static void kick_handler(int sig) { (void)sig; }

/* The signal that makes KVM_RUN return; its handler does nothing. */
static int kick_signal_init(struct err *e)
{
	struct sigaction sa = {.sa_handler = kick_handler};

	sigemptyset(&sa.sa_mask);
	if (sigaction(KVM_KICK_SIGNAL, &sa, NULL))
		return err_set(e, errno, "the signal that stops a vCPU cannot be set: %s", strerror(errno));
	return 0;
}

static int step(struct err *e, long r, const char *what)
{
	return r < 0 ? err_set(e, (int)-r, "KVM: %s: %s", what, strerror((int)-r)) : 0;
}

static int memory_map(struct kvm_vm *kvm, struct err *e)
{
	for (unsigned i = 0; i < kvm->vm->ram.n; i++) {
		int r = step(e, kvm_slot_set(kvm, i), "a memory slot");

		if (r)
			return r;
	}
	return 0;
}

/* ---- the chips in the kernel ---- */

static void route(struct kvm_irq_routing *t, u32 gsi, u32 chip, u32 pin)
{
	t->entries[t->nr++] = (struct kvm_irq_routing_entry){
		.gsi = gsi,
		.type = KVM_IRQ_ROUTING_IRQCHIP,
		.u.irqchip = {.irqchip = chip, .pin = pin},
	};
}

static int routing_set(struct kvm_vm *kvm, struct err *e)
{
	struct kvm_irq_routing *t = calloc(1, sizeof(*t) + (IOAPIC_PINS + ISA_PINS) * sizeof(t->entries[0]));
	int r;

	if (!t)
		return err_set(e, ENOMEM, "no memory for KVM's interrupt routes");
	for (u32 gsi = 0; gsi < IOAPIC_PINS; gsi++) {
		if (gsi < ISA_PINS && gsi != TIMER_PIN)
			route(t, gsi, gsi < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE, gsi % 8);
		if (gsi != TIMER_PIN)
			route(t, gsi, KVM_IRQCHIP_IOAPIC, gsi == TIMER_GSI ? TIMER_PIN : gsi);
	}
	r = step(e, kvm_ioctl(kvm->fd, KVM_SET_GSI_ROUTING, t), "interrupt routes");
	free(t);
	return r;
}

/* Waiting for an interrupt in the kernel's busy loop would only take time from the level above. */
static void halt_poll_off(struct kvm_vm *kvm)
{
	struct kvm_enable_cap cap = {.cap = KVM_CAP_HALT_POLL};

	if (kvm_capability(kvm->fd, KVM_CAP_HALT_POLL))
		kvm_ioctl(kvm->fd, KVM_ENABLE_CAP, &cap);
}

/* What the chips hold at power-on: asked of them when they are new. */
static int chips_save(struct kvm_vm *kvm, struct err *e)
{
	int r = 0;

	for (u32 i = 0; i < KVM_CHIPS && !r; i++) {
		kvm->chip[i].chip_id = i;
		r = step(e, kvm_ioctl(kvm->fd, KVM_GET_IRQCHIP, &kvm->chip[i]), "KVM_GET_IRQCHIP");
	}
	return r ? r : step(e, kvm_ioctl(kvm->fd, KVM_GET_PIT2, &kvm->pit), "KVM_GET_PIT2");
}

static int chips_make(struct kvm_vm *kvm, struct err *e)
{
	u64 identity = IDENTITY_MAP;
	struct kvm_pit_config pit = {.flags = KVM_PIT_SPEAKER_DUMMY};
	struct kvm_reinject_control reinject = {.pit_reinject = 0};
	int r;

	if (kvm_capability(kvm->fd, KVM_CAP_SET_IDENTITY_MAP_ADDR)) {
		r = step(e, kvm_ioctl(kvm->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity), "KVM_SET_IDENTITY_MAP_ADDR");
		if (r)
			return r;
	}
	r = step(e, kvm_ioctl_int(kvm->fd, KVM_SET_TSS_ADDR, TSS_PAGES), "KVM_SET_TSS_ADDR");
	if (!r)
		r = step(e, kvm_ioctl_int(kvm->fd, KVM_CREATE_IRQCHIP, 0), "KVM_CREATE_IRQCHIP");
	if (!r)
		r = routing_set(kvm, e);
	if (!r)
		r = step(e, kvm_ioctl(kvm->fd, KVM_CREATE_PIT2, &pit), "KVM_CREATE_PIT2");
	if (!r) /* making up for lost ticks would keep AVIC off */
		r = step(e, kvm_ioctl(kvm->fd, KVM_REINJECT_CONTROL, &reinject), "KVM_REINJECT_CONTROL");
	return r ? r : chips_save(kvm, e);
}

/* The serial port's data register: bytes written there gather in a ring and cost no exit to user space. */
static void coalesce_init(struct kvm_vm *kvm)
{
	struct kvm_coalesced_mmio_zone zone = {.addr = 0x3f8, .size = 1, .pio = 1};
	int page = kvm_capability(kvm->fd, KVM_CAP_COALESCED_MMIO);

	if (page <= 0 || !kvm_capability(kvm->fd, KVM_CAP_COALESCED_PIO))
		return;
	if (kvm_ioctl(kvm->fd, KVM_REGISTER_COALESCED_MMIO, &zone) < 0)
		return;
	kvm->coalesced_page = (u32)page;
}

/* What this KVM has. */
static int abilities_read(struct kvm_vm *kvm, struct err *e)
{
	struct kvm_enable_cap payload = {.cap = KVM_CAP_EXCEPTION_PAYLOAD, .args = {1}};
	const struct kvm_cpuid_entry2 *leaf0;
	int size;

	kvm->supported = kvm_supported_cpuid(kvm->sys_fd);
	if (!kvm->supported)
		return err_set(e, EIO, "KVM does not tell what CPUID its guests have");
	leaf0 = kvm_cpuid_find(kvm->supported, 0, 0);
	kvm->vendor = leaf0 && leaf0->ecx == 0x6c65746e ? X86_INTEL : X86_AMD; /* "GenuineIntel" ends in "ntel" */
	kvm->sregs2 = kvm_capability(kvm->fd, KVM_CAP_SREGS2);
	kvm->payload =
		kvm_capability(kvm->fd, KVM_CAP_EXCEPTION_PAYLOAD) && !kvm_ioctl(kvm->fd, KVM_ENABLE_CAP, &payload);
	kvm->block_irq = kvm_capability(kvm->fd, KVM_CAP_SET_GUEST_DEBUG2) & KVM_GUESTDBG_BLOCKIRQ;
	kvm->nested_size = (u32)kvm_capability(kvm->fd, KVM_CAP_NESTED_STATE);
	size = kvm_capability(kvm->fd, KVM_CAP_XSAVE2);
	kvm->xsave2 = size > 0;
	kvm->xsave_size = MAX((u32)size, (u32)sizeof(struct kvm_xsave));
	for (u32 i = 2; i < KVM_XCOMPS; i++) {
		const struct kvm_cpuid_entry2 *c = kvm_cpuid_find(kvm->supported, 0xd, i);

		if (c && c->ebx + c->eax <= kvm->xsave_size)
			kvm->xcomp[i] = (struct kvm_xcomp){.offset = c->ebx, .size = c->eax};
	}
	return 0;
}

static void msi_send(void *ctx, u64 addr, u32 data)
{
	struct kvm_vm *kvm = ctx;
	struct kvm_msi msi = {.address_lo = (u32)addr, .address_hi = (u32)(addr >> 32), .data = data};
	long r = kvm_ioctl(kvm->fd, KVM_SIGNAL_MSI, &msi);

	if (r <= 0 && trace_on(kvm->vm->topics, TRACE_KVM))
		log_trace(kvm->vm->log, TRACE_KVM, "MSI %#llx data %#x reached nobody (%ld)", (unsigned long long)addr,
			  data, r);
}

void kvm_irq_set(void *kvm_vm, unsigned pin, bool level)
{
	struct kvm_vm *kvm = kvm_vm;
	struct kvm_irq_level line = {.irq = pin, .level = level};

	if (pin >= IOAPIC_PINS || (kvm->pins >> pin & 1) == level)
		return;
	kvm->pins ^= 1u << pin;
	kvm_ioctl(kvm->fd, KVM_IRQ_LINE, &line);
}

int kvm_vm_reset(struct kvm_vm *kvm, struct err *e)
{
	int r = 0;

	for (u32 i = 0; i < KVM_CHIPS && !r; i++) {
		struct kvm_irqchip chip = kvm->chip[i];

		r = step(e, kvm_ioctl(kvm->fd, KVM_SET_IRQCHIP, &chip), "KVM_SET_IRQCHIP");
	}
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
		kvm_irq_set(kvm, pin, false);
	return r ? r : step(e, kvm_ioctl(kvm->fd, KVM_SET_PIT2, &kvm->pit), "KVM_SET_PIT2");
}

static int open_dev(struct kvm_vm *kvm, struct err *e)
{
	struct kvm_probe p;
	long r;

	kvm->sys_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm->sys_fd < 0) {
		int code = errno;

		kvm_probe(&p);
		return err_set(e, code, "%s", p.text);
	}
	r = kvm_ioctl_int(kvm->sys_fd, KVM_CREATE_VM, 0);
	if (r < 0)
		return step(e, r, "KVM_CREATE_VM");
	kvm->fd = (int)r;
	r = kvm_ioctl_int(kvm->sys_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (r < 0)
		return step(e, r, "KVM_GET_VCPU_MMAP_SIZE");
	kvm->run_size = (u32)r;
	return 0;
}

int kvm_vm_new(struct vm *vm, struct kvm_vm **out, struct err *e)
{
	struct kvm_vm *kvm = calloc(1, sizeof(*kvm));
	struct kvm_probe p;
	int r;

	kvm_probe(&p);
	if (!kvm)
		return err_set(e, ENOMEM, "no memory for a KVM VM");
	kvm->vm = vm;
	kvm->sys_fd = kvm->fd = kvm->doors_fd = -1;
	pthread_mutex_init(&kvm->debug_lock, NULL);
	if (!p.usable) {
		kvm_vm_free(kvm);
		return err_set(e, ENODEV, "%s", p.text);
	}
	r = open_dev(kvm, e);
	if (!r)
		r = kick_signal_init(e);
	if (!r)
		r = abilities_read(kvm, e);
	if (!r)
		r = chips_make(kvm, e);
	if (!r)
		r = memory_map(kvm, e);
	if (r) {
		kvm_vm_free(kvm);
		return r;
	}
	coalesce_init(kvm);
	halt_poll_off(kvm);
	kvm_drain_init(kvm);
	kvm_dirty_init(kvm);
	kvm_doorbells_init(kvm);
	vm->msi = (struct msi_sink){msi_send, kvm};
	vm->apic_ops = NULL;
	*out = kvm;
	return 0;
}

void kvm_vm_free(struct kvm_vm *kvm)
{
	if (!kvm)
		return;
	if (kvm->drain_timer.queue) {
		vm_lock(kvm->vm);
		timer_cancel(&kvm->drain_timer);
		vm_unlock(kvm->vm);
	}
	kvm_doorbells_free(kvm);
	if (kvm->fd >= 0)
		close(kvm->fd);
	if (kvm->sys_fd >= 0)
		close(kvm->sys_fd);
	pthread_mutex_destroy(&kvm->debug_lock);
	free(kvm->supported);
	free(kvm);
}
