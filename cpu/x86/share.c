/* Requests between processors about pages of code (share.h). */
#include "cpu/x86/share.h"

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cpu/x86/block.h"
#include "cpu/x86/mem.h"
#include "cpu/x86/monitor.h"

#define ALL_WRITERS (RAM_WRITER >> RAM_WRITER_SHIFT)
#define SPINS	    200 /* before the host's scheduler is asked */

static u16 *page_flag(const struct x86_cpu *cpu, u64 pa)
{
	const struct ram_slot *slot = ram_find(&cpu->vm->ram, pa);

	return slot ? &slot->flags[(pa - slot->gpa) / RAM_PAGE] : NULL;
}

static void hold_queued(struct x86_cpu *cpu)
{
	struct code_drops *d = &cpu->drops;

	pthread_mutex_lock(&d->lock);
	if (d->nholds > ARRAY_SIZE(d->hold))
		tlb_drop_host_pages(cpu);
	else
		for (unsigned i = 0; i < d->nholds; i++)
			tlb_drop_host_page(cpu, d->hold[i]);
	d->nholds = 0;
	__atomic_store_n(&d->holds_done, d->holds_asked, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&d->lock);
}

/* Asks `to` to withhold its write tag of the page. Returns the request's number. */
static u64 hold_ask(struct x86_cpu *to, u64 page)
{
	struct code_drops *d = &to->drops;
	u64 ticket;

	pthread_mutex_lock(&d->lock);
	if (d->nholds < ARRAY_SIZE(d->hold))
		d->hold[d->nholds] = page;
	d->nholds++;
	ticket = ++d->holds_asked;
	pthread_mutex_unlock(&d->lock);
	/* A full barrier: if `parked` is seen set after this, the owner sees the bit before it goes on. */
	atomic_fetch_or(&to->c.attention, ATT_DROP);
	return ticket;
}

static bool is_parked(const struct x86_cpu *cpu) { return __atomic_load_n(&cpu->parked, __ATOMIC_SEQ_CST); }

/* One step of a wait for another processor, which may be waiting for this one. */
static void wait_serving(struct x86_cpu *cpu, unsigned n)
{
	if (atomic_load(&cpu->c.attention) & ATT_DROP)
		hold_queued(cpu);
	if (n < SPINS)
		asm volatile("pause");
	else
		sched_yield();
}

static void hold_wait(struct x86_cpu *cpu, struct x86_cpu *to, u64 ticket)
{
	for (unsigned n = 0; __atomic_load_n(&to->drops.holds_done, __ATOMIC_ACQUIRE) < ticket && !is_parked(to); n++)
		wait_serving(cpu, n);
}

static void hold_others(struct x86_cpu *cpu, u64 page, unsigned writer)
{
	struct vm *vm = cpu->vm;
	u64 ticket[VM_VCPUS] = {0};

	for (unsigned i = 0; i < vm->nvcpus; i++)
		if (i != cpu->vcpu.index && (writer == ALL_WRITERS || writer == i + 1))
			ticket[i] = hold_ask(x86_cpu_of(vm->vcpu[i]), page);
	for (unsigned i = 0; i < vm->nvcpus; i++)
		if (ticket[i])
			hold_wait(cpu, x86_cpu_of(vm->vcpu[i]), ticket[i]);
}

void share_claim(struct x86_cpu *cpu, u64 page)
{
	u16 *flag = page_flag(cpu, page);
	unsigned writer;

	if (!flag)
		return;
	writer = __atomic_fetch_add(flag, RAM_CODE_ONE, __ATOMIC_SEQ_CST) >> RAM_WRITER_SHIFT;
	if (!writer)
		return;
	if (writer == cpu->vcpu.index + 1 || writer == ALL_WRITERS)
		tlb_drop_host_page(cpu, page);
	if (writer != cpu->vcpu.index + 1)
		hold_others(cpu, page, writer);
	/* Nobody has become a writer since the count went up. */
	__atomic_fetch_and(flag, (u16)~RAM_WRITER, __ATOMIC_SEQ_CST);
}

void share_release(struct x86_cpu *cpu, u64 page)
{
	u16 *flag = page_flag(cpu, page);

	if (flag)
		__atomic_fetch_sub(flag, RAM_CODE_ONE, __ATOMIC_SEQ_CST);
}

static void written_page(struct x86_cpu *cpu, u64 pa, u64 len, bool all)
{
	const u16 *flag = page_flag(cpu, pa);
	unsigned holders = flag ? (__atomic_load_n(flag, __ATOMIC_SEQ_CST) & RAM_CODE) / RAM_CODE_ONE : 0;

	if (holders <= block_page_has_code(cpu, pa))
		return;
	for (unsigned i = 0; i < cpu->vm->nvcpus; i++)
		if (i != cpu->vcpu.index)
			share_drop(x86_cpu_of(cpu->vm->vcpu[i]), pa, len, all);
}

void share_written(struct x86_cpu *cpu, u64 pa, u64 len, bool all)
{
	for (u64 n; len; pa += n, len -= n) {
		n = MIN(len, RAM_PAGE - pa % RAM_PAGE);
		written_page(cpu, pa, n, all);
	}
}

/* Stores mostly come in a row: the last range grows as long as it stays within its page. */
static bool range_grow(struct code_range *r, u64 pa, u64 len, bool all)
{
	u64 start = MIN(r->pa, pa), end = MAX(r->pa + r->len, pa + len);

	if (ALIGN_DOWN(start, RAM_PAGE) != ALIGN_DOWN(end - 1, RAM_PAGE))
		return false;
	*r = (struct code_range){start, end - start, r->all || all};
	return true;
}

void share_drop(struct x86_cpu *to, u64 pa, u64 len, bool all)
{
	struct code_drops *d = &to->drops;

	pthread_mutex_lock(&d->lock);
	if (!d->n || d->n > ARRAY_SIZE(d->range) || !range_grow(&d->range[d->n - 1], pa, len, all)) {
		if (d->n < ARRAY_SIZE(d->range))
			d->range[d->n] = (struct code_range){pa, len, all};
		d->n += d->n <= ARRAY_SIZE(d->range);
	}
	pthread_mutex_unlock(&d->lock);
	atomic_fetch_or(&to->c.attention, ATT_DROP);
	if (__atomic_load_n(&to->wake, __ATOMIC_SEQ_CST) == WAKE_MWAIT)
		syscall(SYS_futex, &to->c.attention, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

void share_freeze(struct x86_cpu *cpu)
{
	struct vm *vm = cpu->vm;

	atomic_store(&vm->frozen, 1);
	for (unsigned i = 0; i < vm->nvcpus; i++)
		if (i != cpu->vcpu.index)
			atomic_fetch_or(&x86_cpu_of(vm->vcpu[i])->c.attention, ATT_DROP);
	for (unsigned i = 0; i < vm->nvcpus; i++)
		for (unsigned n = 0; i != cpu->vcpu.index && !is_parked(x86_cpu_of(vm->vcpu[i])); n++)
			wait_serving(cpu, n);
}

void share_thaw(struct x86_cpu *cpu) { atomic_store(&cpu->vm->frozen, 0); }

void share_split_lock(struct x86_cpu *cpu)
{
	if (likely(!atomic_exchange_explicit(&cpu->vm->split_lock, 1, memory_order_acquire)))
		return;
	share_park(cpu);
	do
		sched_yield();
	while (atomic_exchange_explicit(&cpu->vm->split_lock, 1, memory_order_acquire));
	share_unpark(cpu);
	hold_queued(cpu);
}

/* Whoever froze this processor waits for it to be parked; it stays so until he is done. */
static void stand_still(struct x86_cpu *cpu)
{
	share_park(cpu);
	while (atomic_load(&cpu->vm->frozen))
		sched_yield();
	share_unpark(cpu);
}

void share_attend(struct x86_cpu *cpu)
{
	struct code_drops *d = &cpu->drops;

	atomic_fetch_and(&cpu->c.attention, ~(u32)ATT_DROP);
	while (unlikely(atomic_load(&cpu->vm->frozen)))
		stand_still(cpu);
	hold_queued(cpu);
	pthread_mutex_lock(&d->lock);
	if (d->n > ARRAY_SIZE(d->range)) {
		blocks_drop_all(cpu);
		cpu->monitor.armed = 0;
	}
	for (unsigned i = 0; d->n <= ARRAY_SIZE(d->range) && i < d->n; i++) {
		block_drop(cpu, d->range[i].pa, d->range[i].len, d->range[i].all);
		monitor_stored(cpu, d->range[i].pa, d->range[i].len);
	}
	d->n = 0;
	pthread_mutex_unlock(&d->lock);
}
