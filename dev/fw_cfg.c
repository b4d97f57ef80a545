/*
 * The two ways to read an item (fw_cfg.h): byte by byte through port 0x511, or a block by DMA. Beyond an item's end,
 * and where there is no item, everything reads as zero. The file directory, item 0x19, is built when it is read.
 */
#include "dev/fw_cfg.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY_SIGNATURE 0x00u
#define KEY_ID	      0x01u
#define KEY_DIRECTORY 0x19u
#define ID_PORTS      1u
#define ID_DMA	      2u

#define DMA_ERROR     1u
#define DMA_READ      2u
#define DMA_SKIP      4u
#define DMA_SELECT    8u
#define DMA_WRITE     16u
#define DMA_SIGNATURE 0x51454d5520434647ull /* "QEMU CFG" */

#define ENTRY_SIZE 64u

struct dma_request {
	u32 control, length;
	u64 address;
};

int fw_cfg_add(struct fw_cfg *f, u16 key, const void *data, size_t size, struct err *e)
{
	struct fw_cfg_item *it = &f->item[f->items];

	if (f->items == FW_CFG_ITEMS || size > UINT32_MAX)
		return err_set(e, ENOSPC, "no room for another item of firmware configuration");
	it->data = malloc(size ? size : 1);
	if (!it->data)
		return err_set(e, ENOMEM, "no memory for %zu bytes of firmware configuration", size);
	if (size)
		memcpy(it->data, data, size);
	it->key = key;
	it->size = (u32)size;
	f->items++;
	return 0;
}

int fw_cfg_add_number(struct fw_cfg *f, u16 key, u64 value, unsigned size, struct err *e)
{
	return fw_cfg_add(f, key, &value, size, e);
}

int fw_cfg_add_file(struct fw_cfg *f, const char *name, const void *data, size_t size, struct err *e)
{
	int rc;

	if (f->files == FW_CFG_FILES || strlen(name) >= sizeof(f->name[0]))
		return err_set(e, ENOSPC, "no room for the firmware configuration file %s", name);
	rc = fw_cfg_add(f, (u16)(FW_CFG_FILE_FIRST + f->files), data, size, e);
	if (!rc)
		snprintf(f->name[f->files++], sizeof(f->name[0]), "%s", name);
	return rc;
}

void fw_cfg_init(struct fw_cfg *f, struct vm *vm)
{
	memset(f, 0, sizeof(*f));
	f->vm = vm;
}

void fw_cfg_destroy(struct fw_cfg *f)
{
	for (unsigned i = 0; i < f->items; i++)
		free(f->item[i].data);
	f->items = f->files = 0;
}

static const struct fw_cfg_item *find(const struct fw_cfg *f, u16 key)
{
	for (unsigned i = 0; i < f->items; i++)
		if (f->item[i].key == key)
			return &f->item[i];
	return NULL;
}

static u8 directory_byte(const struct fw_cfg *f, u32 at)
{
	u8 entry[ENTRY_SIZE] = {0};
	const struct fw_cfg_item *it;
	u32 n, size;
	u16 key;

	if (at < 4) {
		n = __builtin_bswap32(f->files);
		return ((const u8 *)&n)[at];
	}
	n = (at - 4) / ENTRY_SIZE;
	if (n >= f->files)
		return 0;
	it = find(f, (u16)(FW_CFG_FILE_FIRST + n));
	size = __builtin_bswap32(it ? it->size : 0);
	key = __builtin_bswap16((u16)(FW_CFG_FILE_FIRST + n));
	memcpy(entry, &size, 4);
	memcpy(entry + 4, &key, 2);
	memcpy(entry + 8, f->name[n], sizeof(f->name[n]));
	return entry[(at - 4) % ENTRY_SIZE];
}

static u8 byte_at(const struct fw_cfg *f, u32 at)
{
	static const u8 signature[4] = {'Q', 'E', 'M', 'U'}, id[4] = {ID_PORTS | ID_DMA};
	const struct fw_cfg_item *it;

	switch (f->s.key) {
	case KEY_SIGNATURE: return at < 4 ? signature[at] : 0;
	case KEY_ID: return at < 4 ? id[at] : 0;
	case KEY_DIRECTORY: return directory_byte(f, at);
	default: it = find(f, f->s.key); return it && at < it->size ? it->data[at] : 0;
	}
}

static void advance(struct fw_cfg *f, u32 n)
{
	f->s.offset = n > UINT32_MAX - f->s.offset ? UINT32_MAX : f->s.offset + n;
}

static u8 next_byte(struct fw_cfg *f)
{
	u8 b = byte_at(f, f->s.offset);

	advance(f, 1);
	return b;
}

static void select_item(struct fw_cfg *f, u16 key)
{
	f->s.key = key;
	f->s.offset = 0;
}

static u64 cfg_read(void *dev, u64 offset, unsigned size) { return offset == 1 && size == 1 ? next_byte(dev) : 0; }

static void cfg_write(void *dev, u64 offset, unsigned size, u64 value)
{
	if (!offset && size == 2)
		select_item(dev, (u16)value);
}

const struct bus_ops fw_cfg_ops = {cfg_read, cfg_write};

/* ---- DMA ---- */

/* Bytes of the selected item from its offset on that can be copied as they are; 0: they are made one by one, or there
 * are none. */
static const u8 *plain_bytes(const struct fw_cfg *f, u32 *n)
{
	const struct fw_cfg_item *it = find(f, f->s.key);
	u32 at = f->s.offset;

	if (!it || at >= it->size)
		return NULL;
	*n = MIN(*n, it->size - at);
	return it->data + at;
}

/* Whether nothing but zeroes comes from here on. */
static bool at_end(const struct fw_cfg *f)
{
	const struct fw_cfg_item *it = find(f, f->s.key);

	if (f->s.key == KEY_DIRECTORY)
		return f->s.offset >= 4 + f->files * ENTRY_SIZE;
	return f->s.offset >= (it ? it->size : 4);
}

static bool dma_copy(struct fw_cfg *f, u64 to, u32 length)
{
	static const u8 zeroes[RAM_PAGE * 16];

	while (length) {
		u32 n = length;
		const u8 *from = plain_bytes(f, &n);
		u8 made;

		if (!from && at_end(f)) {
			n = MIN(length, (u32)sizeof(zeroes));
			from = zeroes;
		}
		if (from) {
			advance(f, n);
		} else {
			n = 1;
			made = next_byte(f);
			from = &made;
		}
		if (vm_dma_write(f->vm, to, from, n))
			return false;
		to += n;
		length -= n;
	}
	return true;
}

static void dma_run(struct fw_cfg *f, u64 where)
{
	struct dma_request r;
	u32 control, result = 0;

	if (vm_dma_read(f->vm, where, &r, sizeof(r)))
		return;
	control = __builtin_bswap32(r.control);
	r.length = __builtin_bswap32(r.length);
	r.address = __builtin_bswap64(r.address);
	if (control & DMA_SELECT)
		select_item(f, control >> 16);
	if (control & DMA_READ) {
		if (!dma_copy(f, r.address, r.length))
			result = DMA_ERROR;
	} else if (control & DMA_WRITE) {
		result = DMA_ERROR; /* no item may be written */
	} else if (control & DMA_SKIP) {
		advance(f, r.length);
	}
	result = __builtin_bswap32(result);
	if (vm_dma_write(f->vm, where, &result, sizeof(result)))
		log_trace(f->vm->log, TRACE_DEV, "fw_cfg: the request at %llx cannot be answered",
			  (unsigned long long)where);
}

static u64 dma_read(void *dev, u64 offset, unsigned size)
{
	u64 v = __builtin_bswap64(DMA_SIGNATURE);

	return v >> offset * 8;
}

static void dma_write(void *dev, u64 offset, unsigned size, u64 value)
{
	struct fw_cfg *f = dev;
	u64 where;

	if (size == 8 && !offset) {
		dma_run(f, __builtin_bswap64(value));
	} else if (size == 4 && !offset) {
		f->s.dma = (u64)__builtin_bswap32((u32)value) << 32;
	} else if (size == 4 && offset == 4) {
		where = f->s.dma | __builtin_bswap32((u32)value);
		f->s.dma = 0;
		dma_run(f, where);
	}
}

const struct bus_ops fw_cfg_dma_ops = {dma_read, dma_write};

static void reset(void *dev)
{
	struct fw_cfg *f = dev;

	memset(&f->s, 0, sizeof(f->s));
}

static const struct desc_field fields[] = {
	DESC_INT(struct fw_cfg_state, dma),
	DESC_INT(struct fw_cfg_state, offset),
	DESC_INT(struct fw_cfg_state, key),
	DESC_ARR(struct fw_cfg_state, zero),
};
DESC(fw_cfg_state_desc, struct fw_cfg_state, fields);

const struct device_class fw_cfg_class = {"fw_cfg", MIGRATE_STATE, &fw_cfg_state_desc, reset};
