/*
 * The guest's root file system, built in memory: a cpio archive (newc;
 * Documentation/driver-api/early-userspace/buffer-format.rst).
 *
 * It holds this very program as /init with every shared object that it runs with, the kernel modules that the level
 * needs in the order in which they load (/nestbox/modules.list: "ROLE PATH" lines), and, for a level that starts
 * another, the kernel and the modules for that one. A level builds the next level's archive from its own root by the
 * same code.
 */
#ifndef CMD_INITRAMFS_H
#define CMD_INITRAMFS_H

#include "base/err.h"

#define INITRAMFS_MODULES_LIST "/nestbox/modules.list"
#define INITRAMFS_KERNEL       "/boot/vmlinuz"
#define INITRAMFS_EXEC         "/nestbox/exec"

struct kernel_image;

/* What a set of modules is for; the word is the first of its lines in modules.list. */
struct initramfs_role {
	const char *name;     /* "channel" */
	const char *modules;  /* names separated by blanks; what they depend on comes by itself */
	bool only_if_present; /* no error when the folder lacks them */
};

struct initramfs_config {
	const struct kernel_image *kernel;
	const struct initramfs_role *roles;
	unsigned nroles;
	bool next_level;     /* take the kernel and what libkmod needs to read for the level after this one */
	const char *busybox; /* a static busybox on this side, NULL: none */
	const char *exec;    /* the text of /nestbox/exec, NULL: none */
};

struct initramfs {
	u8 *data;
	size_t size;
};

/* -ENOENT when a module is not there: e names it. */
int initramfs_build(const struct initramfs_config *cfg, struct initramfs *out, struct err *e);
/* The busybox of this side, NULL: none. */
const char *initramfs_busybox(void);
void initramfs_free(struct initramfs *fs);

#endif
