/* See flash_file.h. */
#include "host/flash_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* One guest at a time, as with disks. */
static int take(const char *path, int fd, bool keep, struct err *e)
{
	struct flock l = {.l_type = keep ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET};

	if (!fcntl(fd, F_OFD_SETLK, &l) || (errno != EAGAIN && errno != EACCES))
		return 0;
	return err_set(e, EBUSY, "%s is in use by another guest", path);
}

int flash_file_open(const char *path, u64 block, u64 most, bool keep, struct flash_file *f, struct err *e)
{
	struct stat st;
	void *p;
	int rc;

	*f = (struct flash_file){.fd = open(path, (keep ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK)};
	if (f->fd < 0)
		return err_set(e, errno, "%s: %s", path, strerror(errno));
	rc = fstat(f->fd, &st) ? err_set(e, errno, "%s: %s", path, strerror(errno)) : take(path, f->fd, keep, e);
	if (!rc && (!S_ISREG(st.st_mode) || !st.st_size || (u64)st.st_size % block || (u64)st.st_size > most))
		rc = err_set(e, EINVAL,
			     "%s cannot hold firmware's variables: it must be a file of whole %llu byte blocks", path,
			     (unsigned long long)block);
	if (!rc) {
		p = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, keep ? MAP_PRIVATE : MAP_SHARED, f->fd, 0);
		if (p == MAP_FAILED)
			rc = err_set(e, errno, "%s cannot be mapped: %s", path, strerror(errno));
	}
	if (rc) {
		close(f->fd);
		*f = (struct flash_file){.fd = -1};
		return rc;
	}
	f->data = p;
	f->size = (u64)st.st_size;
	return 0;
}

void flash_file_close(struct flash_file *f)
{
	if (!f->data)
		return;
	munmap(f->data, f->size);
	close(f->fd);
	*f = (struct flash_file){.fd = -1};
}
