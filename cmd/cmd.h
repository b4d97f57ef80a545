/* The verbs, and the exit codes that all of them share. */
#ifndef CMD_CMD_H
#define CMD_CMD_H

enum exit_code {
	EXIT_DONE = 0,
	EXIT_NOT_SO = 1,   /* the thing asked about is not so */
	EXIT_USAGE = 2,
	EXIT_HOST = 3,     /* the host refused */
	EXIT_GUEST = 4,    /* the guest failed */
	EXIT_TIMEOUT = 124,
};

struct opt_table;
extern const struct opt_table cmd_nest_options, cmd_run_options, cmd_check_options, cmd_cpus_options;
extern const struct opt_table cmd_enable_options, cmd_report_options;

/* argv[0] is the verb. Each returns an exit code. */
int cmd_run(int argc, char **argv);
int cmd_nest(int argc, char **argv);
int cmd_check(int argc, char **argv);
int cmd_enable(int argc, char **argv);
int cmd_disable(int argc, char **argv);
int cmd_cpus(int argc, char **argv);
int cmd_report(int argc, char **argv);
/* As process 1 of a guest; does not return. */
int cmd_init(void);

#endif
