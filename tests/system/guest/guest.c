/*
 * A guest that does what its command line says, one word:
 *
 *   triple   a page fault that nobody can take    shutdown by its IDT: no entries for 8 and 14
 *   spin     calls a few functions, then loops    halt   the same, then halts with interrupts off
 *   kbd, cf9, acpi, fault                         resets itself in that way once, then powers off
 *   debug    counts for a debugger, on two processors when there are two
 *   touch    one record of each trace topic, then powers off
 *
 * It is built with -O0 and debugging information: names and lines are what a debugger's test looks for.
 */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;

#define PM_CONTROL 0x604
#define CMOS_BOOTS 0x50

volatile u64 counter, watched, ap_counter;
volatile u32 ap_runs;
volatile double half;
static u64 idt[64] __attribute__((aligned(16)));
extern const u8 ap_start[], ap_end[];

static inline void out8(u16 port, u8 v) { __asm__ volatile("outb %0, %1" ::"a"(v), "Nd"(port)); }
static inline void out16(u16 port, u16 v) { __asm__ volatile("outw %0, %1" ::"a"(v), "Nd"(port)); }
static inline u8 in8(u16 port)
{
	u8 v;

	__asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

static void print(const char *s)
{
	while (*s)
		out8(0x3f8, (u8)*s++);
}

static int is(const char *line, const char *word)
{
	for (; *word; word++, line++)
		if (*line != *word)
			return 0;
	return *line == 0 || *line == ' ';
}

static void power_off(void)
{
	out16(PM_CONTROL, 5 << 10 | 1 << 13);
	for (;;)
		__asm__ volatile("hlt");
}

static void load_idt(u16 limit)
{
	struct {
		u16 limit;
		u64 base;
	} __attribute__((packed)) idtr = {limit, (u64)idt};

	__asm__ volatile("lidt %0" ::"m"(idtr));
}

static void innermost(int halt)
{
	for (;;) {
		counter++;
		if (halt)
			__asm__ volatile("cli; hlt");
	}
}

static void middle(int halt)
{
	innermost(halt);
	counter = 0;
}

static void outer(int halt)
{
	middle(halt);
	counter = 1;
}

static void triple(void)
{
	load_idt(sizeof(idt) - 1);
	*(volatile u32 *)0x80000000 = 1;
}

static void reset_by(const char *way)
{
	u8 boots;

	out8(0x70, CMOS_BOOTS);
	boots = in8(0x71);
	print(boots ? "second boot\n" : "first boot\n");
	if (boots) {
		print(counter ? "RAM is old\n" : "RAM is new\n");
		power_off();
	}
	counter = 1;
	out8(0x71, 1);
	if (is(way, "kbd"))
		out8(0x64, 0xfe);
	else if (is(way, "cf9"))
		out8(0xcf9, 6);
	else if (is(way, "acpi"))
		out8(0x630, 6);
	else
		triple();
	for (;;)
		;
}

void ap_main(void)
{
	ap_runs = 1;
	for (;;)
		ap_counter++;
}

static void start_second(void)
{
	volatile u32 *icr = (volatile u32 *)0xfee00300;

	for (u64 i = 0; i < (u64)(ap_end - ap_start); i++)
		((volatile u8 *)0x8000)[i] = ap_start[i];
	*(volatile u32 *)0xfee000f0 = 0x1ff;
	*icr = 0xc4500; /* INIT to all but this one */
	*icr = 0xc4608; /* start-up at 8000h */
	for (u64 i = 0; i < 100000000 && !ap_runs; i++)
		__asm__ volatile("pause");
}

int add_up(int a, int b)
{
	int sum = a + b;

	watched = (u64)sum;
	return sum;
}

static void debug(void)
{
	start_second();
	half = 0.5; /* in an SSE register, to be looked at */
	for (int i = 0;; i++) {
		counter += (u64)add_up(i, 1);
		half += 1;
		if (i == 1000000)
			power_off();
	}
}

/* The local APIC is above the first GiB: its page is mapped where nothing else is. */
static void map_apic(void)
{
	u64 cr3;

	__asm__ volatile("mov %%cr3, %0" : "=r"(cr3));
	u64 *pdpt = (u64 *)(*(u64 *)cr3 & ~0xfffull);
	static u64 pd[512] __attribute__((aligned(4096)));

	for (u64 i = 0; i < 512; i++)
		pd[i] = (0xc0000000 + (i << 21)) | 0x9b; /* uncached */
	pdpt[3] = (u64)pd | 3;
}

static void touch(void)
{
	u32 a = 0x40000000, b, c = 0, d, low, high;

	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(0x1b));
	watched = *(volatile u32 *)0xfec00000; /* IOAPIC */
	out8(0x80, 0x77);
	power_off();
}

void guest_main(const u32 *info)
{
	const char *line = (const char *)*(const u64 *)(info + 6); /* cmdline_paddr */

	map_apic();
	if (is(line, "triple"))
		triple();
	else if (is(line, "spin"))
		outer(0);
	else if (is(line, "halt"))
		outer(1);
	else if (is(line, "debug"))
		debug();
	else if (is(line, "touch"))
		touch();
	else
		reset_by(line);
}
