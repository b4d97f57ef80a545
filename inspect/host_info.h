/*
 * What a host's files, CPUID and MSRs mean for nesting: pure readers over a source (host.h). `check` turns them into
 * findings, `report` into tables, `nest` and `run` choose their accelerator by them.
 */
#ifndef INSPECT_HOST_INFO_H
#define INSPECT_HOST_INFO_H

#include "inspect/host.h"

/* host_cpu.c */
enum host_arch { HOST_X86, HOST_S390X, HOST_PPC64, HOST_ARM64, HOST_OTHER };

enum host_switch { SWITCH_UNKNOWN, SWITCH_ON, SWITCH_OFF };

struct host_cpu {
	enum host_arch arch;
	bool known; /* x86: CPUID could be asked */
	char vendor[13], brand[64];
	bool intel, amd;		  /* whose virtualization it would be */
	bool vmx, svm, hypervisor;	  /* CPUID 1 ECX bit 5; 80000001h ECX bit 2; 1 ECX bit 31 */
	bool cpuinfo, flag_vmx, flag_svm; /* /proc/cpuinfo could be read; it lists them */
	bool sie;			  /* s390x */
	enum host_switch firmware;	  /* MSR 3ah or c0010114h, else the kernel's log */
	char firmware_how[200];		  /* how that is known, or why it is not */
};
void host_cpu_read(struct host *h, struct host_cpu *cpu);
/* A line of the first processor in /proc/cpuinfo, as " word word ": "flags", "vmx flags". The caller frees it; NULL: no
 * such line. */
char *host_cpuinfo(struct host *h, const char *key);
/* Is a VMX control allowed to be 1? `msr`: a capability MSR (480h to 491h), bit of the control. 1, 0, or -1: not
 * readable. */
int host_vmx_allows(struct host *h, u32 msr, unsigned bit);

/* host_level.c */
struct host_level {
	int least, most; /* the level; most -1: that or deeper */
	bool emulated;	 /* the parent has no hardware under its guests: QEMU's TCG */
	bool nestbox;	 /* the parent is nestbox's own processor, or nestbox stated the level */
	bool kvm;	 /* the parent is KVM */
	bool forged;	 /* the timing contradicts what CPUID says */
	char parent[80]; /* "KVM", "Hyper-V", ...; "" none */
	char how[400];	 /* a sentence */
};
void host_level_read(struct host *h, const struct host_cpu *cpu, struct host_level *level);

/* host_kvm.c */
struct host_holder {
	long pid;
	char name[32];
	bool vm; /* it has a VM, not only /dev/kvm */
};

struct host_kvm {
	const char *module; /* that nests on this processor: kvm_intel, kvm_amd, kvm (s390x), kvm_hv; NULL: none */
	bool present, loaded, built_in, available; /* in /sys/module; in /proc/modules; modules.builtin; modules.dep has
						      a file, or is not there */
	bool pvm;				   /* kvm_pvm is there */
	long refs;				   /* users of the module; -1: not known */
	char nested_text[32];
	int nested;	  /* 1, 0, -1: there is no such parameter, or it cannot be read */
	bool device;	  /* /dev/kvm is there */
	int device_error; /* -errno of opening it, 0: it opens or was not tried */
	enum { KVM_NONE, KVM_UNUSABLE, KVM_NO_NESTING, KVM_NESTS, KVM_UNTRIED } can;
	bool vmx, svm;	    /* its guests would see it; nesting it wants `can` KVM_NESTS as well */
	bool guest_debug;   /* KVM_CAP_SET_GUEST_DEBUG */
	char can_text[220]; /* a sentence */
	char can_word[24];  /* "none", "not usable", "no nesting", "nests", "not tried" */
	struct host_holder *holder;
	size_t nholders;
	unsigned unreadable; /* processes whose files could not be seen */
};
/* Reads the facts "kvm.usable", "kvm.vmx", "kvm.svm", "kvm.nested_state", "kvm.guest_debug", "kvm.text", which whoever can open /dev/kvm
 * sets. */
void host_kvm_read(struct host *h, const struct host_cpu *cpu, struct host_kvm *kvm);
/* The part of it that an accelerator is chosen by: device, device_error, can, vmx, svm, guest_debug,
 * can_text, can_word. */
void host_kvm_device(struct host *h, struct host_kvm *kvm);
void host_kvm_holders(struct host *h, struct host_kvm *kvm);
void host_kvm_free(struct host_kvm *kvm);
/* A parameter as sysfs shows it. 1, 0, or -1: it is not there; text receives the words of the file. */
int host_parameter(struct host *h, const char *module, const char *name, char *text, size_t room);
/* "Y", "1", "auto": 1; "N", "0": 0; else -1. */
int host_truth(const char *text);

/* host_modprobe.c */
enum host_modprobe_kind { MODPROBE_OPTIONS, MODPROBE_BLACKLIST, MODPROBE_INSTALL };

struct host_modprobe_row {
	enum host_modprobe_kind kind;
	char file[300];
	unsigned line;
	char module[64]; /* with _ */
	char value[256]; /* "nested=1 ept=1", or the command of install */
};

struct host_modprobe {
	struct host_modprobe_row
		*row; /* in the order in which modprobe takes them; of options for one parameter the last wins */
	size_t n;
};
/* modprobe.d(5), then the kernel's command line. */
int host_modprobe_read(struct host *h, struct host_modprobe *m);
void host_modprobe_free(struct host_modprobe *m);
/* The row that decides a parameter, NULL: none does; its value goes to `value`. */
const struct host_modprobe_row *host_modprobe_option(const struct host_modprobe *m, const char *module,
						     const char *name, char *value, size_t room);
const struct host_modprobe_row *host_modprobe_find(const struct host_modprobe *m, enum host_modprobe_kind kind,
						   const char *module);

/* host_place.c */
struct host_place {
	char container[40]; /* "Docker", ...; "" none seen */
	char container_how[120];
	char ci[40]; /* "" none seen */
};
void host_place_read(struct host *h, struct host_place *p);

/* host_version.c: the kernel's upstream version, also where a distribution hides it. */
struct host_version {
	unsigned major, minor, patch; /* 0.0.0: not known */
	char release[128];	      /* uname -r */
	char how[160];		      /* "Debian 6.1.192-2", "" when it is plainly the release */
};
void host_version_read(struct host *h, struct host_version *v);
bool host_version_parse(const char *text, struct host_version *v);
/* Same meaning as strcmp; patch included. */
int host_version_compare(const struct host_version *a, unsigned major, unsigned minor, unsigned patch);
/*
 * Is a fix in this version? `fixed`: "7.1.3 6.18.38 6.12.95": the first release with it of each branch, newest branch
 * first. 1 yes, 0 no, -1 a branch that is not in the list and not newer than all of it.
 */
int host_version_fixed(const struct host_version *v, const char *fixed);

#endif
