/* The VMX-preemption timer: SDM vol. 3 25.5.1. */
#include "tests/unit/vmx_world.h"

#include "base/clock.h"

#define TIMER_EXIT 52

ASM64(spins, "1: inc %rcx\n jmp 1b")
ASM64(halts, "hlt\n nop")
ASM64(waits, "mov $0x7000, %eax\n xor %ecx, %ecx\n xor %edx, %edx\n monitor\n xor %eax, %eax\n mwait\n hlt")
ASM64(calls, VMCALL)

static struct world *timer_world(const u8 *code, const u8 *end, u64 value)
{
	struct world *w = vmx_world_of("Skylake-Client,+monitor", code, end);

	w->cpu->insn_limit = 0;
	vmx_f(w)[VMCS_PIN] |= VMX_PIN_TIMER;
	vmx_f(w)[VMCS_PROC] &= ~(u64)VMX_PROC_HLT;
	vmx_f(w)[VMCS_PREEMPTION_TIMER] = value;
	return w;
}
#define TIMED(name, value) timer_world(name##_start, name##_end, value)

static u64 ticks_of_ms(struct world *w, u64 ms) { return w->cpu->tsc_hz / 1000 * ms >> VMX_TIMER_SHIFT; }
static u64 ns_now(void) { return clock_host()->now(clock_host()); }

/* Spinning, halted and waiting guests are left, neither before the time nor never. */
static void expires(void **state)
{
	for (unsigned i = 0; i < 3; i++) {
		struct world *w = i == 2 ? TIMED(waits, 0) : i ? TIMED(halts, 0) : TIMED(spins, 0);
		u64 start = ns_now();

		vmx_f(w)[VMCS_PREEMPTION_TIMER] = ticks_of_ms(w, 20);
		vmx_run(w);
		EXPECT_EXIT(w, TIMER_EXIT, 0);
		assert_true(ns_now() - start >= 19 * 1000000ull);
		assert_int_equal(vmx_f(w)[VMCS_GUEST_ACTIVITY], i == 1);
		if (i == 2)
			assert_at(w, 17); /* behind MWAIT, which leaves no state */
		world_free(w);
	}
}

static void zero_exits_at_once(void **state)
{
	struct world *w = TIMED(calls, 0);

	vmx_run(w);
	EXPECT_EXIT(w, TIMER_EXIT, 0);
	assert_at(w, 0);
	world_free(w);

	w = TIMED(calls, 0); /* behind the injected event */
	vmx_f(w)[VMCS_ENTRY_EVENT] = VEV_VALID | VEV_NMI << 8 | 2;
	vmx_run(w);
	EXPECT_EXIT(w, TIMER_EXIT, 0);
	assert_int_equal(vmx_f(w)[VMCS_GUEST_RIP], STUBS + 16 * 2);
	world_free(w);
}

/* What --trace=vmexit tells of that. */
static void traced(void **state)
{
	struct world *w = TIMED(calls, 0);
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	assert_int_equal(log_enable(w->vm.log, "vmexit", NULL), 0);
	log_trace_to(w->vm.log, f);
	vmx_run(w);
	fflush(f);
	assert_non_null(strstr(text, ": cpu0 g0 "));
	assert_non_null(strstr(text, " VM entry vmcs 0x"));
	assert_non_null(strstr(text, " VM exit "));
	assert_non_null(strstr(text, " reason 52 qualification 0 "));
	world_free(w);
	fclose(f);
	free(text);
}

static void value_is_saved(void **state)
{
	struct world *w = TIMED(calls, 0xffffffff);

	vmx_run(w);
	EXPECT_EXIT(w, 18, 0);
	assert_int_equal(vmx_f(w)[VMCS_PREEMPTION_TIMER], 0xffffffff);
	vmx_f(w)[VMCS_EXIT] |= VMX_EXIT_SAVE_TIMER;
	vmx_run(w);
	EXPECT_EXIT(w, 18, 0);
	assert_in_range(vmx_f(w)[VMCS_PREEMPTION_TIMER], 0xff000000, 0xfffffffe);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(expires),
		cmocka_unit_test(zero_exits_at_once),
		cmocka_unit_test(traced),
		cmocka_unit_test(value_is_saved),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
