/*
 * Process 1 of a guest: what each of its parts offers the others.
 *
 * init.c is the course of events, init_sys.c the kernel's files and modules, init_log.c the kernel's log, init_exec.c
 * commands from the host, init_next.c the level below.
 */
#ifndef CMD_INIT_H
#define CMD_INIT_H

#include <jansson.h>
#include <pthread.h>

#include "arch/x86/bits.h"
#include "base/err.h"

struct init {
	unsigned level, depth; /* depth 0: no chain, an interactive root */
	unsigned guests;       /* of the innermost level, side by side */
	u64 deadline_ms;       /* of this level, in its own uptime; 0: none */
	int channel;	       /* file descriptor, -1: none */
	enum x86_vendor vendor;
	bool report; /* a section of a report is to be sent at the end; false again when it is sent */
	bool keep;   /* the chain stays up until it is told to stop, and takes commands */
	int shell;   /* master of the terminal of this level's shell, -1: there is none; the commands' thread's */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct machine *next; /* the level below while it runs; under lock, as is: */
	bool stop;
};

struct machine;

/* init_sys.c */
int init_mount(struct err *e);
/* The word after "NAME=" on the kernel's command line; false: it is not there. */
bool init_parameter(const char *name, char *value, size_t room) must_check;
u64 init_uptime_ms(void);
/* Loads what modules.list names for a role. -ENOENT: nothing there. */
int init_load_role(const char *role, struct err *e);
int init_open_channel(u64 wait_ms, int *fd, struct err *e);
/* /sys/module/NAME/parameters as an object; NULL when the module is not there. */
json_t *init_module_parameters(const char *module);
/* The counters of all VMs of this kernel's KVM, from debugfs; an empty object when there are none. */
json_t *init_kvm_counters(void);
/* Leaf 40000000h: 12 characters, "" outside a guest. */
void init_hypervisor(char name[13]);
bool init_has_nested_unit(enum x86_vendor vendor);
/* Nanoseconds of a CPUID in user mode, the median of many. */
u64 init_cpuid_ns(void);
_Noreturn void init_power_off(void);

/* init_log.c */
void init_send_log(const struct init *in);

/* init_exec.c: runs what `nest --exec` wants run here. The list for all levels, NULL: none; free() it. */
void init_exec(const struct init *in);
char *init_exec_list(void);

/* init_next.c: runs the level below to its end. */
int init_next(struct init *in, struct err *e);

/* Sends this level's section of a report now. */
void init_send_section(const struct init *in);
/* init_shell.c: a command for the level's shell. */
void init_shell(struct init *in, const json_t *msg);
/* init_command.c: a thread that reads commands; waiting for "stop"; which machine they are handed down to (NULL: none).
 */
int init_command_start(struct init *in);
void init_command_wait(struct init *in);
void init_command_next(struct init *in, struct machine *m);

/* init.c */
/* In a kept chain: all is there; sends the kernel's log. */
void init_up(const struct init *in);
/* The way of an error out of a level. */
void init_report(const struct init *in, const char *kind, const char *what, const char *why);

#endif
