#include "arch/x86/msr.h"

#define ROW(index_, count_, kind_, name_, vendors_, feature_, ...)                                                     \
	{.index = index_,                                                                                              \
	 .count = count_,                                                                                              \
	 .kind = MSR_KIND_##kind_,                                                                                     \
	 .name = #name_,                                                                                               \
	 .vendors = MSR_##vendors_,                                                                                    \
	 .feature = X86F_##feature_,                                                                                   \
	 __VA_ARGS__},

const struct x86_msr_row x86_msr_rows[] = {
#define MSR_KEEP(index, count, name, vendors, feature, field, mask)                                                    \
	ROW(index, count, KEEP, name, vendors, feature, .where = offsetof(struct x86_state, field), .value = mask)
#define MSR_ADDR(index, name, vendors, feature, field)                                                                 \
	ROW(index, 1, ADDR, name, vendors, feature, .where = offsetof(struct x86_state, field))
#define MSR_SHOW(index, name, vendors, feature, field)                                                                 \
	ROW(index, 1, SHOW, name, vendors, feature, .where = offsetof(struct x86_state, field))
#define MSR_CONST(index, count, name, vendors, feature, val)                                                           \
	ROW(index, count, CONST, name, vendors, feature, .value = val)
#define MSR_CALL(index, count, name, vendors, feature, function)                                                       \
	ROW(index, count, CALL, name, vendors, feature, .call = MSR_CALL_##function)
#define MSR_APIC(index, count, name, vendors, feature) ROW(index, count, APIC, name, vendors, feature, .value = 0)
#define MSR_LACK(index, count, name, vendors, feature) ROW(index, count, LACK, name, vendors, feature, .value = 0)
#include "arch/x86/msr.def"
};

const unsigned x86_msr_row_count = ARRAY_SIZE(x86_msr_rows);

static bool row_exists(const struct x86_model *m, const struct x86_msr_row *r)
{
	if (!(r->vendors & (m->vendor == X86_AMD ? MSR_AMD : MSR_INTEL)))
		return false;
	if (r->feature == X86F_ALWAYS)
		return true;
	return r->feature == X86F_KVM_CLOCK ? m->kvm_clock : x86_has(m, r->feature);
}

const struct x86_msr_row *x86_msr_find(const struct x86_model *m, u32 index)
{
	unsigned low = 0, high = ARRAY_SIZE(x86_msr_rows);

	/* The first row that ends behind `index`. */
	while (low < high) {
		unsigned mid = (low + high) / 2;

		if ((u64)x86_msr_rows[mid].index + x86_msr_rows[mid].count <= index)
			low = mid + 1;
		else
			high = mid;
	}
	for (; low < ARRAY_SIZE(x86_msr_rows) && x86_msr_rows[low].index <= index; low++)
		if (row_exists(m, &x86_msr_rows[low]))
			return &x86_msr_rows[low];
	return NULL;
}

/* SDM vol. 3 11.12.2 "IA32_PAT MSR". */
bool x86_pat_type_valid(u8 type) { return type < 8 && type != 2 && type != 3; }
/* SDM vol. 3 table 11-8 "Memory Types That Can Be Encoded in MTRRs". */
bool x86_mtrr_type_valid(u8 type) { return type < 7 && type != 2 && type != 3; }
