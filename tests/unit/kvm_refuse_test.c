/*
 * Each way that KVM can refuse: a KVM made of this file (the linker sends ioctl, open and mmap here) does everything
 * but one thing, and the engine must say which in one sentence, release what it had, and go no further.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "kvm/internal.h"

#define RAM_SIZE (1ull << 20)
#define NO_VMXON (~0ull)

enum stage { STAGE_MAKE, STAGE_MODEL, STAGE_SET, STAGE_RUN, STAGE_RESET, STAGE_DIRTY };

/* What is refused: an ioctl (with `code`), a capability, the device or the mapping. */
static struct {
	unsigned long request;
	unsigned cap; /* and 1 */
	int open_code, map_code, code;
	u32 exit_reason;
} refuse;
static bool armed;
static struct kvm_run *run_page;

/* The doorbells that this KVM takes; a run writes to the one at ring_in_run. */
static struct {
	u64 addr;
	int fd; /* 0: free */
} bells[4];
static u64 ring_in_run;

/* The VMX capability MSRs, 480h to 491h: everything is allowed, and the vCPU has what was written last. */
#define VMX_MSRS 18
enum { PIN = 13, PROC, EXIT_WORD, ENTRY, MISC = 5, PROC2 = 11, EPT_VPID, VMFUNC = 17 };
static u64 vmx_msr[VMX_MSRS];
static bool vmx_deaf; /* writes are taken and forgotten */

int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
void *__real_mmap64(void *at, size_t size, int prot, int flags, int fd, off_t off);
void *__wrap_mmap64(void *at, size_t size, int prot, int flags, int fd, off_t off);
int __wrap_ioctl(int fd, unsigned long request, ...);

int __wrap_open64(const char *path, int flags, ...)
{
	if (strcmp(path, "/dev/kvm") != 0)
		return __real_open64(path, flags);
	if (refuse.open_code) {
		errno = refuse.open_code;
		return -1;
	}
	return eventfd(0, EFD_CLOEXEC);
}

void *__wrap_mmap64(void *at, size_t size, int prot, int flags, int fd, off_t off)
{
	void *p;

	if (fd < 0)
		return __real_mmap64(at, size, prot, flags, fd, off);
	if (refuse.map_code) {
		errno = refuse.map_code;
		return MAP_FAILED;
	}
	p = __real_mmap64(NULL, size, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	run_page = p;
	return p;
}

static int capability(unsigned cap)
{
	if (armed && refuse.cap == cap + 1)
		return 0;
	switch (cap) {
	case KVM_CAP_XSAVE2: return 4096;
	case KVM_CAP_NESTED_STATE: return 8320;
	case KVM_CAP_COALESCED_MMIO: return 2;
	case KVM_CAP_BINARY_STATS_FD: return 0;
	default: return 1;
	}
}

static void cpuid(struct kvm_cpuid2 *c)
{
	c->nent = 3;
	c->entries[0] = (struct kvm_cpuid_entry2){
		.function = 0, .eax = 0xd, .ebx = 0x756e6547, .ecx = 0x6c65746e, .edx = 0x49656e69};
	c->entries[1] = (struct kvm_cpuid_entry2){.function = 1, .ecx = BIT(5)};
	c->entries[2] = (struct kvm_cpuid_entry2){.function = 0x80000001};
}

static int ioeventfd(const struct kvm_ioeventfd *io)
{
	bool gone = io->flags & KVM_IOEVENTFD_FLAG_DEASSIGN;

	assert_int_equal(io->len, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(bells); i++) {
		if (gone ? bells[i].addr != io->addr || bells[i].fd != io->fd : bells[i].fd)
			continue;
		bells[i].addr = io->addr;
		bells[i].fd = gone ? 0 : io->fd;
		return 0;
	}
	errno = gone ? ENOENT : ENOSPC;
	return -1;
}

/* A write of the guest's to `addr`: true if it is a doorbell, else it would exit. */
static bool ring(u64 addr)
{
	for (unsigned i = 0; i < ARRAY_SIZE(bells); i++)
		if (bells[i].fd && bells[i].addr == addr)
			return !eventfd_write(bells[i].fd, 1);
	return false;
}

static int msrs(struct kvm_msrs *m, bool set)
{
	for (u32 i = 0; i < m->nmsrs; i++) {
		u32 k = m->entries[i].index - 0x480;

		if (k < VMX_MSRS && !set)
			m->entries[i].data = vmx_msr[k];
		else if (k < VMX_MSRS && !vmx_deaf)
			vmx_msr[k] = m->entries[i].data;
	}
	return (int)m->nmsrs;
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
	va_list ap;
	void *arg;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (armed && request == refuse.request && refuse.code) {
		errno = refuse.code;
		return -1;
	}
	switch (request) {
	case KVM_GET_API_VERSION: return armed && request == refuse.request ? 11 : KVM_API_VERSION;
	case KVM_CREATE_VM:
	case KVM_CREATE_VCPU: return eventfd(0, EFD_CLOEXEC);
	case KVM_CHECK_EXTENSION: return capability((unsigned)(uintptr_t)arg);
	case KVM_GET_VCPU_MMAP_SIZE: return 3 * RAM_PAGE;
	case KVM_GET_SUPPORTED_CPUID: cpuid(arg); return 0;
	case KVM_GET_MSRS: return msrs(arg, false);
	case KVM_SET_MSRS: return msrs(arg, true);
	case KVM_GET_NESTED_STATE:
		((struct kvm_nested_state *)arg)->hdr.vmx.vmxon_pa = NO_VMXON;
		((struct kvm_nested_state *)arg)->hdr.vmx.vmcs12_pa = NO_VMXON;
		return 0;
	case KVM_IOEVENTFD: return ioeventfd(arg);
	case KVM_RUN:
		if (ring_in_run)
			assert_true(ring(ring_in_run));
		run_page->exit_reason = refuse.exit_reason;
		return 0;
	default:
		if (_IOC_DIR(request) == _IOC_READ)
			memset(arg, 0, _IOC_SIZE(request));
		return 0;
	}
}

#define REQUEST(stage, name, code, text)                                                                               \
	{                                                                                                              \
		stage, {name, 0, 0, 0, code, 0}, text                                                                  \
	}
#define LACKS(name)                                                                                                    \
	{                                                                                                              \
		STAGE_MAKE, {0, name + 1, 0, 0, 0, 0}, "lacks " #name                                                  \
	}
#define NO_OPEN(code, text)                                                                                            \
	{                                                                                                              \
		STAGE_MAKE, {0, 0, code, 0, 0, 0}, text                                                                \
	}
#define EXIT(reason, text)                                                                                             \
	{                                                                                                              \
		STAGE_RUN, {0, 0, 0, 0, 0, reason}, text                                                               \
	}

static const struct {
	enum stage stage;
	__typeof__(refuse) what;
	const char *text; /* in the sentence */
} rows[] = {
	NO_OPEN(ENOENT, "there is no /dev/kvm"),
	NO_OPEN(EACCES, "/dev/kvm may not be opened by this user"),
	NO_OPEN(EBUSY, "/dev/kvm does not open: Device or resource busy"),
	REQUEST(STAGE_MAKE, KVM_GET_API_VERSION, 0, "does not speak KVM's API version 12"),
	REQUEST(STAGE_MAKE, KVM_CREATE_VM, EBUSY, "KVM makes no VM: Device or resource busy"),
	LACKS(KVM_CAP_IRQCHIP),
	LACKS(KVM_CAP_PIT2),
	LACKS(KVM_CAP_USER_MEMORY),
	LACKS(KVM_CAP_SET_TSS_ADDR),
	LACKS(KVM_CAP_EXT_CPUID),
	LACKS(KVM_CAP_IRQ_ROUTING),
	LACKS(KVM_CAP_SIGNAL_MSI),
	LACKS(KVM_CAP_IMMEDIATE_EXIT),
	LACKS(KVM_CAP_MP_STATE),
	LACKS(KVM_CAP_VCPU_EVENTS),
	LACKS(KVM_CAP_DEBUGREGS),
	LACKS(KVM_CAP_XSAVE),
	LACKS(KVM_CAP_XCRS),
	REQUEST(STAGE_MAKE, KVM_GET_SUPPORTED_CPUID, EINVAL, "does not tell what CPUID"),
	REQUEST(STAGE_MAKE, KVM_GET_VCPU_MMAP_SIZE, EINVAL, "KVM_GET_VCPU_MMAP_SIZE"),
	REQUEST(STAGE_MAKE, KVM_SET_IDENTITY_MAP_ADDR, EINVAL, "KVM_SET_IDENTITY_MAP_ADDR"),
	REQUEST(STAGE_MAKE, KVM_SET_TSS_ADDR, EINVAL, "KVM_SET_TSS_ADDR"),
	REQUEST(STAGE_MAKE, KVM_CREATE_IRQCHIP, ENOMEM, "KVM_CREATE_IRQCHIP"),
	REQUEST(STAGE_MAKE, KVM_SET_GSI_ROUTING, EINVAL, "interrupt routes"),
	REQUEST(STAGE_MAKE, KVM_CREATE_PIT2, ENOMEM, "KVM_CREATE_PIT2"),
	REQUEST(STAGE_MAKE, KVM_GET_IRQCHIP, EINVAL, "KVM_GET_IRQCHIP"),
	REQUEST(STAGE_MAKE, KVM_GET_PIT2, EINVAL, "KVM_GET_PIT2"),
	REQUEST(STAGE_MAKE, KVM_SET_USER_MEMORY_REGION, EEXIST, "a memory slot: File exists"),
	REQUEST(STAGE_MAKE, KVM_CREATE_VCPU, EEXIST, "KVM makes no vCPU 0: File exists"),
	{STAGE_MAKE, {0, 0, 0, EPERM, 0, 0}, "run page cannot be mapped"},
	REQUEST(STAGE_MAKE, KVM_SET_CPUID2, EINVAL, "does not accept the guest's CPUID"),
	REQUEST(STAGE_MAKE, KVM_GET_LAPIC, EINVAL, "does not tell all of vCPU 0"),
	REQUEST(STAGE_MAKE, KVM_GET_NESTED_STATE, EINVAL, "does not tell all of vCPU 0"),
	REQUEST(STAGE_MODEL, KVM_GET_MSRS, EINVAL, "does not tell its guest's VMX capabilities (MSR 0x48d)"),
	REQUEST(STAGE_MODEL, KVM_SET_MSRS, EINVAL, "does not take the CPU model's VMX capabilities (MSR 0x48d"),
	REQUEST(STAGE_SET, KVM_GET_REGS, EINVAL, "does not take the guest's registers"),
	REQUEST(STAGE_SET, KVM_SET_REGS, EINVAL, "does not take the guest's registers"),
	REQUEST(STAGE_SET, KVM_SET_SREGS2, EINVAL, "segments and control registers"),
	REQUEST(STAGE_SET, KVM_SET_XCRS, EINVAL, "XCR0"),
	REQUEST(STAGE_SET, KVM_SET_DEBUGREGS, EINVAL, "debug registers"),
	REQUEST(STAGE_SET, KVM_SET_VCPU_EVENTS, EINVAL, "pending events"),
	REQUEST(STAGE_SET, KVM_SET_MP_STATE, EINVAL, "activity"),
	REQUEST(STAGE_SET, KVM_SET_XSAVE, EINVAL, "vector state"),
	REQUEST(STAGE_SET, KVM_GET_MSRS, EINVAL, "MSRs"),
	REQUEST(STAGE_SET, KVM_SET_MSRS, EFAULT, "MSRs"),
	REQUEST(STAGE_SET, KVM_SET_NESTED_STATE, EINVAL, "nested state"),
	REQUEST(STAGE_RUN, KVM_SET_GUEST_DEBUG, EINVAL, "break and watch points"),
	REQUEST(STAGE_RUN, KVM_RUN, ENOMEM, "KVM_RUN failed at RIP 0: Cannot allocate memory"),
	EXIT(KVM_EXIT_UNKNOWN, "does not know why the guest exited"),
	EXIT(KVM_EXIT_FAIL_ENTRY, "refused to enter the guest"),
	EXIT(KVM_EXIT_INTERNAL_ERROR, "KVM internal error"),
	EXIT(KVM_EXIT_SHUTDOWN, "triple fault"),
	EXIT(KVM_EXIT_HYPERCALL, "a reason not handled here: 3"),
	EXIT(KVM_EXIT_SYSTEM_EVENT, "system event 0"),
	REQUEST(STAGE_RESET, KVM_SET_IRQCHIP, EINVAL, "KVM_SET_IRQCHIP"),
	REQUEST(STAGE_RESET, KVM_SET_PIT2, EINVAL, "KVM_SET_PIT2"),
	REQUEST(STAGE_DIRTY, KVM_SET_USER_MEMORY_REGION, ENOMEM, "does not log the pages"),
	REQUEST(STAGE_DIRTY, KVM_GET_DIRTY_LOG, ENOENT, "does not tell which pages"),
};

struct world {
	struct vm vm;
	struct kvm_vm *kvm;
	struct err e;
};

static int make_cpu(struct world *w, const char *cpu)
{
	struct x86_model model;
	int rc = kvm_vm_new(&w->vm, &w->kvm, &w->e);

	for (unsigned i = 0; i < VMX_MSRS; i++)
		vmx_msr[i] = ~0ull << 32;
	vmx_msr[MISC] = vmx_msr[EPT_VPID] = vmx_msr[VMFUNC] = ~0ull;
	if (cpu)
		assert_int_equal(x86_model_parse(cpu, &model, &w->e), 0);
	if (!rc)
		rc = kvm_vcpu_new(w->kvm, 0, cpu ? &model : NULL, &w->vm.vcpu[0], &w->e);
	if (!rc)
		w->vm.nvcpus = 1;
	return rc;
}

static int make(struct world *w) { return make_cpu(w, NULL); }

static int set(struct world *w)
{
	struct vcpu *v = w->vm.vcpu[0];
	struct x86_state st;

	v->ops->get_state(v, &st);
	st.msr.lstar = 1; /* so that something is to be written */
	st.vmx.on = 1;
	return v->ops->set_state(v, &st, &w->e);
}

static int run(struct world *w)
{
	struct vcpu *v = w->vm.vcpu[0];
	enum run_exit x;

	assert_int_equal(debug_add(&w->vm, &(struct debug_point){0x1000, 1, DEBUG_HARD_BREAK}), 0);
	x = v->ops->run(v, &w->e);
	return x == RUN_ERROR || x == RUN_TRIPLE_FAULT ? -w->e.code : 0;
}

static int dirty(struct world *w)
{
	int rc = dirty_log(&w->vm, true, &w->e);

	return rc ? rc : dirty_collect(&w->vm, &w->e);
}

static int take(struct world *w, enum stage stage)
{
	if (stage == STAGE_MAKE)
		return make(w);
	if (stage == STAGE_MODEL)
		return make_cpu(w, "Skylake-Client");
	armed = false;
	assert_int_equal(make(w), 0);
	armed = true;
	switch (stage) {
	case STAGE_SET: return set(w);
	case STAGE_RUN: return run(w);
	case STAGE_RESET: return kvm_vm_reset(w->kvm, &w->e);
	default: return dirty(w);
	}
}

static int open_files(void)
{
	int fd = dup(0);

	close(fd);
	return fd; /* the lowest that is free */
}

static void each_refusal_is_said(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct world *w = calloc(1, sizeof(*w));
		struct log *log = log_new(stderr, "");
		int files = open_files(), rc;

		refuse = rows[i].what;
		armed = true;
		assert_int_equal(vm_init(&w->vm, log, clock_host(), &w->e), 0);
		assert_int_equal(ram_add(&w->vm.ram, 0, RAM_SIZE, false, &w->e), 0);
		rc = take(w, rows[i].stage);
		if (rc >= 0 || !strstr(w->e.text, rows[i].text) || strchr(w->e.text, '\n'))
			fail_msg("row %u, '%s': %d '%s'", i, rows[i].text, rc, w->e.text);
		vm_destroy(&w->vm);
		kvm_vm_free(w->kvm);
		log_free(log);
		free(w);
		if (open_files() != files)
			fail_msg("row %u, '%s': a file stays open", i, rows[i].text);
	}
}

/* With nothing refused all of it works: the rows above are about what they say. */
static void nothing_refused(void **state)
{
	for (enum stage stage = STAGE_MAKE; stage <= STAGE_DIRTY; stage++) {
		struct world w = {0};
		struct log *log;

		if (stage == STAGE_RUN) /* would not end */
			continue;
		log = log_new(stderr, "");
		memset(&refuse, 0, sizeof(refuse));
		assert_int_equal(vm_init(&w.vm, log, clock_host(), &w.e), 0);
		assert_int_equal(ram_add(&w.vm.ram, 0, RAM_SIZE, false, &w.e), 0);
		if (take(&w, stage))
			fail_msg("stage %d: %s", stage, w.e.text);
		vm_destroy(&w.vm);
		kvm_vm_free(w.kvm);
		log_free(log);
	}
}

/* ---- VMX's capabilities ---- */

static int with_cpu(const char *cpu, struct err *e)
{
	struct world *w = calloc(1, sizeof(*w));
	struct log *log = log_new(stderr, "");
	int rc;

	memset(&refuse, 0, sizeof(refuse));
	assert_int_equal(vm_init(&w->vm, log, clock_host(), &w->e), 0);
	assert_int_equal(ram_add(&w->vm.ram, 0, RAM_SIZE, false, &w->e), 0);
	rc = make_cpu(w, cpu);
	*e = w->e;
	vm_destroy(&w->vm);
	kvm_vm_free(w->kvm);
	log_free(log);
	free(w);
	return rc;
}

/* What KVM gives, less what the model does not have; a KVM that keeps what it had is said to. */
static void vmx_words(void **state)
{
	static const struct {
		const char *word;
		unsigned msr, bit;
	} words[] = {{"vmx-pml", PROC2, 49},
		     {"vmx-posted-intr", PIN, 39},
		     {"vmx-hlt-exit", PROC, 39},
		     {"vmx-exit-load-efer", EXIT_WORD, 53},
		     {"vmx-entry-load-efer", ENTRY, 47},
		     {"vmx-ept-1gb", EPT_VPID, 17},
		     {"vmx-eptp-switching", VMFUNC, 0},
		     {"vmx-activity-hlt", MISC, 6}};
	u64 all[VMX_MSRS];
	struct err e;

	assert_int_equal(with_cpu(NULL, &e), 0);
	assert_int_equal(vmx_msr[PROC2], ~0ull << 32);
	assert_int_equal(with_cpu("EPYC", &e), 0);
	assert_int_equal(vmx_msr[PROC2], ~0ull << 32);
	assert_int_equal(with_cpu("Skylake-Client,vmx=off", &e), 0);
	assert_int_equal(vmx_msr[PROC2], ~0ull << 32);
	assert_int_equal(with_cpu("Skylake-Client", &e), 0);
	memcpy(all, vmx_msr, sizeof(all));
	assert_int_equal((u32)all[PROC] & 0x04000172, 0x04000172); /* default1 */
	assert_int_equal((u32)all[PROC] & 1u << 15, 0);
	assert_int_equal(all[MISC] & 0x1ff001f, 0x1ff001f); /* no capabilities: KVM's stay */
	for (unsigned i = 0; i < ARRAY_SIZE(words); i++) {
		char cpu[64];

		snprintf(cpu, sizeof(cpu), "Skylake-Client,%s=off", words[i].word);
		if (with_cpu(cpu, &e))
			fail_msg("%s: %s", cpu, e.text);
		all[words[i].msr] ^= BIT(words[i].bit);
		if (memcmp(all, vmx_msr, sizeof(all)) != 0)
			fail_msg("%s: MSR %#x is %#llx, not %#llx", cpu, 0x480 + words[i].msr,
				 (unsigned long long)vmx_msr[words[i].msr], (unsigned long long)all[words[i].msr]);
		all[words[i].msr] ^= BIT(words[i].bit);
	}
	/* With the secondary controls go all of them, with EPT or VPIDs what IA32_VMX_EPT_VPID_CAP says of it. */
	assert_int_equal(with_cpu("Skylake-Client,vmx-secondary-ctls=off", &e), 0);
	assert_int_equal(vmx_msr[PROC], all[PROC] & ~BIT(63));
	assert_int_equal(vmx_msr[PROC2] | vmx_msr[EPT_VPID], 0);
	assert_int_equal(with_cpu("Skylake-Client,vmx-ept=off", &e), 0);
	assert_int_equal(vmx_msr[PROC2] & BIT(33), 0);
	assert_int_equal(vmx_msr[PROC2] & BIT(37), BIT(37));
	assert_int_equal(vmx_msr[EPT_VPID], all[EPT_VPID] & ~0ull << 32);
	assert_int_equal(with_cpu("Skylake-Client,vmx-vpid=off", &e), 0);
	assert_int_equal(vmx_msr[EPT_VPID], (u32)all[EPT_VPID]);
	assert_int_equal(with_cpu("Skylake-Client,vmx-cr3-load-noexit=off", &e), 0);
	assert_int_equal((u32)vmx_msr[PROC] & 1u << 15, 1u << 15);
	vmx_deaf = true;
	assert_int_equal(with_cpu("Skylake-Client,vmx-ept=off", &e), -ENOTSUP);
	assert_non_null(strstr(e.text, "does not take the CPU model's VMX capabilities"));
	vmx_deaf = false;
}

/* This KVM has VMX and no RDRAND. What is asked for by name must be there; what a model brings along need not. */
static void asked_by_name(void **state)
{
	struct err e;

	assert_int_equal(with_cpu("Skylake-Client,+vmx", &e), 0);
	assert_int_equal(with_cpu("Skylake-Client,+rdrand,-rdrand", &e), 0);
	assert_int_equal(with_cpu("Skylake-Client,+rdrand", &e), -ENOTSUP);
	assert_string_equal(e.text, "KVM gives its guests no RDRAND here, which the CPU model asks for");
}

/* ---- doorbells ---- */

#define BELLS 0x10000000u

static u64 no_read(void *dev, u64 offset, unsigned size) { return 0; }
static void count(void *dev, u64 offset, unsigned size, u64 value) { ((unsigned *)dev)[offset / 4]++; }
static bool bell(void *dev, unsigned i, u64 *offset)
{
	*offset = 4 * i;
	return i < 3;
}
static const struct bus_ops bell_ops = {no_read, count, bell};

static bool rang(const struct kvm_vm *kvm)
{
	struct pollfd p = {.fd = kvm_doorbells_fd(kvm), .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

/* What rings is told once each time that somebody looks, in whatever way that comes. */
static void check_bells(struct world *w)
{
	struct vm *vm = &w->vm;
	unsigned n[3] = {0};

	assert_int_equal(bus_add(&vm->mmio, BELLS, 16, &bell_ops, n, "bells", &w->e), 0);
	assert_false(rang(w->kvm));
	for (unsigned i = 1; i <= 3; i++) { /* edges: nobody empties the eventfd */
		assert_true(ring(BELLS + 4) && ring(BELLS + 4));
		assert_true(rang(w->kvm));
		kvm_doorbells_look(w->kvm);
		assert_false(rang(w->kvm));
		assert_true(!n[0] && n[1] == i && !n[2]);
	}
	ring_in_run = BELLS + 8; /* and the guest stops there */
	assert_int_equal(vm->vcpu[0]->ops->run(vm->vcpu[0], &w->e), RUN_TRIPLE_FAULT);
	ring_in_run = 0;
	assert_true(n[1] == 3 && n[2] == 1);
	assert_true(ring(BELLS));
	bus_remove(&vm->mmio, BELLS, n);
	assert_int_equal(n[0], 1);
	assert_false(ring(BELLS) || ring(BELLS + 4) || ring(BELLS + 8));
	assert_int_equal(bus_add(&vm->mmio, 2 * BELLS, 16, &bell_ops, n, "bells", &w->e), 0);
	assert_false(ring(BELLS));
	assert_true(ring(2 * BELLS + 8));
	kvm_doorbells_look(w->kvm);
	assert_true(n[0] == 1 && n[1] == 3 && n[2] == 2);
}

/* Where KVM takes none, the writes go on coming to the bus. */
static void check_no_bells(struct world *w)
{
	unsigned n[3] = {0};

	assert_int_equal(bus_add(&w->vm.mmio, BELLS, 16, &bell_ops, n, "bells", &w->e), 0);
	assert_false(ring(BELLS));
	vm_mmio_write(&w->vm, BELLS, 2, 0);
	assert_int_equal(n[0], 1);
	assert_int_equal(w->vm.vcpu[0]->ops->run(w->vm.vcpu[0], &w->e), RUN_TRIPLE_FAULT);
	bus_remove(&w->vm.mmio, BELLS, n);
	assert_int_equal(n[0], 1);
}

static void doorbells(void **state)
{
	static const __typeof__(refuse) ways[] = {
		{.exit_reason = KVM_EXIT_SHUTDOWN},
		{.exit_reason = KVM_EXIT_SHUTDOWN, .cap = KVM_CAP_IOEVENTFD + 1},
		{.exit_reason = KVM_EXIT_SHUTDOWN, .cap = KVM_CAP_IOEVENTFD_ANY_LENGTH + 1},
		{.exit_reason = KVM_EXIT_SHUTDOWN, .request = KVM_IOEVENTFD, .code = ENOSPC},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(ways); i++) {
		struct world *w = calloc(1, sizeof(*w));
		struct log *log = log_new(stderr, "");
		int files = open_files();

		refuse = ways[i];
		armed = true;
		memset(bells, 0, sizeof(bells));
		assert_int_equal(vm_init(&w->vm, log, clock_host(), &w->e), 0);
		assert_int_equal(ram_add(&w->vm.ram, 0, RAM_SIZE, false, &w->e), 0);
		assert_int_equal(make(w), 0);
		if (i)
			check_no_bells(w);
		else
			check_bells(w);
		vm_destroy(&w->vm);
		kvm_vm_free(w->kvm);
		log_free(log);
		free(w);
		assert_int_equal(open_files(), files);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_refused), cmocka_unit_test(each_refusal_is_said),
		cmocka_unit_test(vmx_words),	   cmocka_unit_test(asked_by_name),
		cmocka_unit_test(doorbells),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
