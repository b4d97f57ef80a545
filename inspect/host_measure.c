/*
 * Facts that take more than reading a file, by name:
 *
 *   arch            uname's machine
 *   uid             of the user who asks
 *   cpuid.cycles    median time stamp cycles of a CPUID round trip; cpuid.ns the same in nanoseconds
 *   ci              the well-known name of the CI runner, from the environment
 *   kvm.*           what /dev/kvm answers (host_kvm.c)
 */
#include <cpuid.h>
#include <stdlib.h>
#include <sys/utsname.h>
#include <unistd.h>
#include <x86intrin.h>

#include "base/clock.h"
#include "inspect/host.h"

static int compare_u64(const void *a, const void *b)
{
	u64 x = *(const u64 *)a, y = *(const u64 *)b;

	return (x > y) - (x < y);
}

static void measure_cpuid(struct host *h)
{
	enum { ROUNDS = 201 };
	u64 cycles[ROUNDS], ns[ROUNDS];
	struct clock *clock = clock_host();

	for (unsigned i = 0; i < ROUNDS; i++) {
		u32 a, b, c, d;
		u64 start = __rdtsc();

		__cpuid(0, a, b, c, d);
		cycles[i] = __rdtsc() - start;
	}
	for (unsigned i = 0; i < ROUNDS; i++) {
		enum { EACH = 8 };
		u64 start = clock->now(clock);

		for (unsigned k = 0; k < EACH; k++) {
			u32 a = 0, b, c = 0, d;

			__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
		}
		ns[i] = (clock->now(clock) - start) / EACH;
	}
	qsort(cycles, ROUNDS, sizeof(cycles[0]), compare_u64);
	qsort(ns, ROUNDS, sizeof(ns[0]), compare_u64);
	host_fact_set(h, "cpuid.cycles", "%llu", (unsigned long long)cycles[ROUNDS / 2]);
	host_fact_set(h, "cpuid.ns", "%llu", (unsigned long long)ns[ROUNDS / 2]);
}

static void measure_ci(struct host *h)
{
	static const struct {
		const char *variable, *name;
	} runners[] = {
		{"GITHUB_ACTIONS", "GitHub Actions"},
		{"GITLAB_CI", "GitLab CI"},
		{"CIRCLECI", "CircleCI"},
		{"TRAVIS", "Travis CI"},
		{"CIRRUS_CI", "Cirrus CI"},
		{"BUILDKITE", "Buildkite"},
		{"DRONE", "Drone"},
		{"TF_BUILD", "Azure Pipelines"},
		{"BITBUCKET_BUILD_NUMBER", "Bitbucket Pipelines"},
		{"CODEBUILD_BUILD_ID", "AWS CodeBuild"},
		{"JENKINS_URL", "Jenkins"},
		{"TEAMCITY_VERSION", "TeamCity"},
		{"CI", "a CI runner"},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(runners); i++)
		if (getenv(runners[i].variable)) {
			host_fact_set(h, "ci", "%s", runners[i].name);
			return;
		}
}

void host_measure(struct host *h)
{
	struct utsname u;

	if (!uname(&u))
		host_fact_set(h, "arch", "%s", u.machine);
	host_fact_set(h, "uid", "%u", (unsigned)geteuid());
	measure_cpuid(h);
	measure_ci(h);
}
