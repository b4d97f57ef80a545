/*
 * Descriptors and gates: the eight bytes (sixteen for system descriptors of long mode) taken apart.
 * SDM vol. 3 3.4.5 "Segment Descriptors", 3.5 "System Descriptor Types", 6.11 "IDT Descriptors", 6.14.1 "64-Bit Mode
 * IDT", 8.2 "Task Management Data Structures"; APM vol. 2 4.7 "Legacy Segment Descriptors", 4.8 "Long-Mode Segment
 * Descriptors".
 *
 * Attributes come in the form of struct x86_seg (SEG_* of bits.h).
 */
#ifndef ARCH_X86_DESCRIPTOR_H
#define ARCH_X86_DESCRIPTOR_H

#include "arch/x86/state.h"

/* Types with S = 0. In long mode the 32-bit numbers stand for the 64-bit forms, and the 16-bit ones are gone but for
 * the LDT. */
enum x86_system_type {
	SYS_TSS16 = 1,
	SYS_LDT = 2,
	SYS_TSS16_BUSY = 3,
	SYS_CALL16 = 4,
	SYS_TASK_GATE = 5,
	SYS_INT16 = 6,
	SYS_TRAP16 = 7,
	SYS_TSS = 9,
	SYS_TSS_BUSY = 11,
	SYS_CALL = 12,
	SYS_INT = 14,
	SYS_TRAP = 15,
};
#define SYS_BUSY 2u /* what makes an available TSS a busy one */

#define SEL_RPL(sel)  ((sel)&3u)
#define SEL_LDT	      4u
#define SEL_NULL(sel) (((sel)&0xfffcu) == 0)

#define DESC_P	      BIT(47)
#define DESC_ACCESSED BIT(40)
#define DESC_TSS_BUSY BIT(41)

static inline u32 desc_base(u64 d) { return ((d >> 16) & 0xffffff) | ((d >> 32) & 0xff000000); }
static inline u16 desc_attr(u64 d) { return ((d >> 40) & 0xff) | ((d >> 44) & 0xf00); }

static inline u32 desc_limit(u64 d)
{
	u32 limit = (d & 0xffff) | ((d >> 32) & 0xf0000);

	return d & BIT(55) ? limit << 12 | 0xfff : limit;
}

static inline struct x86_seg desc_seg(u16 sel, u64 d)
{
	return (struct x86_seg){.sel = sel, .attr = desc_attr(d), .limit = desc_limit(d), .base = desc_base(d)};
}

static inline bool attr_is_code(u16 attr) { return (attr & (SEG_S | SEG_CODE)) == (SEG_S | SEG_CODE); }
static inline bool attr_is_data(u16 attr) { return (attr & (SEG_S | SEG_CODE)) == SEG_S; }
static inline bool attr_is_conforming(u16 attr) { return attr & SEG_CONF; } /* of code */
static inline bool attr_is_writable(u16 attr) { return attr_is_data(attr) && (attr & SEG_RW); }
static inline bool attr_is_readable(u16 attr) { return (attr & SEG_S) && (!(attr & SEG_CODE) || (attr & SEG_RW)); }

struct x86_gate {
	u64 offset;
	u16 sel;
	u8 type; /* enum x86_system_type; with SEG_S set when it is no system descriptor */
	u8 dpl;
	u8 ist;	  /* interrupt gates of long mode */
	u8 count; /* parameters of a legacy call gate */
	bool present;
};

/* `hi`: the second eight bytes in long mode, else 0. */
static inline struct x86_gate desc_gate(u64 d, u64 hi)
{
	return (struct x86_gate){
		.offset = (d & 0xffff) | ((d >> 32) & 0xffff0000) | (hi << 32),
		.sel = d >> 16,
		.type = (d >> 40) & 0x1f,
		.dpl = (d >> 45) & 3,
		.ist = (d >> 32) & 7,
		.count = (d >> 32) & 0x1f,
		.present = d & DESC_P,
	};
}

#endif
