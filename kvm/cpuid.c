/*
 * CPUID of KVM's guests: what KVM supports (KVM_GET_SUPPORTED_CPUID), made true of this vCPU, and narrowed to a model's
 * features when one is given. KVM's own leaves (40000000h…) stay as KVM gives them; OSXSAVE, OSPKE and XSAVE's sizes
 * follow the guest's registers in KVM itself. Topology: packages of one core.
 */
#include <cpuid.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kvm/internal.h"

#define OSXSAVE BIT(27) /* CPUID.1:ECX */
#define OSPKE	BIT(4)	/* CPUID.7:ECX */

struct kvm_cpuid2 *kvm_supported_cpuid(int sys_fd)
{
	for (u32 n = 64; n <= 1024; n *= 2) {
		struct kvm_cpuid2 *c = calloc(1, sizeof(*c) + n * sizeof(c->entries[0]));
		long r;

		if (!c)
			return NULL;
		c->nent = n;
		r = kvm_ioctl(sys_fd, KVM_GET_SUPPORTED_CPUID, c);
		if (!r)
			return c;
		free(c);
		if (r != -E2BIG && r != -ENOMEM)
			return NULL;
	}
	return NULL;
}

const struct kvm_cpuid_entry2 *kvm_cpuid_find(const struct kvm_cpuid2 *c, u32 leaf, u32 subleaf)
{
	for (u32 i = 0; i < c->nent; i++) {
		const struct kvm_cpuid_entry2 *e = &c->entries[i];

		if (e->function == leaf && (!(e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) || e->index == subleaf))
			return e;
	}
	return NULL;
}

/* Feature words that a model narrows: bit 0 EAX … bit 3 EDX. */
static const struct {
	u32 leaf, subleaf, regs;
} feature_words[] = {
	{0x1, 0, 0xc},	      {0x7, 0, 0xe},	    {0x7, 1, 0xf},	  {0xd, 0, 0x9},	{0xd, 1, 0x1},
	{0x80000001, 0, 0xc}, {0x80000007, 0, 0x8}, {0x80000008, 0, 0x2}, {0x8000000a, 0, 0x8}, {0x80000021, 0, 0x1},
};

/* Leaves that say who the processor is. */
static bool identity_leaf(u32 leaf) { return leaf >= 0x80000002 && leaf <= 0x80000004; }

static void narrow(struct kvm_cpuid_entry2 *e, const struct x86_model *model, const struct x86_cpuid_env *env)
{
	u32 kept = e->function == 1 ? e->ecx & OSXSAVE : e->function == 7 && !e->index ? e->ecx & OSPKE : 0;
	u32 *regs[4] = {&e->eax, &e->ebx, &e->ecx, &e->edx};
	u32 out[4];

	x86_cpuid(model, e->function, e->index, env, out);
	if (identity_leaf(e->function))
		for (unsigned r = 0; r < 4; r++)
			*regs[r] = out[r];
	if (e->function == 0 || e->function == 0x80000000)
		for (unsigned r = 1; r < 4; r++)
			*regs[r] = out[r];
	if (e->function == 1 || e->function == 0x80000001)
		e->eax = out[0];
	for (unsigned i = 0; i < ARRAY_SIZE(feature_words); i++) {
		if (feature_words[i].leaf != e->function || feature_words[i].subleaf != e->index)
			continue;
		for (unsigned r = 0; r < 4; r++)
			if (feature_words[i].regs & BIT(r))
				*regs[r] &= out[r];
	}
	e->ecx |= kept;
}

/* What depends on which vCPU it is, and on how many there are. */
static void personalize(struct kvm_cpuid_entry2 *e, u32 id, u32 vcpus)
{
	u32 shift = 0;

	while (1u << shift < vcpus)
		shift++;
	switch (e->function) {
	case 0x1:
		e->ebx = (e->ebx & 0xffff) | vcpus << 16 | id << 24;
		e->edx = (e->edx & ~(u32)BIT(28)) | (vcpus > 1 ? BIT(28) : 0); /* HTT: several IDs in the package */
		break;
	case 0x4:
	case 0x8000001d: /* a core shares its caches with nobody */ e->eax &= 0x3fff; break;
	case 0xb:
	case 0x1f:
		e->edx = id;
		e->eax = e->index == 1 ? shift : 0;
		e->ebx = e->index == 0 ? 1 : e->index == 1 ? vcpus : 0;
		e->ecx = e->index == 0 ? 0x100 : e->index == 1 ? 0x201 : e->index;
		break;
	case 0x80000007:
		/* Invariant TSC: AMD's guests then look for HWCR.TscFreqSel, which many KVMs cannot give. */
		e->edx &= ~(u32)BIT(8);
		break;
	case 0x80000008: e->ecx = vcpus > 1 ? shift << 12 | (vcpus - 1) : 0; break;
	case 0x8000001e:
		e->eax = id;
		e->ebx = id;
		e->ecx = 0;
		break;
	}
}

/* Subleaf 1, the level of cores, of a topology leaf: KVM offers only an empty subleaf 0. There is room for two more. */
static void add_core_level(struct kvm_cpuid2 *c, u32 leaf)
{
	if (kvm_cpuid_find(c, leaf, 0) && !kvm_cpuid_find(c, leaf, 1))
		c->entries[c->nent++] = (struct kvm_cpuid_entry2){
			.function = leaf, .index = 1, .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX};
}

/* A feature that --cpu names and this vCPU has not got, or X86_FEATURES. */
static unsigned lacking(const struct kvm_cpuid2 *c, const struct x86_model *model)
{
	unsigned f;

	for (f = 0; f < X86_FEATURES; f++) {
		const struct x86_feature_row *row = &x86_feature_rows[f];
		const struct kvm_cpuid_entry2 *e = kvm_cpuid_find(c, row->leaf, row->sub);
		const u32 none[4] = {0}, *regs = e ? &e->eax : none;

		if ((model->asked[f / 64] >> (f % 64) & 1) && !(regs[row->reg] >> row->bit & 1))
			break;
	}
	return f;
}

int kvm_cpuid_set(struct kvm_vcpu *v, const struct x86_model *model, struct err *e)
{
	struct kvm_vm *kvm = v->kvm;
	size_t size = sizeof(*kvm->supported) + kvm->supported->nent * sizeof(kvm->supported->entries[0]);
	struct kvm_cpuid2 *c = malloc(size + 2 * sizeof(c->entries[0]));
	u32 vcpus = MAX(kvm->vm->nvcpus, v->vcpu.index + 1);
	struct x86_cpuid_env env = {.apic_id = v->vcpu.index, .vcpus = vcpus, .xcr0 = XCR0_X87};
	unsigned f;
	long r;

	if (!c)
		return err_set(e, ENOMEM, "no memory for KVM's CPUID table");
	memcpy(c, kvm->supported, size);
	add_core_level(c, 0xb);
	add_core_level(c, 0x1f);
	for (u32 i = 0; i < c->nent; i++) {
		struct kvm_cpuid_entry2 *n = &c->entries[i];

		if (n->function == 1) {
			n->ecx |= BIT(31) | BIT(21); /* a hypervisor is present; x2APIC is the in-kernel APIC's */
			if (kvm_capability(kvm->sys_fd, KVM_CAP_TSC_DEADLINE_TIMER))
				n->ecx |= BIT(24);
		}
		if (model)
			narrow(n, model, &env);
		else if (identity_leaf(n->function)) /* KVM leaves the name to its user */
			__cpuid(n->function, n->eax, n->ebx, n->ecx, n->edx);
		personalize(n, v->vcpu.index, vcpus);
	}
	f = model ? lacking(c, model) : X86_FEATURES;
	r = f == X86_FEATURES ? kvm_ioctl(v->fd, KVM_SET_CPUID2, c) : 0;
	free(c);
	if (f != X86_FEATURES)
		return err_set(e, ENOTSUP, "KVM gives its guests no %s here, which the CPU model asks for",
			       x86_feature_rows[f].name);
	return r < 0 ? err_set(e, (int)-r, "KVM does not accept the guest's CPUID: %s", strerror((int)-r)) : 0;
}
