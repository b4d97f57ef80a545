/*
 * Which kernel the guests run, and where its modules are.
 *
 * A kernel is a bzImage (Documentation/arch/x86/boot.rst "The Real-Mode Kernel Header"); its version string is taken
 * from the image itself, never from the file's name. Modules are optional here: a kernel with everything built in needs
 * none.
 *
 * Where a default is sought, first hit wins:
 *   $NESTBOX_KERNEL                      a folder laid out as the distribution's package unpacks: boot/vmlinuz-*,
 * lib/modules/VERSION $XDG_CACHE_HOME/nestbox/kernel, ~/.cache/nestbox/kernel    the same layout, newest version
 *   /boot/vmlinuz-$(uname -r), /boot/vmlinuz    with /lib/modules, when readable
 */
#ifndef CMD_KERNEL_H
#define CMD_KERNEL_H

#include "base/err.h"

struct kernel_image {
	char path[512];
	char modules[512]; /* the folder that holds modules.dep; "": none */
	char version[128];
	u8 *data;
	size_t size;
};

/* Both may be NULL. -ENOENT: the named file (or every default) does not exist; other codes: it cannot be used. */
int kernel_find(const char *file, const char *modules, struct kernel_image *k, struct err *e);
void kernel_free(struct kernel_image *k);
/* The header's kernel_version string up to its first space. -EINVAL with a sentence for what is no whole bzImage. */
int kernel_version(const u8 *data, size_t size, char *version, size_t room, struct err *e);

#endif
