/*
 * The command lines of `run`, `nest` and `cpus`: an input is a verb's letter, then words with a newline between. The
 * whole verb runs, up to the making of a machine: what would touch the host (files, folders, /dev/kvm) is put in its
 * place by the linker (--wrap). Whatever is said, the answer is exit code 0, 2 or 3, and with the latter a sentence.
 */
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <sys/stat.h>

#include "cmd/accel.h"
#include "cmd/cmd.h"
#include "cmd/file.h"
#include "cmd/kernel.h"
#include "cmd/level.h"
#include "host/disk.h"
#include "host/net.h"
#include "kvm/kvm.h"
#include "machine/pc.h"

#define WORDS 40

static bool inside; /* a verb runs */
static bool have_kvm;

FILE *__real_fopen64(const char *path, const char *mode);
FILE *__wrap_fopen64(const char *path, const char *mode);
FILE *__wrap_fopen64(const char *path, const char *mode)
{
	if (!inside || strstr(path, "/cmdline-crash-")) /* libFuzzer's own */
		return __real_fopen64(path, mode);
	errno = EACCES;
	return NULL;
}

int __wrap_mkdir(const char *path, mode_t mode);
int __wrap_mkdir(const char *path, mode_t mode)
{
	errno = EACCES;
	return -1;
}

int __wrap_file_read(const char *path, struct file_bytes *out, struct err *e);
int __wrap_file_read(const char *path, struct file_bytes *out, struct err *e)
{
	if (!strchr(path, 'k'))
		return err_set(e, ENOENT, "%s cannot be opened: it is not there", path);
	*out = (struct file_bytes){calloc(1, 64), 64};
	memcpy(out->data,
	       "\x7f"
	       "ELF\x02\x01\x01",
	       7);
	return 0;
}

int __wrap_kernel_find(const char *file, const char *modules, struct kernel_image *k, struct err *e);
int __wrap_kernel_find(const char *file, const char *modules, struct kernel_image *k, struct err *e)
{
	return err_set(e, ENOENT, "there is no kernel");
}

int __wrap_kvm_probe(struct kvm_probe *p);
int __wrap_kvm_probe(struct kvm_probe *p)
{
	memset(p, 0, sizeof(*p));
	p->usable = p->nested = have_kvm;
	snprintf(p->text, sizeof(p->text), "%s", "it is not there");
	return 0;
}

int __wrap_machine_new(const struct machine_config *cfg, struct machine **out, struct err *e);
int __wrap_machine_new(const struct machine_config *cfg, struct machine **out, struct err *e)
{
	fuzz_check(cfg->vcpus && cfg->vcpus <= VM_VCPUS, "processors");
	fuzz_check(cfg->memory, "memory");
	fuzz_check(cfg->ndisks <= PC_DISKS && cfg->modules <= MACHINE_MODULES, "disks and modules");
	fuzz_check(!cfg->net || cfg->net->nforwards <= NET_FORWARDS, "forwards");
	for (unsigned i = 0; i < cfg->ndisks; i++)
		fuzz_check(cfg->disks[i].path[0] && cfg->disks[i].queues - 1 < VIRTIO_QUEUES, "a disk");
	for (unsigned i = 0; i < cfg->modules; i++)
		fuzz_check(cfg->module[i].file.data && cfg->module[i].words, "a module");
	return err_set(e, EINVAL, "this is as far as it goes");
}

int __wrap_level_new(const struct level_start *s, struct machine **out, u64 *memory, struct err *e);
int __wrap_level_new(const struct level_start *s, struct machine **out, u64 *memory, struct err *e)
{
	return err_set(e, EINVAL, "this is as far as it goes");
}

static int run_verb(char letter, int argc, char **argv)
{
	switch (letter % 3) {
	case 0: return cmd_run(argc, argv);
	case 1: return cmd_nest(argc, argv);
	default: return cmd_cpus(argc, argv);
	}
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	static FILE *null;
	static char name[] = "verb";
	struct fuzz_in in = {data, size};
	u8 letter = fuzz_u8(&in);
	char *argv[WORDS + 2] = {name}, *copy = malloc(in.n + 1), *at = copy, *text = NULL;
	FILE *out = stdout, *errors = stderr;
	size_t n = 0;
	int argc = 1, code;

	if (!null)
		null = fopen("/dev/null", "w");
	memcpy(copy, in.p, in.n);
	copy[in.n] = 0;
	while (at && argc <= WORDS && *at)
		argv[argc++] = strsep(&at, "\n");
	have_kvm = letter & 128;
	fflush(stdout);
	stdout = null;
	stderr = open_memstream(&text, &n);
	inside = true;
	code = run_verb((char)(letter & 127), argc, argv);
	inside = false;
	fclose(stderr);
	stderr = errors;
	stdout = out;
	fuzz_check(code == EXIT_DONE || code == EXIT_USAGE || code == EXIT_HOST, "another exit code");
	fuzz_check(code == EXIT_DONE || (n > 10 && text[n - 1] == '\n' && strnlen(text, n) == n), "no sentence");
	free(text);
	free(copy);
	return 0;
}

size_t fuzz_seed(unsigned n, u8 *buf, size_t room)
{
	static const char *const lines[] = {
		"r--kernel\nk\n--initrd\nk\n--append\nconsole=ttyS0 "
		"a=b\n-m\n512M\n--smp\n4\n--accel\nsoft\n--stat\n--timeout\n5m",
		"r--bios\nk\n--disk\nd.img,ro,queues=4,discard=on\n--disk=a,,b\n--net\nuser,hostfwd=tcp:127.0.0.1:2222-"
		":22,"
		"hostfwd=udp::1-10.0.2.15:53,restrict=on,mac=52:54:00:12:34:56\n--debugcon\nf\n--gdb\n:1234\n--wait\n--"
		"no-reboot",
		"r--kernel=k\n--module\nk words of "
		"it\n--module\nk\n--cpu\nEPYC-Rome,svm=off,avx2=on,+x2apic,-smap\n--trace\ninsn,mem\n"
		"--trace-file\nf\n--symbols\nk\n--drop-every\n100\n--testdev\n-nographic\n-serial\nmon:stdio\n--"
		"snapshot",
		"s--depth\n3\n--vendor\nintel\n--cpu\nhost,vmx=on\n--memory\n1G\n--smp\n2\n--dmesg\nd\n--json\n--"
		"console\n--exec\n1:ls -l\n"
		"--timeout=90s",
		"t--json",
		"r--help",
		"s-h",
		"s--keep\n--stat\n--accel\nkvm\n-cpu\nSkylake-Client,phys-bits=40,level=7",
	};
	size_t size;

	if (n >= ARRAY_SIZE(lines))
		return 0;
	size = strlen(lines[n]);
	memcpy(buf, lines[n], size);
	return size;
}
