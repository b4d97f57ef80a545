/*
 * The threads behind a disk file (disk.h).
 *
 * `lock` guards the two lists and `stopping`; it is taken inside vm->lock by submit, and never held across I/O or a
 * call into the loop. The first request that is done after the list was empty posts one call, which hands all back.
 */
#include "host/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host/overlay.h"

#define DISK_THREADS 4u
#define ZEROES	     65536u

struct list {
	struct block_io *first, **last;
};

struct disk {
	int fd;
	struct overlay *overlay; /* NULL: writes go to the file */
	struct block_disk block;
	struct host_loop *loop;
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct list todo, done;
	bool stopping;
	unsigned nthreads;
	pthread_t thread[DISK_THREADS];
};

static void list_init(struct list *l)
{
	l->first = NULL;
	l->last = &l->first;
}

static void list_add(struct list *l, struct block_io *io)
{
	io->next = NULL;
	*l->last = io;
	l->last = &io->next;
}

static struct block_io *list_take(struct list *l)
{
	struct block_io *io = l->first;

	if (io) {
		l->first = io->next;
		if (!l->first)
			l->last = &l->first;
	}
	return io;
}

/* ---- one request ---- */

static int transfer(struct disk *d, bool in, u8 *buf, u64 offset, u64 size)
{
	if (!d->overlay)
		return file_transfer(d->fd, in, buf, offset, size);
	return in ? overlay_read(d->overlay, d->fd, buf, offset, size) : overlay_write(d->overlay, buf, offset, size);
}

static int change_space(int fd, int mode, u64 offset, u64 size)
{
	int rc;

	do
		rc = fallocate(fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)size);
	while (rc && errno == EINTR);
	return rc ? -errno : 0;
}

static int write_zeroes(struct disk *d, u64 offset, u64 size)
{
	u8 *zeroes = calloc(1, ZEROES);
	int rc = zeroes ? 0 : -ENOMEM;

	while (size && !rc) {
		u64 n = MIN(size, (u64)ZEROES);

		rc = transfer(d, false, zeroes, offset, n);
		offset += n;
		size -= n;
	}
	free(zeroes);
	return rc;
}

static int zero(struct disk *d, u64 offset, u64 size, bool unmap)
{
	int rc = -EOPNOTSUPP;

	if (unmap && !d->overlay)
		rc = change_space(d->fd, FALLOC_FL_PUNCH_HOLE, offset, size);
	if (rc && !d->overlay)
		rc = change_space(d->fd, FALLOC_FL_ZERO_RANGE, offset, size);
	return rc ? write_zeroes(d, offset, size) : 0;
}

static int carry_out(struct disk *d, struct block_io *io)
{
	switch (io->op) {
	case BLOCK_READ: return transfer(d, true, io->buf, io->offset, io->size);
	case BLOCK_WRITE: return transfer(d, false, io->buf, io->offset, io->size);
	case BLOCK_FLUSH: return !d->overlay && fdatasync(d->fd) ? -errno : 0;
	case BLOCK_ZERO: return io->size ? zero(d, io->offset, io->size, io->unmap) : 0;
	case BLOCK_DISCARD:
		/* Advice: a file system that cannot is no error. */
		if (io->size && !d->overlay)
			change_space(d->fd, FALLOC_FL_PUNCH_HOLE, io->offset, io->size);
		return 0;
	}
	return -EOPNOTSUPP;
}

/* ---- threads ---- */

static void hand_back(void *ctx)
{
	struct disk *d = ctx;
	struct block_io *io, *next;

	pthread_mutex_lock(&d->lock);
	io = d->done.first;
	list_init(&d->done);
	pthread_mutex_unlock(&d->lock);
	for (; io; io = next) {
		next = io->next;
		io->done(io);
	}
}

static void *work(void *ctx)
{
	struct disk *d = ctx;
	struct block_io *io;

	pthread_mutex_lock(&d->lock);
	for (;;) {
		bool first;

		while (!(io = list_take(&d->todo)) && !d->stopping)
			pthread_cond_wait(&d->work, &d->lock);
		if (!io)
			break;
		pthread_mutex_unlock(&d->lock);
		io->rc = carry_out(d, io);
		pthread_mutex_lock(&d->lock);
		first = !d->done.first;
		list_add(&d->done, io);
		if (first) {
			pthread_mutex_unlock(&d->lock);
			host_loop_post(d->loop, hand_back, d);
			pthread_mutex_lock(&d->lock);
		}
	}
	pthread_mutex_unlock(&d->lock);
	return NULL;
}

static void submit(void *ctx, struct block_io *io)
{
	struct disk *d = ctx;

	pthread_mutex_lock(&d->lock);
	list_add(&d->todo, io);
	pthread_cond_signal(&d->work);
	pthread_mutex_unlock(&d->lock);
}

int disk_start(struct disk *d, struct host_loop *loop, struct err *e)
{
	sigset_t all, old;
	int rc = 0;

	d->loop = loop;
	d->stopping = false;
	/* Signals belong to the program's own threads. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	while (!rc && d->nthreads < DISK_THREADS) {
		rc = pthread_create(&d->thread[d->nthreads], NULL, work, d);
		if (!rc)
			pthread_setname_np(d->thread[d->nthreads++], "disk");
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return d->nthreads ? 0 : err_set(e, rc, "no thread for a disk: %s", strerror(rc));
}

void disk_stop(struct disk *d)
{
	pthread_mutex_lock(&d->lock);
	d->stopping = true;
	pthread_cond_broadcast(&d->work);
	pthread_mutex_unlock(&d->lock);
	while (d->nthreads)
		pthread_join(d->thread[--d->nthreads], NULL);
}

/* ---- opening ---- */

static int check_kind(const struct disk_options *o, int fd, struct stat *st, struct err *e)
{
	u8 magic[4] = {0};

	if (fstat(fd, st))
		return err_set(e, errno, "the disk %s: %s", o->path, strerror(errno));
	if (!S_ISREG(st->st_mode) && !S_ISBLK(st->st_mode))
		return err_set(e, EINVAL, "the disk %s is neither a file nor a block device", o->path);
	if (pread(fd, magic, sizeof(magic), 0) == sizeof(magic) && !memcmp(magic, "QFI\xfb", sizeof(magic)))
		return err_set(e, EINVAL, "the disk %s is a qcow2 image: only raw ones work (qemu-img convert -O raw)",
			       o->path);
	return 0;
}

static bool keeps_file(const struct disk_options *o) { return o->readonly || o->snapshot; }

/* Of the open file, so that it ends with it, whoever else opens and closes the file. */
static int lock_file(const struct disk_options *o, int fd, struct err *e)
{
	struct flock l = {.l_type = keeps_file(o) ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET};

	if (!fcntl(fd, F_OFD_SETLK, &l) || (errno != EAGAIN && errno != EACCES))
		return 0;
	return err_set(e, EBUSY, "the disk %s is in use by another guest: give it to one, or to all read-only",
		       o->path);
}

static int open_file(const struct disk_options *o, struct disk *d, struct err *e)
{
	struct stat st;
	off_t size;
	int rc;

	d->fd = open(o->path, (keeps_file(o) ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK);
	if (d->fd < 0)
		return err_set(e, errno, "the disk %s: %s", o->path, strerror(errno));
	rc = check_kind(o, d->fd, &st, e);
	if (!rc)
		rc = lock_file(o, d->fd, e);
	if (rc)
		return rc;
	size = lseek(d->fd, 0, SEEK_END);
	if (size <= 0 || size % BLOCK_SECTOR)
		return err_set(e, EINVAL, "the disk %s has %lld bytes: it must be whole sectors of %u, one or more",
			       o->path, (long long)size, BLOCK_SECTOR);
	d->block = (struct block_disk){submit, d, (u64)size, o->readonly, o->discard && !o->readonly};
	return o->snapshot && !o->readonly ? overlay_new((u64)size, &d->overlay, e) : 0;
}

int disk_open(const struct disk_options *o, struct disk **out, struct err *e)
{
	struct disk *d = calloc(1, sizeof(*d));
	int rc;

	if (!d)
		return err_set(e, ENOMEM, "no memory for a disk");
	list_init(&d->todo);
	list_init(&d->done);
	pthread_mutex_init(&d->lock, NULL);
	pthread_cond_init(&d->work, NULL);
	rc = open_file(o, d, e);
	if (rc) {
		disk_close(d);
		return rc;
	}
	*out = d;
	return 0;
}

struct block_disk disk_block(struct disk *d) { return d->block; }

void disk_close(struct disk *d)
{
	if (!d)
		return;
	if (d->fd >= 0)
		close(d->fd);
	overlay_free(d->overlay);
	pthread_cond_destroy(&d->work);
	pthread_mutex_destroy(&d->lock);
	free(d);
}
