#include "jit/code.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int code_region_init(struct code_region *r, size_t size, struct err *e)
{
	long page = sysconf(_SC_PAGESIZE);
	void *w, *x;
	int fd, rc;

	memset(r, 0, sizeof(*r));
	size = ALIGN_UP(size, (size_t)page);
	fd = memfd_create("nestbox code", MFD_CLOEXEC);
	if (fd < 0)
		return err_set(e, errno, "cannot create memory for generated code: %s", strerror(errno));
	if (ftruncate(fd, size) < 0)
		goto fail;
	w = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (w == MAP_FAILED)
		goto fail;
	x = mmap(NULL, size, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
	if (x == MAP_FAILED) {
		rc = errno;
		munmap(w, size);
		errno = rc;
		goto fail;
	}
	close(fd);
	r->write = w;
	r->run = x;
	r->size = size;
	return 0;
fail:
	rc = errno;
	close(fd);
	return err_set(e, rc, "cannot map %zu bytes for generated code: %s", size, strerror(rc));
}

void code_region_destroy(struct code_region *r)
{
	if (r->write) {
		munmap(r->write, r->size);
		munmap(r->run, r->size);
	}
	memset(r, 0, sizeof(*r));
}
