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
#include "arch/x86/xsave.h"
#include "cpu/x86/cpu.h"

#define LS_CODE	     0x20000000ull
#define LS_CODE_SIZE 0x2000u
#define LS_DATA	     0x30000000ull
#define LS_RW	     4u /* pages */
#define LS_DATA_SIZE ((LS_RW + 1) * 4096u)
#define LS_RO	     (LS_DATA + LS_RW * 4096u)
#define LS_XSAVE     4096u /* bytes kept of the host's extended state: standard format */
#define LS_BYTES     18u   /* of a case: more than an instruction may have */

struct ls_case {
	u64 number;
	u8 bytes[LS_BYTES];
	unsigned len;
	u64 rip;	     /* where the bytes are put; set by ls_begin */
	struct x86_state st; /* gpr, rflags/oszapc; fpu if the class asks for it */
	ZydisDecodedInstruction zi;
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
	bool repeats;	/* may trap before it is done (strings with a repeat prefix, gathers): stepped until it is */
	u8 stream[256]; /* straight-line code with a few branches, run as a whole; stream_len 0: a single instruction */
	unsigned stream_len; /* with the UD2 at its end */
	u64 area;	     /* standard XSAVE area whose components lie elsewhere on the host (area.c); 0: none */
};

struct ls_result {
	u8 vector; /* EV_NONE: completed */
	bool faulted;
	u32 error;
	u64 cr2;
	u64 gpr[16], rip, rflags;
	u64 base[2];	    /* FS and GS */
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
	bool code32;	/* compatibility mode: 32-bit code and stack, registers and addresses of 32 bits */
	bool pinned;	/* shows which processor it runs on */
	bool amd;	/* known of AMD's silicon only: left out elsewhere */
	unsigned share; /* of a sweep, in percent */
};

extern const struct ls_class ls_class_any;
extern const struct ls_class ls_class_any32;
extern const struct ls_class ls_class_int;
extern const struct ls_class ls_class_int32;
extern const struct ls_class ls_class_stream;
extern const struct ls_class ls_class_stream32;
extern const struct ls_class ls_class_sys;
extern const struct ls_class ls_class_sys32;
extern const struct ls_class ls_class_vec;
extern const struct ls_class ls_class_vec32;
extern const struct ls_class ls_class_x87;
extern const struct ls_class ls_class_x87_32;

enum ls_template_kind { LS_T_INT, LS_T_SYS, LS_T_VEC, LS_T_X87, LS_T_OFFERED, LS_TEMPLATES };

struct ls {
	struct vm vm;
	struct log *log;
	struct x86_model model;
	struct x86_cpu *cpu;
	u8 *soft_code, *soft_data; /* the guest's RAM behind LS_CODE and LS_DATA */
	u64 random;
	bool svme;	       /* EFER.SVME of the silicon: set behind the back of a host that is a guest itself */
	u64 drop_every;	       /* streams: the software processor drops its caches every so many instructions */
	u32 tsc_aux;	       /* of the processor that ls_native_pin chose */
	bool code32;	       /* of the class that runs */
	bool checked, verbose; /* options */
	const char *only;      /* mnemonic asked for, or NULL */
	u8 area_before[XSAVE_AREA_MAX];
	bool bases; /* user code may read and write the bases of FS and GS, and the host's are at our disposal */
	struct ls_templates *templates[LS_TEMPLATES][2]; /* by code32 */
	u64 ended;					 /* streams of the class that ran to their end */
	u64 per_mnemonic[ZYDIS_MNEMONIC_MAX_VALUE + 1];
	u64 covered[ZYDIS_MNEMONIC_MAX_VALUE + 1]; /* over all classes */
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
/* Decodes c->bytes; false if invalid, or not wanted by --only. Sets len. */
bool ls_decode(struct ls *ls, struct ls_case *c);
/* Runs without RFLAGS.TF, with a UD2 behind it. */
static inline bool ls_runs_free(const struct ls_case *c) { return c->repeats || c->stream_len; }
/* Puts the bytes somewhere in the code pages. */
void ls_put(struct ls *ls, struct ls_case *c);
/* An address for an access of `size` bytes: mostly in the writable pages, sometimes across pages, read-only, unmapped
 * or non-canonical. */
u64 ls_address(struct ls *ls, unsigned size);
/* Makes memory operand `o` fall on an address of ls_address (or on `want` if not 0) by setting registers or the
 * displacement's bytes. Gives the address reached. */
u64 ls_place(struct ls *ls, struct ls_case *c, const ZydisDecodedOperand *o, u64 want);
/* What a memory operand's linear address is with the registers as they are. */
u64 ls_operand_address(const struct ls_case *c, const ZydisDecodedOperand *o);
/* Whether an operand that is written names a segment register. */
bool ls_loads_segment(const ZydisDecodedInstruction *zi, const ZydisDecodedOperand *op);
/* Puts bytes into both sides' data as far as [la, la + len) lies in it (also the read-only page). */
void ls_poke(struct ls *ls, u64 la, const void *bytes, unsigned len);
/* Random bytes around la on both sides. */
void ls_fill(struct ls *ls, u64 la, unsigned len);
void ls_decoder_init(const struct ls *ls, ZydisDecoder *d);
unsigned ls_gpr(ZydisRegister reg); /* register number; 16: none */

/*
 * template.c: every encoding that Zydis knows, found by trying, grouped by mnemonic, so that each mnemonic gets its
 * share of the cases. ls_templates_new keeps the forms for which `wanted` holds.
 */
enum { LS_LEGACY, LS_VEX, LS_EVEX };

struct ls_template {
	u8 encoding;
	u8 map;	   /* 0 one byte, 1 0F, 2 0F38, 3 0F3A */
	u8 prefix; /* 0, 66h, F2h, F3h: mandatory, or what changes the operation */
	u8 opcode, reg, rm;
	u8 ll;	     /* VEX.L, EVEX.LL */
	bool memory; /* ModRM names memory */
	bool w, b;   /* VEX.W, EVEX.W; EVEX.b */
};
struct ls_templates; /* opaque */
typedef bool ls_wanted(struct ls *ls, const ZydisDecodedInstruction *zi, const ZydisDecodedOperand *op);
/* NULL: no memory. */
struct ls_templates *ls_templates_new(struct ls *ls, ls_wanted *wanted);
void ls_templates_free(struct ls_templates *t);
bool ls_templates_has(const struct ls_templates *t, ZydisMnemonic m);
/* The templates of a kind for the present code size, made when first asked for. */
struct ls_templates *ls_templates_of(struct ls *ls, enum ls_template_kind kind, ls_wanted *wanted);
/* Random bytes of a random mnemonic into c->bytes, decoded. */
bool ls_templates_pick(struct ls *ls, struct ls_templates *t, struct ls_case *c);

/* Random bytes of a form that a class may run, decoded. */
bool ls_pick_int(struct ls *ls, struct ls_case *c);
bool ls_pick_vec(struct ls *ls, struct ls_case *c);
bool ls_pick_x87(struct ls *ls, struct ls_case *c);
/* gen_int.c: what the manuals leave open of integer instructions. */
void ls_mask_int(const struct ls_case *c, struct ls_result *host, struct ls_result *soft);
/* gen_vec.c: registers and control words of the vector and x87 units. */
void ls_fill_fpu(struct ls *ls, struct ls_case *c);
/* What silicon leaves open or hides of them (the list in gen_vec.c). */
void ls_mask_fpu(const struct ls_case *c, struct ls_result *host, struct ls_result *soft);

/* gen_sys.c: whether a case may be run on the host: it must not enter the system, nor ask what the host alone knows. */
bool ls_harmless(const struct ls *ls, const ZydisDecodedInstruction *zi, const ZydisDecodedOperand *op);

/* area.c: moves the components of c->area to where the host has them and back. */
void ls_area_to_host(struct ls *ls, const struct ls_case *c);
void ls_area_from_host(struct ls *ls, const struct ls_case *c);
/* Whether the host's components are no larger than ours, and those of the compacted format lie as ours do. */
bool ls_area_usable(void);

/* coverage.c: lists the mnemonics that the model offers with the instances that ran. Number of those without one and
 * without an excuse. */
unsigned ls_coverage_show(struct ls *ls);

/* silicon.c: the host's side. */
int ls_native_init(struct ls *ls); /* after the software side's, whose SIGFPE it passes on */
/* Stays on one processor and sets ls->tsc_aux to its TSC_AUX. */
void ls_native_pin(struct ls *ls);
u32 ls_native_offset(unsigned component); /* in a standard XSAVE area */
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
