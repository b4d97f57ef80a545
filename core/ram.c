/* RAM slots: anonymous mappings, zeroed by the kernel, huge pages where it has them. */
#include "core/ram.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

#define HUGE_PAGE (2ull << 20)

static u64 flags_bytes(u64 size) { return ALIGN_UP(size / RAM_PAGE * sizeof(u16), RAM_PAGE); }

/*
 * The address agrees with `gpa` modulo 2 MiB, so that a huge page here can be a huge page of the nested tables. A page
 * on either side may not be touched: what runs off the end of a slot stops there.
 */
static void *map_zeroed(u64 gpa, u64 size)
{
	u64 room = size + 2 * RAM_PAGE + (size >= HUGE_PAGE ? HUGE_PAGE : 0);
	u8 *all = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0), *p;
	u64 head = 0, tail;

	if (all == MAP_FAILED)
		return NULL;
	if (size >= HUGE_PAGE)
		head = (gpa - (uintptr_t)(all + RAM_PAGE)) % HUGE_PAGE;
	p = all + head + RAM_PAGE;
	tail = room - head - size - 2 * RAM_PAGE;
	if (head)
		munmap(all, head);
	if (tail)
		munmap(p + size + RAM_PAGE, tail);
	if (mprotect(p, size, PROT_READ | PROT_WRITE)) {
		munmap(p - RAM_PAGE, size + 2 * RAM_PAGE);
		return NULL;
	}
	return p;
}

static void unmap(u8 *p, u64 size) { munmap(p - RAM_PAGE, size + 2 * RAM_PAGE); }

int ram_add(struct ram *ram, u64 gpa, u64 size, bool readonly, struct err *e)
{
	struct ram_slot slot = {.gpa = gpa, .size = size, .readonly = readonly};
	unsigned at;

	if (!size || (gpa | size) % RAM_PAGE || gpa + size < gpa)
		return err_set(e, EINVAL, "RAM at %#" PRIx64 " of %#" PRIx64 " bytes is not made of whole pages", gpa,
			       size);
	if (ram->n == RAM_SLOTS)
		return err_set(e, EINVAL, "more than %d RAM slots", RAM_SLOTS);
	for (at = 0; at < ram->n && ram->slot[at].gpa < gpa; at++)
		;
	if ((at && ram->slot[at - 1].gpa + ram->slot[at - 1].size > gpa) ||
	    (at < ram->n && gpa + size > ram->slot[at].gpa))
		return err_set(e, EINVAL, "RAM at %#" PRIx64 " overlaps other RAM", gpa);
	slot.host = map_zeroed(gpa, size);
	slot.flags = map_zeroed(0, flags_bytes(size));
	if (!slot.host || !slot.flags) {
		if (slot.host)
			unmap(slot.host, size);
		if (slot.flags)
			unmap((u8 *)slot.flags, flags_bytes(size));
		return err_set(e, ENOMEM, "no memory for %" PRIu64 " MiB of guest RAM", size >> 20);
	}
	madvise(slot.host, size, MADV_HUGEPAGE);
	madvise(slot.host, size, MADV_DONTDUMP);
	memmove(&ram->slot[at + 1], &ram->slot[at], (ram->n - at) * sizeof(ram->slot[0]));
	ram->slot[at] = slot;
	ram->n++;
	return 0;
}

void ram_destroy(struct ram *ram)
{
	for (unsigned i = 0; i < ram->n; i++) {
		unmap(ram->slot[i].host, ram->slot[i].size);
		unmap((u8 *)ram->slot[i].flags, flags_bytes(ram->slot[i].size));
	}
	ram->n = 0;
}

int ram_read(const struct ram *ram, u64 gpa, void *buf, u64 len)
{
	for (u8 *to = buf; len;) {
		const struct ram_slot *s = ram_find(ram, gpa);

		if (!s)
			return -EFAULT;
		u64 n = MIN(len, s->size - (gpa - s->gpa));
		memcpy(to, s->host + (gpa - s->gpa), n);
		to += n;
		gpa += n;
		len -= n;
	}
	return 0;
}
