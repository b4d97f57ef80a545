/* What each packet does (stub.h). "Debugging with GDB", appendix "Remote Protocol", "Packets". */
#include "gdb/stub.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "arch/x86/state.h"
#include "gdb/regs.h"
#include "inspect/memory.h"

int stub_init(struct gdb_stub *s, struct vm *vm, const struct gdb_monitor *monitor)
{
	*s = (struct gdb_stub){.vm = vm, .st = malloc(sizeof(*s->st))};
	if (monitor)
		s->monitor = *monitor;
	return s->st ? 0 : -ENOMEM;
}

void stub_destroy(struct gdb_stub *s) { free(s->st); }

static struct vcpu *current(struct gdb_stub *s) { return s->vm->vcpu[s->vcpu]; }
static void fetch_state(struct gdb_stub *s) { current(s)->ops->get_state(current(s), s->st); }

static bool store_state(struct gdb_stub *s)
{
	struct err e = {0};

	return !current(s)->ops->set_state(current(s), s->st, &e);
}

static void answer(struct packet_out *out, bool good) { packet_put(out, good ? "OK" : "E01"); }

static bool starts(const char *data, const char *word, const char **rest)
{
	size_t n = strlen(word);

	*rest = data + n;
	return !strncmp(data, word, n);
}

/* A thread number: 0 and -1 are "any", which leaves *vcpu alone. */
static bool thread_number(struct gdb_stub *s, const char **p, unsigned *vcpu)
{
	u64 id;

	if (**p == '-') {
		(*p)++;
		return packet_hex(p, &id);
	}
	if (!packet_hex(p, &id) || id > s->vm->nvcpus)
		return false;
	if (id)
		*vcpu = (unsigned)id - 1;
	return true;
}

/* ---- registers ---- */

static void read_all(struct gdb_stub *s, struct packet_out *out)
{
	u8 buf[16];

	fetch_state(s);
	for (unsigned i = 0; i < regs_count(); i++) {
		regs_get(s->st, i, buf);
		packet_put_hex(out, buf, regs_size(i));
	}
}

static bool write_all(struct gdb_stub *s, const char *p)
{
	u8 buf[16];

	fetch_state(s);
	for (unsigned i = 0; i < regs_count(); i++) {
		if (!packet_bytes(&p, buf, regs_size(i)))
			return false;
		regs_set(s->st, i, buf); /* those that cannot be written stay */
	}
	return store_state(s);
}

static void read_one(struct gdb_stub *s, const char *p, struct packet_out *out)
{
	u8 buf[16];
	u64 n;

	if (!packet_hex(&p, &n) || n >= regs_count()) {
		packet_put(out, "E01");
		return;
	}
	fetch_state(s);
	regs_get(s->st, (unsigned)n, buf);
	packet_put_hex(out, buf, regs_size((unsigned)n));
}

static bool write_one(struct gdb_stub *s, const char *p)
{
	u8 buf[16];
	u64 n;

	if (!packet_hex(&p, &n) || n >= regs_count() || *p++ != '=' || !packet_bytes(&p, buf, regs_size((unsigned)n)))
		return false;
	fetch_state(s);
	return regs_set(s->st, (unsigned)n, buf) && store_state(s);
}

/* ---- memory ---- */

static bool range(const char **p, u64 *la, u64 *len)
{
	return packet_hex(p, la) && *(*p)++ == ',' && packet_hex(p, len);
}

static void read_memory(struct gdb_stub *s, const char *p, struct packet_out *out)
{
	u8 buf[PACKET_MAX / 2];
	struct inspect_memory m;
	u64 la, len;
	size_t n;

	if (!range(&p, &la, &len)) {
		packet_put(out, "E01");
		return;
	}
	fetch_state(s);
	inspect_memory(&m, s->vm, s->st);
	len = MIN(len, (u64)sizeof(buf));
	n = inspect_read(&m, la, buf, len);
	if (!n && len)
		packet_put(out, "E14");
	packet_put_hex(out, buf, (u32)n);
}

static bool write_memory(struct gdb_stub *s, const char *p, const char *end, bool binary)
{
	u8 buf[PACKET_MAX];
	struct inspect_memory m;
	u64 la, len;

	if (!range(&p, &la, &len) || *p++ != ':' || len > sizeof(buf))
		return false;
	if (binary) {
		if ((u64)(end - p) != len)
			return false;
		memcpy(buf, p, len);
	} else if (!packet_bytes(&p, buf, (u32)len)) {
		return false;
	}
	fetch_state(s);
	inspect_memory(&m, s->vm, s->st);
	return inspect_write(&m, la, buf, len) == len;
}

/* ---- points ---- */

static void point(struct gdb_stub *s, const char *p, bool add, struct packet_out *out)
{
	struct debug_point d = {0};
	u64 kind;

	if (!packet_hex(&p, &kind) || *p++ != ',' || !range(&p, &d.la, &d.len)) {
		packet_put(out, "E01");
		return;
	}
	if (kind > DEBUG_ACCESS)
		return; /* an empty answer: no such kind */
	d.kind = (u32)kind;
	answer(out, !(add ? debug_add(s->vm, &d) : debug_remove(s->vm, &d)));
}

/* ---- going on ---- */

/* The first action of vCont that names the vCPU: 'c', 's', or 0. */
static char action_of(struct gdb_stub *s, const char *p, unsigned vcpu)
{
	while (*p == ';') {
		char what = p[1];
		unsigned named = vcpu;
		u64 signal;

		if (!what)
			return 0;
		p += 2;
		if (what == 'C' || what == 'S') {
			packet_hex(&p, &signal); /* a processor takes no signals */
			what = what == 'C' ? 'c' : 's';
		}
		if (*p == ':') {
			p++;
			if (!thread_number(s, &p, &named))
				return 0;
		}
		if (named == vcpu && (what == 'c' || what == 's'))
			return what;
	}
	return 0;
}

/* Another vCPU may have met a watchpoint at the same time; its turn comes before the guest goes on. */
static bool other_watch(struct gdb_stub *s)
{
	for (unsigned i = 0; i < s->vm->nvcpus; i++)
		if (i != s->vcpu && s->vm->vcpu[i]->debug.why == DEBUG_WATCH)
			return true;
	return false;
}

static enum stub_action go_on(struct gdb_stub *s, const char *actions, struct packet_out *out)
{
	u64 held = 0;
	bool any = false;

	if (current(s)->debug.why == DEBUG_WATCH)
		current(s)->debug.why = DEBUG_PAUSED;
	if (other_watch(s)) {
		stub_stopped(s, false, out);
		return STUB_REPLY;
	}
	for (unsigned i = 0; i < s->vm->nvcpus; i++) {
		struct vcpu_debug *d = &s->vm->vcpu[i]->debug;
		char what = action_of(s, actions, i);

		/* A breakpoint that was met but not told is met again; the one told is stepped off. */
		if (i != s->vcpu || d->why != DEBUG_BREAK)
			d->why = DEBUG_PAUSED;
		d->step = what == 's';
		if (!what)
			held |= BIT(i);
		any |= what != 0;
	}
	if (!any) {
		packet_put(out, "E01");
		return STUB_REPLY;
	}
	atomic_store(&s->vm->debug.held, held);
	return STUB_RUN;
}

void stub_stopped(struct gdb_stub *s, bool by_user, struct packet_out *out)
{
	static const char *const watch[] = {
		[DEBUG_WRITE] = "watch", [DEBUG_READ] = "rwatch", [DEBUG_ACCESS] = "awatch"};
	const struct vcpu_debug *d = NULL;

	for (unsigned i = 0; i < s->vm->nvcpus && !d; i++) {
		if (s->vm->vcpu[i]->debug.why == DEBUG_PAUSED)
			continue;
		d = &s->vm->vcpu[i]->debug;
		s->vcpu = i;
	}
	for (unsigned i = 0; i < s->vm->nvcpus; i++)
		s->vm->vcpu[i]->debug.step = 0;
	atomic_store(&s->vm->debug.held, 0);
	packet_put(out, "T%02xthread:%x;", !d && by_user ? 2 : 5, s->vcpu + 1);
	if (d && d->why == DEBUG_WATCH)
		packet_put(out, "%s:%llx;", watch[d->kind], (unsigned long long)d->la);
	else if (d && d->why == DEBUG_BREAK && s->names_breaks)
		packet_put(out, "swbreak:;");
}

/* ---- questions ---- */

static void description(const char *p, struct packet_out *out)
{
	static const u32 size = 32768;
	char *xml = malloc(size);
	u64 at, len;
	u32 n = xml ? regs_xml(xml, size) : 0;

	if (!n || !range(&p, &at, &len)) {
		packet_put(out, "E01");
	} else {
		at = MIN(at, (u64)n);
		len = MIN(MIN(len, n - at), (u64)PACKET_MAX / 2);
		packet_put(out, at + len < n ? "m" : "l");
		packet_put_binary(out, xml + at, (u32)len);
	}
	free(xml);
}

static void thread_words(struct gdb_stub *s, const char *p, struct packet_out *out)
{
	static const char *const activity[] = {"running", "halted", "shut down", "waiting for a start-up message"};
	unsigned vcpu = s->vcpu, keep = s->vcpu;
	char text[80];

	if (!thread_number(s, &p, &vcpu)) {
		packet_put(out, "E01");
		return;
	}
	s->vcpu = vcpu;
	fetch_state(s);
	s->vcpu = keep;
	snprintf(text, sizeof(text), "vCPU %u %s%s", vcpu, activity[MIN(s->st->activity, 3u)],
		 s->st->svm.in_guest ? ", in a nested guest" : "");
	packet_put_hex(out, text, (u32)strlen(text));
}

static void monitor(struct gdb_stub *s, const char *p, struct packet_out *out)
{
	char line[256], *text = NULL;
	size_t n = 0, length = strlen(p) / 2;
	FILE *f;

	if (length >= sizeof(line) || !packet_bytes(&p, line, (u32)length)) {
		packet_put(out, "E01");
		return;
	}
	line[length] = 0;
	f = open_memstream(&text, &n);
	if (!f) {
		packet_put(out, "E01");
		return;
	}
	if (s->monitor.run)
		s->monitor.run(s->monitor.ctx, s->vcpu, line, f);
	else
		fputs("there are no monitor commands here\n", f);
	fclose(f);
	if (n)
		packet_put_hex(out, text, (u32)MIN(n, (size_t)PACKET_MAX / 2 - 1));
	else
		packet_put(out, "OK");
	free(text);
}

static void supported(struct gdb_stub *s, const char *p, struct packet_out *out)
{
	s->names_breaks = strstr(p, "swbreak+") != NULL;
	packet_put(out, "PacketSize=%x;qXfer:features:read+;vContSupported+;QStartNoAckMode+;swbreak+;hwbreak+",
		   PACKET_MAX);
}

static void query(struct gdb_stub *s, const char *data, struct packet_out *out)
{
	const char *p;

	if (starts(data, "qSupported", &p))
		supported(s, p, out);
	else if (starts(data, "qXfer:features:read:target.xml:", &p))
		description(p, out);
	else if (starts(data, "qAttached", &p))
		packet_put(out, "1");
	else if (starts(data, "qThreadExtraInfo,", &p))
		thread_words(s, p, out);
	else if (starts(data, "qRcmd,", &p))
		monitor(s, p, out);
	else if (!strcmp(data, "qC"))
		packet_put(out, "QC%x", s->vcpu + 1);
	else if (!strcmp(data, "qfThreadInfo"))
		for (unsigned i = 0; i < s->vm->nvcpus; i++)
			packet_put(out, "%c%x", i ? ',' : 'm', i + 1);
	else if (!strcmp(data, "qsThreadInfo"))
		packet_put(out, "l");
}

static enum stub_action v_packet(struct gdb_stub *s, const char *data, struct packet_out *out)
{
	const char *p;

	if (!strcmp(data, "vCont?"))
		packet_put(out, "vCont;c;C;s;S");
	else if (starts(data, "vCont", &p))
		return go_on(s, p, out);
	else if (starts(data, "vKill", &p)) {
		packet_put(out, "OK");
		return STUB_KILL;
	}
	return STUB_REPLY;
}

enum stub_action stub_command(struct gdb_stub *s, const char *data, u32 n, struct packet_out *out)
{
	const char *p = data + 1;
	unsigned vcpu = s->vcpu;
	char actions[32];

	switch (data[0]) {
	case '?': stub_stopped(s, false, out); break;
	case 'g': read_all(s, out); break;
	case 'G': answer(out, write_all(s, p)); break;
	case 'p': read_one(s, p, out); break;
	case 'P': answer(out, write_one(s, p)); break;
	case 'm': read_memory(s, p, out); break;
	case 'M': answer(out, write_memory(s, p, data + n, false)); break;
	case 'X': answer(out, write_memory(s, p, data + n, true)); break;
	case 'Z': point(s, p, true, out); break;
	case 'z': point(s, p, false, out); break;
	case 'T': answer(out, thread_number(s, &p, &vcpu)); break;
	case 'H': /* Hg and Hc: old steps are about the same vCPU */
		if (*p)
			p++;
		if (thread_number(s, &p, &vcpu)) {
			s->vcpu = vcpu;
			packet_put(out, "OK");
		} else {
			packet_put(out, "E01");
		}
		break;
	case 'c':
	case 's':
		snprintf(actions, sizeof(actions), data[0] == 's' ? ";s:%x;c" : ";c", s->vcpu + 1);
		return go_on(s, actions, out);
	case 'v': return v_packet(s, data, out);
	case 'q': query(s, data, out); break;
	case 'Q':
		if (!strcmp(data, "QStartNoAckMode")) {
			s->no_ack = true;
			packet_put(out, "OK");
		}
		break;
	case 'D': packet_put(out, "OK"); return STUB_DETACH;
	case 'k': return STUB_KILL;
	default: break; /* an empty answer: not known */
	}
	return STUB_REPLY;
}
