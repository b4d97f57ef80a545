/*
 * MONITOR and MWAIT (exec_monitor.c): the line that is watched for stores.
 *
 * An armed processor holds its line's page the way a holder of code does (share.h): nobody then has a direct way to
 * store there, and each store reaches the holder's queue, which is where monitor_stored() is called from. The state is
 * the processor's, not the cache's: dropping the cache leaves it alone.
 */
#ifndef CPU_X86_MONITOR_H
#define CPU_X86_MONITOR_H

#include "cpu/x86/cpu.h"

#define MONITOR_LINE 64u

/* Bytes of [pa, pa + len) were stored by somebody else. */
static inline void monitor_stored(struct x86_cpu *cpu, u64 pa, u64 len)
{
	if (pa < cpu->monitor.pa + MONITOR_LINE && cpu->monitor.pa < pa + len)
		cpu->monitor.armed = 0;
}

/* Ends the watch: an event, a wake, another MONITOR. Between instructions, or within MONITOR and MWAIT. */
void monitor_release(struct x86_cpu *cpu);

#endif
