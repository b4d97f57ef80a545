/* Is nesting fast? */
#include <string.h>

#include "cmd/check.h"

enum weight { LIGHT, HEAVY };
enum capability { BY_NONE, BY_CONTROL, BY_BIT, BY_SVM };

static const struct param {
	const char *module, *name;
	enum weight weight;
	struct {
		enum capability by;
		u32 msr;
		unsigned bit;
	} cap;
	const char *consequence;
} params[] = {
#define ONE(msr, bit)                                                                                                  \
	{                                                                                                              \
		BY_CONTROL, msr, bit                                                                                   \
	}
#define CAP(msr, bit)                                                                                                  \
	{                                                                                                              \
		BY_BIT, msr, bit                                                                                       \
	}
#define SVM(bit)                                                                                                       \
	{                                                                                                              \
		BY_SVM, 0, bit                                                                                         \
	}
#define NONE                                                                                                           \
	{                                                                                                              \
		BY_NONE, 0, 0                                                                                          \
	}
#define PARAM(module, name, weight, cap, words) {module, #name, weight, cap, words},
#include "cmd/check_params.def"
#undef PARAM
};

/* Can the processor? 1, 0, -1: not known. */
static int capable(struct host *h, const struct param *p)
{
	u32 r[4];
	u64 v;

	switch (p->cap.by) {
	case BY_CONTROL: return host_vmx_allows(h, p->cap.msr, p->cap.bit);
	case BY_BIT: return host_msr(h, p->cap.msr, &v) ? -1 : (int)(v >> p->cap.bit & 1);
	case BY_SVM: return host_cpuid(h, 0x8000000a, 0, r) ? (int)(r[3] >> p->cap.bit & 1) : -1;
	default: return -1;
	}
}

static void parameter_off(struct check *c, const struct param *p, const char *text)
{
	int can = capable(c->host, p);
	struct check_finding *f =
		check_add(c, CHECK_parameter,
			  can == 0	       ? CHECK_NOTE
			  : p->weight == HEAVY ? CHECK_WARNING
					       : CHECK_NOTE,
			  "%s is off%s", p->name, can == 0 ? ": the processor here has no such thing" : "");

	f->part = p->name;
	check_say(&f->evidence, "/sys/module/%s/parameters/%s is %s%s", p->module, p->name, text,
		  can > 0   ? ", but the processor could"
		  : can < 0 ? "; whether the processor could is not known (root sees more)"
			    : "");
	check_say(&f->consequence, "%s", p->consequence);
	if (can > 0)
		check_say(&f->remedy, "%smodprobe -r %s && %smodprobe %s %s=1", check_sudo(c), p->module, check_sudo(c),
			  p->module, p->name);
	else if (can == 0 && c->level.least > 0 && !c->level.nestbox && p->weight == HEAVY)
		check_say(&f->remedy, "on the level above: start this guest with -cpu host, where that level has it");
}

static void l1d_flush(struct check *c)
{
	char text[32];
	struct check_finding *f;

	if (strcmp(c->kvm.module, "kvm_intel") != 0 ||
	    host_line(c->host, "/sys/module/kvm_intel/parameters/vmentry_l1d_flush", text, sizeof(text)) ||
	    strcmp(text, "always") != 0)
		return;
	f = check_add(c, CHECK_parameter, CHECK_NOTE, "the L1 data cache is flushed at each VM entry");
	f->part = "vmentry_l1d_flush";
	check_say(&f->evidence, "/sys/module/kvm_intel/parameters/vmentry_l1d_flush is always");
	check_say(&f->consequence, "entries are slower, and each nested exit takes several; it is the safe setting "
				   "where guests are not trusted");
}

void check_parameter(struct check *c)
{
	char on[300] = "", text[32];

	if (!c->kvm.module)
		return;
	for (unsigned i = 0; i < ARRAY_SIZE(params); i++) {
		size_t n = strlen(on);

		if (strcmp(params[i].module, c->kvm.module) != 0)
			continue;
		switch (host_parameter(c->host, params[i].module, params[i].name, text, sizeof(text))) {
		case 1: snprintf(on + n, sizeof(on) - n, "%s%s", n ? " " : "", params[i].name); break;
		case 0: parameter_off(c, &params[i], text); break;
		default: break; /* another kernel's */
		}
	}
	if (on[0])
		check_say(&check_add(c, CHECK_parameter, CHECK_OK, "on: %s", on)->evidence, "/sys/module/%s/parameters",
			  c->kvm.module);
	l1d_flush(c);
}

void check_clock(struct check *c)
{
	static const char *const slow[] = {"hpet", "acpi_pm", "jiffies", "refined-jiffies"};
	char name[40];

	if (host_line(c->host, "/sys/devices/system/clocksource/clocksource0/current_clocksource", name, sizeof(name)))
		return;
	for (unsigned i = 0; i < ARRAY_SIZE(slow); i++)
		if (!strcmp(name, slow[i])) {
			struct check_finding *f =
				check_add(c, CHECK_clock, CHECK_WARNING, "the kernel's clock is %s", name);

			check_say(&f->evidence, "/sys/devices/system/clocksource/clocksource0/current_clocksource");
			check_say(&f->consequence, "each look at the time %s",
				  c->level.least ? "is an exit to the level above" : "is slow");
			check_say(
				&f->remedy,
				"%ssh -c 'echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource'",
				check_sudo(c));
			return;
		}
	check_say(&check_add(c, CHECK_clock, CHECK_OK, "the kernel's clock is %s", name)->evidence,
		  "/sys/devices/system/clocksource/clocksource0/current_clocksource");
}
