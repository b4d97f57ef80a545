/*
 * Guest RAM as slots: [gpa, gpa + size) backed by host memory.
 *
 * Slots are made while the board is built and stay until the VM ends, so that readers need no lock. `flags` holds an atomic word
 * per 4 KiB page, shared by all vCPUs: in RAM_CODE the number of processors that hold decoded or translated code of that page, in RAM_WRITER
 * who may have a TLB entry that lets stores through (0: nobody, n: vCPU n - 1, RAM_WRITER: several); RAM_DIRTY is set by stores while
 * the dirty log is on. The processor withholds the write half of a TLB entry for a page whose flags ask to see stores; there is no test on
 * each store.
 */
#ifndef CORE_RAM_H
#define CORE_RAM_H

#include "base/err.h"
#include "base/types.h"

#define RAM_PAGE 4096u
#define RAM_SLOTS 16

enum ram_page_flag { RAM_DIRTY = 1, RAM_CODE = 0xfe, RAM_WRITER = 0xff00 };
#define RAM_CODE_ONE	 2u /* one processor in RAM_CODE */
#define RAM_WRITER_SHIFT 8

struct ram_slot {
	u64 gpa;
	u64 size; /* bytes, a multiple of 4096 */
	u8 *host;
	u16 *flags; /* size / 4096 of them */
	bool readonly;
};

struct ram {
	unsigned n;
	struct ram_slot slot[RAM_SLOTS]; /* sorted by gpa, never overlapping */
};

/* Maps zeroed anonymous memory. -ENOMEM, -EINVAL (overlap, alignment, too many). */
int ram_add(struct ram *ram, u64 gpa, u64 size, bool readonly, struct err *e);
void ram_destroy(struct ram *ram);

static inline const struct ram_slot *ram_find(const struct ram *ram, u64 gpa)
{
	for (unsigned i = 0; i < ram->n; i++)
		if (gpa - ram->slot[i].gpa < ram->slot[i].size)
			return &ram->slot[i];
	return NULL;
}

/* Host address of [gpa, gpa + len) if that range lies within one slot, else NULL. */
static inline void *ram_host(const struct ram *ram, u64 gpa, u64 len)
{
	const struct ram_slot *s = ram_find(ram, gpa);

	if (!s || len > s->size - (gpa - s->gpa))
		return NULL;
	return s->host + (gpa - s->gpa);
}

/* Copies across slots; -EFAULT if any byte is not RAM (nothing is promised of the bytes before it). Stores by devices go
 * through vm_dma_write (core/vm.h), which drops decoded code of the pages written. */
int ram_read(const struct ram *ram, u64 gpa, void *buf, u64 len) must_check;

#endif
