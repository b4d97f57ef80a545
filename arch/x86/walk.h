/*
 * The page walker: the only one in the program.
 *
 * SDM vol. 3 chapter 4 "Paging"; APM vol. 2 chapter 5 "Page Translation and Protection", 15.25 "Nested Paging".
 *
 * A translation is a list of stages: the addresses that a stage's tables hold, and its result, are translated by `next`
 * (NULL: they are physical). The processor uses one or two stages (guest tables, then nCR3's), an inspector as many as
 * there are levels. Nested tables are the host's own paging format walked as user accesses (APM vol. 2 15.25.5 "Nested
 * Table Walk"): an access to a guest's table entry is a user data write there, whatever the guest's access is.
 *
 * The walker knows memory only through struct walk_mem, and registers only through struct xlate. It first reads all
 * entries and checks everything, then sets accessed and dirty flags by compare-and-exchange (and starts again if an
 * entry has changed), so a walk that faults has written nothing.
 */
#ifndef ARCH_X86_WALK_H
#define ARCH_X86_WALK_H

#include "arch/x86/bits.h"

enum walk_format {
	WALK_NONE, /* paging is off: addresses pass through */
	WALK_32,   /* two levels of 4-byte entries */
	WALK_PAE,
	WALK_4,
	WALK_5,
	WALK_EPT, /* SDM vol. 3 28.3 "The Extended Page Table Mechanism (EPT)", four levels */
};

/* What an access may do with the page, and what an access wants: bits. */
#define WALK_R 1u
#define WALK_W 2u
#define WALK_X 4u

/* What EPT's faults are. */
enum walk_why {
	WALK_VIOLATION,
	WALK_MISCONFIG,
	WALK_APIC,     /* the table entry is in apic_page, at physical address pa */
	WALK_LOG_FULL, /* a flag would be set and the page-modification log has no room */
};

#define WALK_CACHE 256

/* Remembers where a stage put the pages that hold tables of the stage before: (page | 1) -> page. Its owner clears it.
 */
struct walk_cache {
	struct {
		u64 tag, pa;
	} line[WALK_CACHE];
};

struct xlate {
	enum walk_format format;
	bool wp, nxe, smep, smap, pse, pke;
	bool pml;	/* EPT: flags are set only while log_room() holds, log_page() hears of dirtied pages */
	bool exec_only; /* EPT: execute-only pages exist */
	bool mbec;	/* EPT: bit 10 is the right to fetch from user-mode linear addresses, bit 2 from others */
	bool gbyte;  /* 1-GByte pages exist */
	bool no_2m;  /* EPT: 2-MByte pages do not */
	bool amd;    /* bit 8 of entries above the PDPT is reserved */
	bool dry;    /* set no accessed or dirty flags */
	bool ept_ad; /* EPT: accessed and dirty flags are on, and table entries of the stage before are written */
	u32 pkru;
	u64 apic_page;	  /* EPT: a physical page | 1 that tables of the stage before must not be in; 0: none */
	u64 root;	  /* CR3, nCR3: the address bits are taken */
	u64 rsvd;	  /* bits that must be 0 in every present entry of 8 bytes */
	u64 phys_mask;	  /* the bits of a physical address, 12 and up */
	const u64 *pdpte; /* PAE: the four registers; NULL: they are read from memory at root */
	struct walk_cache *cache;
	const struct xlate *next;
};

struct walk_mem {
	/* A stretch of physical memory that may be reached directly; the walker's own bounds check moves it. */
	u64 base, size;
	u8 *host;
	/* Moves the stretch so that it holds pa; false: there is no memory (entries there read as all ones). */
	bool (*seek)(struct walk_mem *m, u64 pa);
	/* Told of the physical address of each entry in which a flag was set; may be NULL. */
	void (*stored)(struct walk_mem *m, u64 pa);
	/* EPT with page-modification logging. */
	bool (*log_room)(struct walk_mem *m);
	void (*log_page)(struct walk_mem *m, u64 gpa);
};

struct walk_access {
	u8 want;   /* WALK_R, WALK_W or WALK_X */
	bool user; /* privilege of the access */
	bool smap; /* supervisor data access to which SMAP applies: CR4.SMAP, and not (explicit with AC set) */
	bool user_la; /* EPT: the linear address is a user-mode one by the stage before, whatever the access is */
};

struct walk {
	u64 pa;	 /* where the access goes */
	u64 gpa; /* what the first stage gave */
	u8 perm; /* WALK_*: what accesses of this privilege may do without another walk (W only when dirty flags are
		    set) */
	u8 page_bits;  /* log2 of the smallest page of all stages */
	u8 guest_bits; /* log2 of the first stage's page */
	u8 global;     /* the first stage's leaf has G set (CR4.PGE is the caller's to judge) */
	/* Of a fault: */
	u8 stage;	/* 0: the first stage, a #PF; 1: the next, a nested page fault; … */
	bool table;	/* stage > 0: on the way to a table entry of the stage before, not to the final address */
	u32 error;	/* in the form of #PF's error code; of EPT: bits 0 to 6 of the exit qualification */
	bool ve;	/* of EPT: a violation that may become a virtualization exception (bit 63 of its entry is 0) */
	u8 why;		/* of EPT: enum walk_why */
	u64 fault_gpa;	/* stage > 0: the address that could not be translated */
};

/* Fills format and rules of the stage that the registers describe; next, cache, dry are left NULL and false. */
void xlate_from_regs(struct xlate *x, u64 cr0, u64 cr3, u64 cr4, u64 efer, const u64 *pdpte, unsigned phys_bits,
		     bool gbyte, bool amd);
/* The same for nested tables: the host's format at nCR3, user accesses, its CR0.WP, SMEP, SMAP and PKU of no effect. */
void xlate_nested(struct xlate *x, u64 ncr3, u64 host_cr4, u64 host_efer, unsigned phys_bits, bool gbyte, bool amd);

/* EPT at EPTP, with execute-only and 1-GByte pages. */
void xlate_ept(struct xlate *x, u64 eptp, unsigned phys_bits);

/* Translates la (canonical; below 4 GiB in the 32-bit formats). false: the fault is described in w. */
bool walk_la(const struct xlate *x, struct walk_mem *m, u64 la, struct walk_access a, struct walk *w);

/* Reserved bits of a PAE page-directory-pointer entry that is present (SDM vol. 3 4.4.1 "PDPTE Registers"). */
static inline u64 walk_pdpte_rsvd(unsigned phys_bits) { return ~MASK(phys_bits) | 0x1e6; }

#endif
