/*
 * The time stamp counter and the KVM-compatible clock (CPUID leaf 4000_0100h).
 * SDM vol. 3 17.17 "Time-Stamp Counter"; the Linux documentation's virt/kvm/x86/msr.rst "KVM-specific MSRs" for the two
 * structures.
 *
 * The guest's counter is the host's plus st.tsc_offset, plus the offset of a guest of the guest. The clock's system
 * time is defined as the host's counter in nanoseconds, so every vCPU publishes the very same line (time 0 at the
 * counter's zero) and the clocks of two vCPUs cannot drift apart: this is what the flag TSC_STABLE promises.
 */
#include <x86intrin.h>

#include "base/clock.h"
#include "cpu/x86/mem.h"
#include "cpu/x86/msr.h"
#include "cpu/x86/vmx.h"

#define KVM_CLOCK_ENABLE   BIT(0)
#define PVCLOCK_TSC_STABLE 1u

struct pvclock_time {
	u32 version; /* odd while it is being changed */
	u32 pad0;
	u64 tsc_timestamp;
	u64 system_time; /* nanoseconds at tsc_timestamp */
	u32 tsc_to_system_mul;
	s8 tsc_shift;
	u8 flags;
	u8 pad[2];
};
_Static_assert(sizeof(struct pvclock_time) == 32, "guest ABI");

struct pvclock_wall {
	u32 version, sec, nsec;
};

/* st.tsc_offset: another vCPU's thread may ask, for that one's APIC. */
u64 x86_own_tsc(const struct x86_cpu *cpu)
{
	return __rdtsc() + __atomic_load_n(&cpu->st.tsc_offset, __ATOMIC_RELAXED);
}

/* SDM vol. 3 25.3 "RDTSC". */
static u64 guest_tsc(const struct x86_cpu *cpu, u64 t)
{
	if (unlikely(cpu->c.guest_tsc_mul))
		t = (u64)((u128)t * cpu->c.guest_tsc_mul >> 48);
	return t + cpu->c.guest_tsc_offset;
}

u64 x86_tsc(const struct x86_cpu *cpu) { return guest_tsc(cpu, x86_own_tsc(cpu)); }

static u64 next_alarm(const struct x86_cpu *cpu)
{
	u64 deadline = __atomic_load_n(&cpu->deadline, __ATOMIC_RELAXED);

	return unlikely(cpu->c.vmx.timer) ? MIN(deadline, cpu->st.vmx.timer) : deadline;
}

/* Software that has seen the time must not see that an alarm is late. */
u64 x86_tsc_shown(struct x86_cpu *cpu)
{
	u64 t = x86_own_tsc(cpu);

	if (unlikely(t >= next_alarm(cpu)))
		cpu->count_until = cpu->chain_until = 0;
	return guest_tsc(cpu, t);
}

u64 x86_alarm_ns(const struct x86_cpu *cpu)
{
	u64 t = x86_own_tsc(cpu), next = next_alarm(cpu);

	if (next == ~0ull)
		return next;
	return t < next ? mul_div(next - t, NS_PER_SEC, clock_tsc_hz()) + 1 : 0;
}

void x86_alarms(struct x86_cpu *cpu)
{
	if (x86_own_tsc(cpu) >= __atomic_load_n(&cpu->deadline, __ATOMIC_RELAXED))
		cpu->apic_ops->deadline(cpu->apic);
	vmx_timer_poll(cpu);
}

void tsc_move(struct x86_cpu *cpu, u64 delta)
{
	__atomic_store_n(&cpu->st.tsc_offset, cpu->st.tsc_offset + delta, __ATOMIC_RELAXED);
	kvm_clock_publish(cpu);
}

/* ns = (ticks << shift or >> -shift) * mul / 2^32, with mul's top bit set. */
static void scale_make(u64 hz, u32 *mul, s8 *shift)
{
	*shift = 0;
	hz = MAX(hz, 1000000);
	while (mul_div(NS_PER_SEC, BIT(32 - *shift), hz) >> 32)
		(*shift)++;
	while (!(mul_div(NS_PER_SEC, BIT(32 - *shift), hz) >> 31))
		(*shift)--;
	*mul = (u32)mul_div(NS_PER_SEC, BIT(32 - *shift), hz);
}

static u64 scale(u64 ticks, u32 mul, s8 shift)
{
	ticks = shift < 0 ? ticks >> -shift : ticks << shift;
	return (u64)((u128)ticks * mul >> 32);
}

void kvm_clock_publish(struct x86_cpu *cpu)
{
	u64 msr = cpu->st.msr.kvm_system_time, pa = msr & ~KVM_CLOCK_ENABLE;
	struct pvclock_time t = {.tsc_timestamp = cpu->st.tsc_offset, .flags = PVCLOCK_TSC_STABLE};
	u32 version;

	if (!(msr & KVM_CLOCK_ENABLE))
		return;
	scale_make(cpu->tsc_hz, &t.tsc_to_system_mul, &t.tsc_shift);
	phys_read(cpu, pa, &version, sizeof(version));
	t.version = (version | 1) + 2;
	phys_write(cpu, pa, &t.version, sizeof(t.version));
	phys_write(cpu, pa + 4, &t.pad0, sizeof(t) - 4);
	t.version++;
	phys_write(cpu, pa, &t.version, sizeof(t.version));
}

/* The wall clock's reading when the system time was 0. */
void kvm_wall_clock_publish(struct x86_cpu *cpu, u64 pa)
{
	struct pvclock_wall w;
	u64 then;
	u32 mul, version;
	s8 shift;

	scale_make(cpu->tsc_hz, &mul, &shift);
	then = cpu->vm->clock->wall(cpu->vm->clock) - scale(__rdtsc(), mul, shift);
	phys_read(cpu, pa, &version, sizeof(version));
	w = (struct pvclock_wall){
		.version = (version | 1) + 2, .sec = (u32)(then / NS_PER_SEC), .nsec = (u32)(then % NS_PER_SEC)};
	phys_write(cpu, pa, &w, sizeof(w));
	w.version++;
	phys_write(cpu, pa, &w.version, sizeof(w.version));
}
