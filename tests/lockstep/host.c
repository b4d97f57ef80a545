#include "tests/lockstep/host.h"

#include <sched.h>
#include <sys/auxv.h>

#define HWCAP2_FSGSBASE 2u

bool host_has_bases(void) { return getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE; }

void host_stay(void)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	sched_setaffinity(0, sizeof(one), &one);
}
