/* Building a machine and taking it apart (machine.h). */
#include "machine/machine_int.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "arch/x86/state.h"
#include "cpu/engine.h"
#include "kvm/kvm.h"
#include "machine/acpi.h"
#include "machine/boot.h"
#include "machine/firmware.h"
#include "machine/fw_files.h"
#include "machine/map.h"

/* ---- making ---- */

static int check_config(const struct machine_config *cfg, struct err *e)
{
	if (!cfg->vcpus || cfg->vcpus > VM_VCPUS)
		return err_set(e, EINVAL, "a machine has 1 to %u processors, not %u", VM_VCPUS, cfg->vcpus);
	if (cfg->memory % RAM_PAGE || cfg->memory < MAP_MIN_RAM)
		return err_set(e, EINVAL, "%" PRIu64 " bytes of memory: it must be whole pages, 2 MiB or more",
			       cfg->memory);
	if (cfg->bios.size && cfg->kernel.size)
		return err_set(e, EINVAL, "firmware starts what is on a disk: a kernel cannot be given with it");
	if (cfg->vars && !cfg->bios.size)
		return err_set(e, EINVAL, "only firmware keeps variables: give its image");
	if (cfg->bios.size && cfg->channel_name)
		return err_set(e, EINVAL, "firmware's board has no place for the channel device");
	if (cfg->bios.size && cfg->terminal.write)
		return err_set(e, EINVAL, "firmware's terminal is the serial port: it has no virtio console");
	if (cfg->slow > MACHINE_SLOW || (cfg->slow > 1 && cfg->accel == ACCEL_KVM))
		return err_set(e, EINVAL, "a guest's clocks are 1 to %u times slow, and only on the software processor",
			       MACHINE_SLOW);
	return 0;
}

static int add_ram(struct machine *m, const struct machine_config *cfg, struct err *e)
{
	int rc = ram_add(&m->vm.ram, 0, map_low(cfg->memory), false, e);

	if (!rc && map_high(cfg->memory))
		rc = ram_add(&m->vm.ram, MAP_4G, map_high(cfg->memory), false, e);
	return rc;
}

static bool own_model(const struct machine_config *cfg)
{
	return cfg->accel == ACCEL_SOFT || (cfg->cpu && strcmp(cfg->cpu, "host"));
}

static int choose_model(struct machine *m, const struct machine_config *cfg, struct err *e)
{
	int rc = 0;

	if (own_model(cfg))
		rc = x86_model_parse(cfg->cpu ? cfg->cpu : "host", &m->model, e);
	if (cfg->slow > 1)
		m->model.tsc_khz *= cfg->slow;
	m->phys_bits = cfg->accel == ACCEL_SOFT ? m->model.phys_bits : firmware_host_phys_bits();
	return rc;
}

static u64 guest_tsc(void *ctx, unsigned index)
{
	struct machine *m = ctx;

	return soft_vcpu_tsc(m->vm.vcpu[index]);
}

static struct acpi_config acpi_of(const struct machine_config *cfg)
{
	return (struct acpi_config){.vcpus = cfg->vcpus, .irq0_gsi = PC_IRQ0_GSI, .hpet = cfg->accel == ACCEL_SOFT};
}

static int add_fw_files(struct machine *m, const struct machine_config *cfg, struct err *e)
{
	const struct acpi_config acpi = acpi_of(cfg);

	return fw_files_add(&m->pc.fw_cfg, cfg, &acpi, e);
}

static int make_board(struct machine *m, const struct machine_config *cfg, struct err *e)
{
	struct pc_config pc = {
		.vcpus = cfg->vcpus,
		.memory = cfg->memory,
		.lapic =
			{
				.tsc = {guest_tsc, m, m->model.tsc_khz * 1000ull},
				.allow_x2apic = x86_has(&m->model, X86F_X2APIC),
				.phys_bits = m->phys_bits,
			},
		.serial = cfg->serial,
		.channel_name = cfg->channel_name,
		.channel = cfg->channel,
		.terminal = cfg->terminal,
		.debug = cfg->debug,
		.testdev = cfg->testdev,
		.firmware = cfg->bios.size,
	};
	int rc;

	if (m->kvm) {
		pc.irqchip_set = kvm_irq_set;
		pc.irqchip = m->kvm;
	}
	rc = backend_open(&m->backend, cfg, &m->vm, &pc, e);
	if (!rc)
		rc = pc_init(&m->pc, &m->vm, &pc, e);
	if (!rc && (cfg->testdev || cfg->bios.size))
		rc = add_fw_files(m, cfg, e);
	if (rc)
		return rc;
	backend_connect(&m->backend, &m->pc);
	pc_firmware(&m->pc);
	input_init(&m->serial, uart_source(&m->pc.uart));
	uart_on_room(&m->pc.uart, input_room, &m->serial);
	if (cfg->terminal.write) {
		input_init(&m->terminal, virtio_console_source(&m->pc.terminal));
		virtio_console_on_room(&m->pc.terminal, input_room, &m->terminal);
	}
	if (cfg->channel_name) {
		input_init(&m->channel, virtio_console_source(&m->pc.console));
		virtio_console_on_room(&m->pc.console, input_room, &m->channel);
	}
	return 0;
}

static int make_vcpus(struct machine *m, const struct machine_config *cfg, struct err *e)
{
	const struct soft_options soft = {.drop_every = cfg->drop_every};

	m->vm.nvcpus = cfg->vcpus; /* what CPUID tells each of them */
	for (unsigned i = 0; i < cfg->vcpus; i++) {
		int rc = m->kvm ? kvm_vcpu_new(m->kvm, i, own_model(cfg) ? &m->model : NULL, &m->vm.vcpu[i], e)
				: soft_vcpu_new(&m->vm, i, &m->model, &soft, &m->vm.vcpu[i], e);

		if (rc)
			return rc;
	}
	return 0;
}

/* What firmware leaves in every processor alike. */
static int set_up_vcpus(struct machine *m, struct err *e)
{
	struct x86_state *st = malloc(sizeof(*st));
	int rc = 0;

	if (!st)
		return err_set(e, ENOMEM, "no memory for a processor's state");
	for (unsigned i = 0; i < m->vm.nvcpus && !rc; i++) {
		m->vm.vcpu[i]->ops->get_state(m->vm.vcpu[i], st);
		firmware_set_mtrrs(st, m->phys_bits);
		rc = m->vm.vcpu[i]->ops->set_state(m->vm.vcpu[i], st, e);
	}
	free(st);
	return rc;
}

static int load_kernel(struct machine *m, const struct machine_config *cfg, struct err *e)
{
	const struct acpi_config acpi = acpi_of(cfg);
	struct boot_image image = {.cfg = cfg, .ram = &m->vm.ram};
	struct vcpu *boot = m->vm.vcpu[0];
	struct x86_state *st = malloc(sizeof(*st));
	int rc;

	if (!st)
		return err_set(e, ENOMEM, "no memory for a processor's state");
	image.rsdp = acpi_build(&m->vm.ram, &acpi);
	boot->ops->get_state(boot, st);
	rc = boot_load(&image, st, e);
	if (!rc)
		rc = boot->ops->set_state(boot, st, e);
	free(st);
	return rc;
}

int machine_load(struct machine *m, struct err *e)
{
	int rc;

	if (m->cfg.bios.size) { /* the processors stand at the reset vector */
		firmware_shadow(&m->vm.ram, &m->cfg.bios);
		return 0;
	}
	rc = set_up_vcpus(m, e);
	return rc ? rc : load_kernel(m, &m->cfg, e);
}

static void on_stop(void *ctx)
{
	struct machine *m = ctx;

	pthread_mutex_lock(&m->wait_lock);
	m->stopped = true;
	pthread_cond_signal(&m->wait);
	pthread_mutex_unlock(&m->wait_lock);
}

/*
 * A slow clock ticks its share of the host's nanoseconds. The time-stamp counter keeps the host's pace and is said to
 * be so much faster: a second holds as many ticks by either.
 */
static struct clock *choose_clock(struct machine *m, const struct machine_config *cfg)
{
	if (cfg->slow <= 1)
		return clock_host();
	clock_slow_init(&m->clock, cfg->slow);
	return &m->clock.clock;
}

static int build(struct machine *m, const struct machine_config *cfg, struct err *e)
{
	int rc = check_config(cfg, e);

	if (!rc)
		rc = vm_init(&m->vm, cfg->log, choose_clock(m, cfg), e);
	if (rc)
		return rc;
	m->vm_made = true;
	m->vm.on_stop = on_stop;
	m->vm.on_stop_ctx = m;
	rc = choose_model(m, cfg, e);
	if (!rc)
		rc = add_ram(m, cfg, e);
	if (!rc && cfg->bios.size)
		rc = firmware_map(&m->vm.ram, &cfg->bios, e);
	if (!rc && cfg->accel == ACCEL_KVM)
		rc = kvm_vm_new(&m->vm, &m->kvm, e);
	if (!rc)
		rc = make_board(m, cfg, e);
	if (!rc)
		rc = make_vcpus(m, cfg, e);
	return rc ? rc : machine_load(m, e);
}

int machine_new(const struct machine_config *cfg, struct machine **out, struct err *e)
{
	struct machine *m = calloc(1, sizeof(*m));
	pthread_condattr_t attr;
	int rc;

	if (!m)
		return err_set(e, ENOMEM, "no memory for a machine");
	m->accel = cfg->accel;
	m->cfg = *cfg;
	pthread_mutex_init(&m->wait_lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&m->wait, &attr);
	pthread_condattr_destroy(&attr);
	rc = build(m, cfg, e);
	if (rc) {
		machine_free(m);
		return rc;
	}
	*out = m;
	return 0;
}

void machine_free(struct machine *m)
{
	if (!m)
		return;
	if (m->vm_made) {
		/* vCPUs first, then KVM's VM, then the RAM that it maps. */
		for (unsigned i = 0; i < m->vm.nvcpus; i++) {
			if (m->vm.vcpu[i])
				m->vm.vcpu[i]->ops->destroy(m->vm.vcpu[i]);
			m->vm.vcpu[i] = NULL;
		}
		m->vm.nvcpus = 0;
		if (m->kvm)
			kvm_vm_free(m->kvm);
		pc_destroy(&m->pc);
		backend_close(&m->backend);
		vm_destroy(&m->vm);
	}
	input_destroy(&m->serial);
	input_destroy(&m->terminal);
	input_destroy(&m->channel);
	pthread_cond_destroy(&m->wait);
	pthread_mutex_destroy(&m->wait_lock);
	free(m);
}

void machine_stop(struct machine *m, enum vm_stop why) { vm_stop(&m->vm, why, 0); }

struct vm *machine_vm(struct machine *m) { return &m->vm; }
struct pc *machine_pc(struct machine *m) { return &m->pc; }
const struct x86_model *machine_model(const struct machine *m) { return m->kvm ? NULL : &m->model; }
const struct inspect_symbols *machine_symbols(const struct machine *m) { return m->cfg.symbols; }

static void add_input(struct machine *m, struct input *in, const void *buf, size_t n)
{
	vm_lock(&m->vm);
	if (!input_add(in, buf, n))
		log_warn(m->vm.log, "%zu bytes of input are lost: nobody takes them", n);
	vm_unlock(&m->vm);
}

void machine_serial_input(struct machine *m, const void *buf, size_t n) { add_input(m, &m->serial, buf, n); }

void machine_terminal_input(struct machine *m, const void *buf, size_t n) { add_input(m, &m->terminal, buf, n); }

void machine_terminal_size(struct machine *m, unsigned rows, unsigned columns)
{
	vm_lock(&m->vm);
	virtio_console_resize(&m->pc.terminal, rows, columns);
	vm_unlock(&m->vm);
}

void machine_channel_input(struct machine *m, const void *buf, size_t n) { add_input(m, &m->channel, buf, n); }

u64 machine_exits(struct machine *m)
{
	u64 sum = 0;

	if (m->kvm)
		return kvm_exits(m->kvm);
	for (unsigned i = 0; i < m->vm.nvcpus; i++)
		sum += m->vm.vcpu[i]->ops->counters(m->vm.vcpu[i])->exits;
	return sum;
}
