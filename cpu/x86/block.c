/*
 * The block store: an arena of decoded blocks, a hash by (physical address, mode), and a list of blocks for each
 * physical page.
 *
 * Invariants
 *   - A page record exists exactly while the page has live blocks or is being decoded; while it exists this processor
 * is counted in the page's RAM_CODE and no TLB entry of any processor allows a direct store to it (share.h).
 *   - A block holds the bytes that it was decoded from. A store to them that changes nothing leaves the block alone
 * (block_follows). One that only changes an immediate which the handler reads from in->imm changes that. Any other
 * makes the instruction `insn_changed`, which decodes anew when it is reached and kills the block if it has another
 * length now. A store that changes several, or one that has not run since it changed, is not a patch: the page may be
 * code no longer, and the block dies so that the page can become data again.
 *   - A dead block is in no hash chain and no page list, and each of its instructions leaves the block before it does
 * anything (leave_dead), so that a store into the running block takes effect at the very next instruction.
 *   - Memory comes from the arena only; it is given back all at once, between blocks, when the arena is full
 * (blocks_drop_all).
 */
#include "cpu/x86/block.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "cpu/x86/debug.h"
#include "cpu/x86/exec.h"
#include "cpu/x86/jump.h"
#include "cpu/x86/mem.h"
#include "cpu/x86/recall.h"
#include "cpu/x86/share.h"

#define ARENA_BYTES    (256ull << 20) /* reserved, touched as it fills */
#define HASH_SIZE      (1u << 16)
#define PAGE_HASH_SIZE (1u << 13)
#define NO_PAGE	       (~0ull)

struct page_record {
	u64 pa;
	u64 lines; /* bit n: some block has bytes in the page's n-th 64 bytes (never cleared while the record lives) */
	struct block *first;
	struct page_record *next;
};

struct x86_blocks {
	u8 *arena;
	u64 used;
	struct page_record *free_pages;
	struct block *hash[HASH_SIZE];
	struct page_record *pages[PAGE_HASH_SIZE];
	struct recall recall;
};

static unsigned block_hash(u64 pa, u32 mode) { return (unsigned)((pa ^ (pa >> 15) ^ mode * 0x9e5u) & (HASH_SIZE - 1)); }
static unsigned page_hash(u64 pa) { return (unsigned)((pa >> 12) & (PAGE_HASH_SIZE - 1)); }

int blocks_new(struct x86_cpu *cpu)
{
	struct x86_blocks *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->arena = mmap(NULL, ARENA_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (s->arena == MAP_FAILED) {
		free(s);
		return -ENOMEM;
	}
	recall_drop(&s->recall);
	cpu->blocks = s;
	return 0;
}

void blocks_free(struct x86_cpu *cpu)
{
	if (!cpu->blocks)
		return;
	munmap(cpu->blocks->arena, ARENA_BYTES);
	free(cpu->blocks);
	cpu->blocks = NULL;
}

static void *arena_take(struct x86_blocks *s, u64 size)
{
	void *p = s->arena + s->used;

	s->used += ALIGN_UP(size, 64);
	return p;
}

/* A block's code follows its instructions and their end marker. */
static u8 *block_bytes(struct block *b) { return (u8 *)&b->insn[b->n + 1]; }

#define BLOCK_BYTES (sizeof(struct block) + (BLOCK_MAX + 1) * sizeof(struct insn) + BLOCK_MAX * INSN_BYTES_MAX)

static bool arena_full(const struct x86_blocks *s)
{
	return ARENA_BYTES - s->used < 2 * BLOCK_BYTES + 4 * sizeof(struct page_record);
}

static struct page_record *page_find(const struct x86_blocks *s, u64 pa)
{
	struct page_record *p = s->pages[page_hash(pa)];

	while (p && p->pa != pa)
		p = p->next;
	return p;
}

static struct page_record *page_get(struct x86_cpu *cpu, u64 pa)
{
	struct x86_blocks *s = cpu->blocks;
	struct page_record *p = page_find(s, pa);

	if (p)
		return p;
	p = s->free_pages;
	if (p)
		s->free_pages = p->next;
	else
		p = arena_take(s, sizeof(*p));
	*p = (struct page_record){.pa = pa, .next = s->pages[page_hash(pa)]};
	s->pages[page_hash(pa)] = p;
	share_claim(cpu, pa);
	return p;
}

static void page_put(struct x86_cpu *cpu, struct page_record *p)
{
	struct x86_blocks *s = cpu->blocks;
	struct page_record **at = &s->pages[page_hash(p->pa)];

	while (*at != p)
		at = &(*at)->next;
	*at = p->next;
	share_release(cpu, p->pa);
	p->next = s->free_pages;
	s->free_pages = p;
}

bool block_page_has_code(struct x86_cpu *cpu, u64 pa)
{
	return page_find(cpu->blocks, ALIGN_DOWN(pa, RAM_PAGE)) != NULL;
}

/* Each page list runs through the link that belongs to that page: page_next for the first page, page2_next for the
 * second. */
static struct block **page_link(struct block *b, u64 page) { return b->pa2 == page ? &b->page2_next : &b->page_next; }

static u64 line_mask(u64 first, u64 last) { return MASK(last / 64 + 1) & ~MASK(first / 64); }

/* Two linear pages may be one physical page: a block that crosses from one to the other is in that page's list once. */
static bool has_second_page(const struct block *b)
{
	return b->pa2 != NO_PAGE && b->pa2 != ALIGN_DOWN(b->pa, RAM_PAGE);
}

/* The bytes of a block that lie in `page`: [*first, *last] as offsets into it. */
static void block_span(const struct block *b, u64 page, u64 *first, u64 *last)
{
	u64 start = b->pa & (RAM_PAGE - 1);

	if (b->pa2 == ALIGN_DOWN(b->pa, RAM_PAGE)) { /* its end and its start */
		*first = 0;
		*last = RAM_PAGE - 1;
	} else if (b->pa2 == page) {
		*first = 0;
		*last = start + b->len - RAM_PAGE - 1;
	} else {
		*first = start;
		*last = MIN(start + b->len, RAM_PAGE) - 1;
	}
}

static void page_add(struct x86_cpu *cpu, u64 page, struct block *b)
{
	struct page_record *p = page_get(cpu, page);
	u64 first, last;

	block_span(b, page, &first, &last);
	p->lines |= line_mask(first, last);
	*page_link(b, page) = p->first;
	p->first = b;
}

static void page_unlink(struct x86_cpu *cpu, u64 page, struct block *b)
{
	struct page_record *p = page_find(cpu->blocks, page);
	struct block **at = &p->first;

	while (*at != b)
		at = page_link(*at, page);
	*at = *page_link(b, page);
	if (!p->first)
		page_put(cpu, p);
}

static void unlink_from(struct insn *in, const struct block *b)
{
	if (!(in->links & LINK_HERE))
		return;
	for (unsigned i = 0; i < 2; i++)
		if (in->link[i] == b)
			in->link[i] = NULL;
}

/* Makes the direct branches of its page forget a block that was found dead when one of them led to it. */
static noinline void unlink_dead(struct x86_cpu *cpu, const struct block *dead)
{
	u64 page = ALIGN_DOWN(dead->pa, RAM_PAGE);
	struct page_record *p = page_find(cpu->blocks, page);

	for (struct block *b = p ? p->first : NULL; b; b = *page_link(b, page)) {
		unlink_from(&b->insn[b->n - 1], dead);
		unlink_from(&b->insn[b->n], dead);
	}
}

/* What every instruction of a dead block has become: look the code up again, at this very instruction. */
static enum outcome leave_dead(struct x86_cpu *cpu, const struct insn *in)
{
	if (in == cpu->c.running->insn)
		unlink_dead(cpu, cpu->c.running);
	LEAVE(cpu, in, OUT_RETRY);
}

static void block_kill(struct x86_cpu *cpu, struct block *b)
{
	struct block **at = &cpu->blocks->hash[block_hash(b->pa, b->mode)];

	while (*at != b)
		at = &(*at)->hash_next;
	*at = b->hash_next;
	page_unlink(cpu, ALIGN_DOWN(b->pa, RAM_PAGE), b);
	if (has_second_page(b))
		page_unlink(cpu, b->pa2, b);
	b->dead = true;
	for (unsigned i = 0; i <= b->n; i++)
		b->insn[i].fn = leave_dead;
}

/* Which links may be set: those that stay in the page. */
static void block_links(struct block *b)
{
	u64 end = (b->pa & (RAM_PAGE - 1)) + b->len;
	struct insn *last = &b->insn[b->n - 1], *mark = &b->insn[b->n];

	if (b->pa2 != NO_PAGE || end >= RAM_PAGE)
		return;
	mark->links |= LINK_NEXT;
	last->links |= LINK_NEXT;
	if ((last->links & LINK_HERE) && end + last->imm < RAM_PAGE)
		last->links |= LINK_TAKEN;
}

/* Decodes an instruction of the running block anew; false if it no longer has its place there. */
static bool insn_renew(struct x86_cpu *cpu, struct block *b, struct insn *in)
{
	bool last = in->pos == b->n, ends;
	u64 pa = b->pa + in->off;
	struct insn new;
	u8 code[INSN_BYTES_MAX];

	phys_read(cpu, pa, code, in->len);
	if (recall_decode(cpu, &cpu->blocks->recall, pa, code, in->len, b->mode, in->off, &new, &ends) != in->len ||
	    (ends && !last))
		return false;
	new.pos = in->pos;
	*in = new;
	memcpy(block_bytes(b) + in->off, code, in->len);
	if (last)
		block_links(b);
	return true;
}

static enum outcome insn_changed(struct x86_cpu *cpu, const struct insn *in)
{
	if (insn_renew(cpu, cpu->c.running, (struct insn *)in))
		return in->fn(cpu, in);
	block_kill(cpu, cpu->c.running);
	LEAVE(cpu, in, OUT_RETRY);
}

/* Whether only an immediate is new in the bytes `now`, which it is then in the instruction too. */
static bool imm_follows(struct insn *in, u8 *old, const u8 *now)
{
	unsigned n = in->live_imm & LIVE_BYTES;

	if (!n || memcmp(now, old, in->len - n) != 0)
		return false;
	memcpy(old, now, in->len);
	in->imm = insn_imm(in, now);
	return true;
}

static bool crossing_same(struct block *b, u64 page, const u8 *host)
{
	const u8 *old = block_bytes(b);
	u64 start = b->pa & (RAM_PAGE - 1), head = RAM_PAGE - start;

	return (page != ALIGN_DOWN(b->pa, RAM_PAGE) || !memcmp(host + start, old, head)) &&
	       (page != b->pa2 || !memcmp(host, old + head, b->len - head));
}

/*
 * Makes the block say what the bytes [from, to] of `page`, which lie at `host`, say now. False: it has to die. The
 * running instruction may be among those that change: its handler has read the immediate before it stored, and does not
 * look at `fn`.
 */
static bool block_follows(struct block *b, u64 page, const u8 *host, u64 from, u64 to)
{
	u64 start = b->pa & (RAM_PAGE - 1);
	unsigned changed = 0;

	if (b->pa2 != NO_PAGE)
		return crossing_same(b, page, host);
	for (struct insn *in = b->insn; in < &b->insn[b->n] && start + in->off <= to; in++) {
		u8 now[INSN_BYTES_MAX], *old = block_bytes(b) + in->off;

		if (start + in->off + in->len <= from)
			continue;
		memcpy(now, host + start + in->off, in->len); /* others may be storing */
		if (!memcmp(now, old, in->len) || imm_follows(in, old, now))
			continue;
		if (in->fn == insn_changed || changed++)
			return false;
		in->fn = insn_changed;
	}
	return true;
}

static void page_drop(struct x86_cpu *cpu, u64 page, u64 from, u64 to, bool all)
{
	struct page_record *p = page_find(cpu->blocks, page);
	/* Breakpoints are not among the bytes (debug.h). */
	const u8 *host = all || cpu->vm->debug.n ? NULL : ram_host(&cpu->vm->ram, page, RAM_PAGE);
	struct block *b, *next;

	if (!p || !(p->lines & line_mask(from, to)))
		return;
	for (b = p->first; b; b = next) {
		u64 first, last;

		next = *page_link(b, page);
		block_span(b, page, &first, &last);
		if (last >= from && first <= to && (!host || !block_follows(b, page, host, from, to)))
			block_kill(cpu, b);
	}
}

void block_drop(struct x86_cpu *cpu, u64 pa, u64 len, bool all)
{
	while (len) {
		u64 from = pa & (RAM_PAGE - 1), n = MIN(len, RAM_PAGE - from);

		page_drop(cpu, pa - from, from, from + n - 1, all);
		pa += n;
		len -= n;
	}
}

void block_written(struct x86_cpu *cpu, u64 pa, u64 len)
{
	block_drop(cpu, pa, len, false);
	if (cpu->vm->nvcpus > 1)
		share_written(cpu, pa, len, false);
}

void block_discard(struct x86_cpu *cpu, u64 pa, u64 len)
{
	block_drop(cpu, pa, len, true);
	if (cpu->vm->nvcpus > 1)
		share_written(cpu, pa, len, true);
}

void blocks_drop_all(struct x86_cpu *cpu)
{
	struct x86_blocks *s = cpu->blocks;

	for (unsigned i = 0; i < PAGE_HASH_SIZE; i++)
		for (struct page_record *p = s->pages[i]; p; p = p->next)
			share_release(cpu, p->pa);
	memset(s->hash, 0, sizeof(s->hash));
	memset(s->pages, 0, sizeof(s->pages));
	s->free_pages = NULL;
	s->used = 0;
	recall_drop(&s->recall);
	cpu->c.running = NULL;
	tlb_flush_code_gen(cpu);
}

/* The end marker: the block ran off its end. */
static enum outcome block_end(struct x86_cpu *cpu, const struct insn *in)
{
	cpu->st.rip = mask_ip(cpu, cpu->st.rip + in->off, cpu->c.mode & MODE_SIZE ? 4 : 2);
	LEAVE(cpu, in - 1, OUT_JUMP);
}

/* The same in 64-bit code. */
static enum outcome block_end64(struct x86_cpu *cpu, const struct insn *in)
{
	if (unlikely(!chain_may(cpu)))
		return block_end(cpu, in);
	cpu->st.rip += in->off;
	return chain_direct(cpu, in, false);
}

enum outcome chain_link(struct x86_cpu *cpu, const struct insn *in, bool taken)
{
	const struct jump_entry *j = jump_slot(cpu, cpu->st.rip);

	if (likely(j->la == cpu->st.rip && j->key == cpu->c.jump_key) && chain_may(cpu)) {
		/* A block that crosses depends on its second page's mapping too, which only the jump cache heeds. */
		if ((in->links & (taken ? LINK_TAKEN : LINK_NEXT)) && j->b->pa2 == NO_PAGE)
			((struct insn *)in)->link[taken] = j->b;
		return chain_to(cpu, in, j->b);
	}
	LEAVE(cpu, in->fn == block_end64 ? in - 1 : in, OUT_JUMP);
}

enum outcome jump_unlinked64(struct x86_cpu *cpu, const struct insn *in, u64 to, bool taken)
{
	if (unlikely(!rip_plain(to)))
		TRY(cpu, in, jump_check(cpu, to));
	cpu->st.rip = to;
	return chain_link(cpu, in, taken);
}

enum outcome jump_checked64(struct x86_cpu *cpu, const struct insn *in, u64 to)
{
	TRY(cpu, in, jump_check(cpu, to));
	cpu->st.rip = to;
	return chain_find(cpu, in);
}

/* Guest code bytes at pa, up to the end of its page: RAM in place, anything else copied to buf. */
static const u8 *code_bytes(struct x86_cpu *cpu, u64 pa, unsigned len, u8 *buf)
{
	const u8 *p = ram_host(&cpu->vm->ram, pa, len);

	if (p)
		return p;
	phys_read(cpu, pa, buf, len);
	return buf;
}

static struct block *block_begin(struct x86_blocks *s, u64 pa, u32 mode)
{
	struct block *b = (struct block *)(s->arena + s->used);

	*b = (struct block){.pa = pa, .mode = mode, .pa2 = NO_PAGE};
	return b;
}

/* What does not become a block gives the pages' records back. */
static void page_unused(struct x86_cpu *cpu, u64 page)
{
	struct page_record *p = page_find(cpu->blocks, page);

	if (p && !p->first)
		page_put(cpu, p);
}

/*
 * The instructions that lie wholly within the page. Other processors may be storing to it: each is decoded from a copy,
 * which goes to `code`.
 */
static void decode_page(struct x86_cpu *cpu, struct block *b, u64 la, const u8 *bytes, unsigned left, u8 *code)
{
	bool debug = cpu->vm->debug.n && !(b->mode & MODE_SINGLE), ends = false;
	unsigned max = b->mode & MODE_SINGLE ? 1 : BLOCK_MAX;

	while (b->n < max && left && !ends) {
		struct insn *in = &b->insn[b->n];
		unsigned len, n = MIN(left, INSN_BYTES_MAX);
		u8 *copy = code + b->len;

		memcpy(copy, bytes + b->len, n);
		if (unlikely(debug) && debug_breaks(&cpu->vm->debug, la + b->len, 1)) {
			*in = (struct insn){.fn = debug_trap, .op = debug_trap, .off = b->len, .len = len = 1};
			ends = true;
		} else {
			len = recall_decode(cpu, &cpu->blocks->recall, b->pa + b->len, copy, n, b->mode, b->len, in,
					    &ends);
		}
		if (!len)
			break;
		in->pos = ++b->n;
		b->len += len;
		left -= len;
	}
}

/* One instruction that begins in this page and ends in the next; unless, by now, it no longer does. */
static enum outcome decode_crossing(struct x86_cpu *cpu, u64 la, u64 pa, u32 mode, const u8 *head, unsigned avail,
				    u8 *code, struct block **out)
{
	u8 buf[INSN_BYTES_MAX];
	struct block *b;
	bool ends;
	u64 pa2;
	enum outcome o = mem_fetch_pa(cpu, la + avail, &pa2);

	if (o != OUT_NEXT)
		return o;
	/* That may have set accessed flags in either page. The claims come before the bytes are read. */
	page_get(cpu, ALIGN_DOWN(pa, RAM_PAGE));
	page_get(cpu, ALIGN_DOWN(pa2, RAM_PAGE));
	*out = b = block_begin(cpu->blocks, pa, mode);
	memcpy(code, head, avail);
	memcpy(code + avail, code_bytes(cpu, pa2, INSN_BYTES_MAX - avail, buf), INSN_BYTES_MAX - avail);
	b->len = insn_decode(cpu, code, INSN_BYTES_MAX, mode, 0, &b->insn[0], &ends);
	b->insn[0].pos = b->n = 1;
	if (b->len > avail)
		b->pa2 = ALIGN_DOWN(pa2, RAM_PAGE);
	else
		page_unused(cpu, ALIGN_DOWN(pa2, RAM_PAGE));
	return OUT_NEXT;
}

/* The end marker, and the code behind it. */
static void block_finish(struct block *b, const u8 *code)
{
	struct insn *mark = &b->insn[b->n];
	bool code64 = (b->mode & MODE_SIZE) == 2;

	*mark = (struct insn){.fn = code64 ? block_end64 : block_end, .off = b->len, .pos = b->n};
	mark->links = code64 ? LINK_HERE : 0;
	block_links(b);
	memcpy(block_bytes(b), code, b->len);
}

static enum outcome block_decode(struct x86_cpu *cpu, u64 la, u64 pa, u32 mode, struct block **out)
{
	struct x86_blocks *s = cpu->blocks;
	unsigned left = RAM_PAGE - (pa & (RAM_PAGE - 1));
	u64 page = ALIGN_DOWN(pa, RAM_PAGE);
	u8 buf[RAM_PAGE], code[BLOCK_MAX * INSN_BYTES_MAX];
	struct block *b;
	const u8 *bytes;

	if (arena_full(s))
		blocks_drop_all(cpu);
	/* The claim comes before the bytes are read. */
	page_get(cpu, page);
	bytes = code_bytes(cpu, pa, left, buf);
	b = block_begin(s, pa, mode);
	decode_page(cpu, b, la, bytes, left, code);
	if (!b->n) {
		enum outcome o = decode_crossing(cpu, la, pa, mode, bytes, left, code, &b);

		if (o != OUT_NEXT) {
			page_unused(cpu, page);
			return o;
		}
	}
	block_finish(b, code);
	arena_take(s, sizeof(*b) + (b->n + 1) * sizeof(struct insn) + b->len);
	b->hash_next = s->hash[block_hash(pa, mode)];
	s->hash[block_hash(pa, mode)] = b;
	page_add(cpu, page, b);
	if (has_second_page(b))
		page_add(cpu, b->pa2, b);
	cpu->n.decoded++;
	*out = b;
	return OUT_NEXT;
}

/* A block whose only instruction crosses into a second page holds only while that page is still the one it was decoded
 * from. */
static enum outcome second_page(struct x86_cpu *cpu, struct block *b, u64 la, bool *same)
{
	u64 pa2;
	enum outcome o = mem_fetch_pa(cpu, ALIGN_UP(la + 1, RAM_PAGE), &pa2);

	*same = o == OUT_NEXT && ALIGN_DOWN(pa2, RAM_PAGE) == b->pa2;
	return o;
}

static noinline enum outcome block_find_slow(struct x86_cpu *cpu, u64 la, struct block **out)
{
	u32 mode = cpu->c.mode;
	struct block *b;
	enum outcome o;
	u64 pa;

	o = mem_fetch_pa(cpu, la, &pa);
	if (o != OUT_NEXT)
		return o;
	for (b = cpu->blocks->hash[block_hash(pa, mode)]; b; b = b->hash_next) {
		bool same = true;

		if (b->pa != pa || b->mode != mode)
			continue;
		if (b->pa2 != NO_PAGE) {
			o = second_page(cpu, b, la, &same);
			if (o != OUT_NEXT)
				return o;
		}
		if (same)
			break;
	}
	if (b && unlikely(cpu->vm->debug.n) && !(mode & MODE_SINGLE) && debug_block_stale(cpu, b, la)) {
		block_drop(cpu, pa, 1, true);
		b = NULL;
	}
	if (!b) {
		o = block_decode(cpu, la, pa, mode, &b);
		if (o != OUT_NEXT)
			return o;
	}
	*out = b;
	return OUT_NEXT;
}

enum outcome block_find(struct x86_cpu *cpu, struct block **out)
{
	struct jump_entry *j;
	u64 la = cpu->st.rip;
	enum outcome o;

	if (unlikely(!(cpu->c.mode & 2))) {
		if (la > cpu->st.seg[CS].limit)
			return x86_fault(cpu, EXC_GP, 0);
		la += cpu->st.seg[CS].base;
		la = (u32)la;
	}
	jump_key_update(cpu); /* MODE_SINGLE comes and goes */
	j = jump_slot(cpu, la);
	if (likely(j->la == la && j->key == cpu->c.jump_key && !j->b->dead)) {
		*out = j->b;
		return OUT_NEXT;
	}
	o = block_find_slow(cpu, la, out);
	/* A fetch may have filled the TLB anew, and with it changed the generation: the key is read now. */
	if (o == OUT_NEXT)
		*jump_slot(cpu, la) = (struct jump_entry){la, cpu->c.jump_key, *out};
	return o;
}
