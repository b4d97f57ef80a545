/* KVM's module out and in again, by libkmod. */
#include <errno.h>
#include <libkmod.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cmd/enable.h"

static void quiet(void *data, int priority, const char *file, int line, const char *fn, const char *format,
		  va_list args)
{
}

/* `value` is put after the options of modprobe.d, so it wins. "" for none. */
static int load(struct kmod_module *mod, const char *value, struct err *e)
{
	char option[64] = "";
	int rc;

	if (*value)
		snprintf(option, sizeof(option), "nested=%s", value);
	rc = kmod_module_probe_insert_module(mod, KMOD_PROBE_IGNORE_COMMAND, *value ? option : NULL, NULL, NULL, NULL);
	if (rc < 0)
		return err_set(e, -rc, "%s %s did not load: %s (the kernel's log may say more)",
			       kmod_module_get_name(mod), option, strerror(-rc));
	return 0;
}

static int reload(struct kmod_module *mod, bool loaded, const char *value, const char *old, bool *back, struct err *e)
{
	struct err again;
	int rc = loaded ? kmod_module_remove_module(mod, 0) : 0;

	*back = loaded;
	if (rc < 0)
		return err_set(e, -rc, "%s cannot be unloaded: %s", kmod_module_get_name(mod),
			       rc == -EAGAIN || rc == -EBUSY ? "it is in use"
			       : rc == -EPERM		     ? "not permitted (in a container, do it on its host)"
							     : strerror(-rc));
	rc = load(mod, value, e);
	if (rc && loaded && load(mod, old, &again)) {
		*back = false;
		err_prefix(e, "KVM is unloaded, and the old way of loading it failed, too");
	}
	return rc;
}

int enable_module_reload(const char *module, bool loaded, const char *value, const char *old, bool *back, struct err *e)
{
	struct kmod_ctx *kmod = kmod_new(NULL, NULL);
	struct kmod_module *mod = NULL;
	sigset_t stop, before;
	int rc;

	*back = loaded;
	if (!kmod)
		return err_set(e, ENOMEM, "libkmod does not start");
	kmod_set_log_fn(kmod, quiet, NULL);
	rc = kmod_module_new_from_name(kmod, module, &mod);
	if (rc < 0) {
		kmod_unref(kmod);
		return err_set(e, -rc, "libkmod knows no module %s: %s", module, strerror(-rc));
	}
	sigemptyset(&stop);
	sigaddset(&stop, SIGINT);
	sigaddset(&stop, SIGTERM);
	sigaddset(&stop, SIGHUP);
	sigprocmask(SIG_BLOCK, &stop, &before);
	rc = reload(mod, loaded, value, old, back, e);
	sigprocmask(SIG_SETMASK, &before, NULL);
	kmod_module_unref(mod);
	kmod_unref(kmod);
	return rc;
}
