/*
 * Lockstep: random single instructions on the host's silicon and on the software processor, from one state, compared by
 * all that they leave.
 *
 * Both sides see the same linear addresses in user mode, 64-bit or compatibility: two pages of code at LS_CODE, LS_RW
 * pages of writable data at LS_DATA, one read-only page behind them, and nothing mapped around. The host's side is
 * these pages in this process, run one instruction at a time by a signal frame with RFLAGS.TF (silicon.c); the guest's
 * side is RAM and page tables of a VM whose only vCPU is never run but stepped (machine.c).
 *
 * A class makes cases: instruction bytes, start state, memory contents. Everything follows from (seed, case number).
 */
#ifndef TESTS_LOCKSTEP_H
#define TESTS_LOCKSTEP_H

#include <Zydis/Zydis.h>

#include "arch/x86/model.h"
#include "cpu/x86/cpu.h"

#define LS_CODE	     0x20000000ull
#define LS_CODE_SIZE 0x2000u
#define LS_DATA	     0x30000000ull
#define LS_RW	     4u /* pages */
#define LS_DATA_SIZE ((LS_RW + 1) * 4096u)
#define LS_RO	     (LS_DATA + LS_RW * 4096u)
#define LS_XSAVE     4096u /* bytes kept of the host's extended state: standard format */

struct ls_case {
	u64 number;
	u8 bytes[15];
	unsigned len;
	u64 rip;	     /* where the bytes are put; set by ls_begin */
	struct x86_state st; /* gpr, rflags/oszapc; fpu if the class asks for it */
	ZydisDecodedInstruction zi;
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
	bool repeats; /* string instruction with a repeat prefix: stepped until it is done */
};

struct ls_result {
	u8 vector; /* EV_NONE: completed */
	bool faulted;
	u32 error;
	u64 cr2;
	u64 gpr[16], rip, rflags;
	struct x86_fpu fpu; /* when the class compares it */
};

struct ls;

struct ls_class {
	const char *name;
	bool fpu; /* load and compare x87, vector and mask registers, MXCSR */
	/* Makes the case: bytes, registers, memory. False: this try gave nothing (it is repeated with other random
	 * numbers). */
	bool (*make)(struct ls *ls, struct ls_case *c);
	/* Changes both results where the manual leaves something open; NULL: none. Every mask needs the manual's words
	 * beside it. */
	void (*mask)(const struct ls_case *c, struct ls_result *host, struct ls_result *soft);
	bool code32; /* compatibility mode: 32-bit code and stack, registers and addresses of 32 bits */
};

extern const struct ls_class ls_class_int;
extern const struct ls_class ls_class_int32;
extern const struct ls_class ls_class_vec;
extern const struct ls_class ls_class_vec32;
extern const struct ls_class ls_class_x87;
extern const struct ls_class ls_class_x87_32;

struct ls {
	struct vm vm;
	struct log *log;
	struct x86_model model;
	struct x86_cpu *cpu;
	u8 *soft_code, *soft_data; /* the guest's RAM behind LS_CODE and LS_DATA */
	u64 random;
	bool code32;	       /* of the class that runs */
	bool checked, verbose; /* options */
	const char *only;      /* mnemonic asked for, or NULL */
	struct ls_templates *int_templates, *int32_templates;
	u64 per_mnemonic[ZYDIS_MNEMONIC_MAX_VALUE + 1];
};

/* main.c: random numbers. */
u64 ls_random(struct ls *ls);
static inline u64 ls_below(struct ls *ls, u64 n) { return ls_random(ls) % n; }
static inline bool ls_chance(struct ls *ls, unsigned percent) { return ls_below(ls, 100) < percent; }
/* A 64-bit value of a random kind: any, small, negative, a power of two, all ones, a half-filled register… */
u64 ls_value(struct ls *ls);

/* case.c: what generators share. */
/* Random registers and status flags, RSP in the data pages. */
void ls_begin(struct ls *ls, struct ls_case *c);
/* Decodes c->bytes; false if invalid, privileged by nature, or not wanted by --only. Sets len. */
bool ls_decode(struct ls *ls, struct ls_case *c);
/* An address for an access of `size` bytes: mostly in the writable pages, sometimes across pages, read-only, unmapped
 * or non-canonical. */
u64 ls_address(struct ls *ls, unsigned size);
/* Makes memory operand `o` fall on an address of ls_address (or on `want` if not 0) by setting registers or the
 * displacement's bytes. Gives the address reached. */
u64 ls_place(struct ls *ls, struct ls_case *c, const ZydisDecodedOperand *o, u64 want);
/* Puts bytes into both sides' data as far as [la, la + len) lies in it (also the read-only page). */
void ls_poke(struct ls *ls, u64 la, const void *bytes, unsigned len);
/* Random bytes around la on both sides. */
void ls_fill(struct ls *ls, u64 la, unsigned len);
void ls_decoder_init(const struct ls *ls, ZydisDecoder *d);
unsigned ls_gpr(ZydisRegister reg); /* register number; 16: none */

/*
 * template.c: every encoding that Zydis knows, found by trying, grouped by mnemonic, so that each mnemonic gets its
 * share of the cases. EVEX is not enumerated. ls_templates_new keeps the mnemonics for which `wanted` holds.
 */
struct ls_template {
	u8 map;	   /* 0 one byte, 1 0F, 2 0F38, 3 0F3A */
	u8 vex;	   /* 0 none, 1 VEX */
	u8 prefix; /* 0, 66h, F2h, F3h: mandatory, or what changes the operation */
	u8 opcode, reg;
	bool memory; /* ModRM names memory */
	bool vex_w, vex_l;
};
struct ls_templates; /* opaque */
struct ls_templates *ls_templates_new(struct ls *ls,
				      bool (*wanted)(const ZydisDecodedInstruction *zi, const ZydisDecodedOperand *op));
void ls_templates_free(struct ls_templates *t);
/* Random bytes of a random mnemonic into c->bytes, decoded. */
bool ls_templates_pick(struct ls *ls, struct ls_templates *t, struct ls_case *c);

/* silicon.c: the host's side. */
int ls_native_init(void);
void ls_native_write_code(u64 la, const void *bytes, unsigned len);
void ls_native_poke(u64 la, const void *bytes, unsigned len);
const u8 *ls_native_data(void);
void ls_native_restore(const void *data); /* after a mismatch: makes the host's data equal */
void ls_native_run(const struct ls_case *c, bool code32, bool fpu, struct ls_result *r);

/* machine.c: the software processor's side. */
int ls_soft_init(struct ls *ls, struct err *e);
void ls_soft_free(struct ls *ls);
/* For the class that follows: 64-bit or 32-bit code; `checked`: with segment checks even though all segments are flat.
 */
void ls_soft_mode(struct ls *ls, bool code32, bool checked);
void ls_soft_run(struct ls *ls, const struct ls_case *c, bool fpu, struct ls_result *r);

#endif
