/* One level of the chain, and what is common knowledge about a level's processor. */
#include "cmd/level.h"

#include <cpuid.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cmd/channel.h"
#include "cmd/initramfs.h"
#include "cmd/kernel.h"

#define MIB (1ull << 20)

const char *level_kvm_module(enum x86_vendor vendor) { return vendor == X86_AMD ? "kvm_amd" : "kvm_intel"; }

void level_own_cpu(char *vendor, char *brand)
{
	u32 a, b, c, d, max;

	__cpuid(0, max, b, c, d);
	memcpy(vendor, &b, 4);
	memcpy(vendor + 4, &d, 4);
	memcpy(vendor + 8, &c, 4);
	vendor[12] = 0;
	brand[0] = 0;
	__cpuid(0x80000000, max, b, c, d);
	if (max < 0x80000004)
		return;
	for (u32 i = 0; i < 3; i++) {
		u32 words[4];

		__cpuid(0x80000002 + i, a, b, c, d);
		words[0] = a;
		words[1] = b;
		words[2] = c;
		words[3] = d;
		memcpy(brand + 16 * i, words, 16);
	}
	brand[48] = 0;
	size_t lead = strspn(brand, " ");
	memmove(brand, brand + lead, strlen(brand + lead) + 1);
	for (size_t n = strlen(brand); n && brand[n - 1] == ' '; n--)
		brand[n - 1] = 0;
}

bool level_own_vendor(enum x86_vendor *vendor)
{
	char name[49], brand[49];

	level_own_cpu(name, brand);
	*vendor = strcmp(name, "GenuineIntel") ? X86_AMD : X86_INTEL;
	return !strcmp(name, "GenuineIntel") || !strcmp(name, "AuthenticAMD") || !strcmp(name, "HygonGenuine");
}

const char *level_stop_text(enum vm_stop why)
{
	switch (why) {
	case VM_RUNNING: return "it still runs";
	case VM_POWEROFF: return "it powered itself off";
	case VM_RESET: return "it reset itself (after a panic its console says why)";
	case VM_DEBUG_EXIT: return "it wrote to the exit port";
	case VM_TRIPLE_FAULT: return "triple fault";
	case VM_TIMEOUT: return "it ran out of time";
	case VM_USER: return "it was stopped from outside";
	case VM_ERROR: return "its processor could not go on";
	}
	return "it stopped";
}

/*
 * What the level must hold: its kernel and root (twice while unpacking), room to work, and all of that again for each
 * guest inside it.
 */
static u64 level_memory(const struct level_start *s, size_t initrd)
{
	u64 inner = MAX(256 * MIB, 128 * MIB + 4 * (u64)initrd);
	u64 outer = 384 * MIB + 6 * (u64)initrd;

	if (s->depth > s->level)
		inner = MAX(s->guests, 1u) * inner + (s->depth - s->level) * outer;
	return ALIGN_UP(inner, 64 * MIB);
}

static int level_command_line(const struct level_start *s, char *out, size_t room, struct err *e)
{
	/* Where a reset starts the guest again, a panic is left on the screen. */
	int n = snprintf(out, room, "console=%s quiet%s", s->terminal.write ? "hvc0" : "ttyS0",
			 s->kept ? "" : " panic=-1");

	if (s->depth)
		n += snprintf(out + n, room - (size_t)n, " nestbox.level=%u nestbox.depth=%u nestbox.timeout=%llu",
			      s->level, s->depth, (unsigned long long)s->timeout_ms / 1000);
	if (s->depth && s->guests > 1)
		n += snprintf(out + n, room - (size_t)n, " nestbox.guests=%u", s->guests);
	if (s->depth && s->keep)
		n += snprintf(out + n, room - (size_t)n, " nestbox.keep=1");
	if (s->depth && s->report)
		n += snprintf(out + n, room - (size_t)n, " nestbox.report=1");
	if (s->append && *s->append)
		n += snprintf(out + n, room - (size_t)n, " %s", s->append);
	return (size_t)n < room ? 0 : err_set(e, E2BIG, "the kernel command line is longer than %zu bytes", room - 1);
}

int level_new(const struct level_start *s, struct machine **out, u64 *memory, struct err *e)
{
	bool starts_another = s->level < s->depth;
	struct initramfs_role roles[3] = {
		{
			.name = "channel",
			.modules = s->depth ? "virtio_pci virtio_console"
					    : "virtio_pci virtio_console virtio_blk virtio_net virtio_rng",
			.only_if_present = !s->depth,
		},
		{.name = "msr",
		 .modules = !s->depth || s->exec || s->keep || s->report ? "msr" : "",
		 .only_if_present = true},
		{.name = "kvm", .modules = level_kvm_module(s->vendor)},
	};
	struct initramfs_config root = {
		.kernel = s->kernel,
		.roles = roles,
		.nroles = starts_another ? 3 : 2,
		.next_level = starts_another,
		.busybox = s->busybox,
		.exec = s->exec,
	};
	struct level_kept own = {0}, *k = s->kept ? s->kept : &own;
	int rc;

	rc = level_command_line(s, k->cmdline, sizeof(k->cmdline), e);
	if (!rc)
		rc = initramfs_build(&root, &k->root, e);
	if (rc)
		return rc;
	struct machine_config cfg = {
		.accel = s->accel,
		.cpu = s->cpu,
		.vcpus = MAX(s->vcpus, 1u),
		.memory = s->memory ? s->memory : level_memory(s, k->root.size),
		.kernel = {s->kernel->data, s->kernel->size},
		.initrd = {k->root.data, k->root.size},
		.cmdline = k->cmdline,
		.serial = s->serial,
		.channel_name = s->depth || s->channel.write ? CHANNEL_NAME : NULL,
		.channel = s->channel,
		.terminal = s->terminal,
		.timeout_ms = s->timeout_ms,
		.disks = s->disks,
		.ndisks = s->ndisks,
		.net = s->net,
		.testdev = s->testdev,
		.drop_every = s->drop_every,
		.slow = s->slow,
		.reboot = s->kept != NULL,
		.symbols = s->symbols,
		.log = s->log,
	};
	if (memory)
		*memory = cfg.memory;
	rc = machine_new(&cfg, out, e);
	initramfs_free(&own.root);
	return rc;
}
