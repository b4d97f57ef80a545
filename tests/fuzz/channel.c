/* The JSON lines that a level sends upwards, from a guest gone mad: cut, parsed, put into the tree, concluded from; and
 * the tail of its console. An input: depth, the sizes of the pieces it comes in, the bytes. */
#include "tests/fuzz/fuzz.h"

#include "cmd/channel.h"
#include "cmd/tree.h"

static void message(void *ctx, json_t *msg) { tree_message(ctx, msg); }

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	struct fuzz_in in = {data, size};
	u8 how = fuzz_u8(&in);
	size_t piece = 1 + fuzz_u8(&in);
	static FILE *out;
	struct tree_verdict v;
	struct tree t = {0};
	struct tail tail = {.at = 0};
	struct channel_rx rx = {.message = message, .ctx = &t};
	json_t *all;

	if (!out)
		out = fopen("/dev/null", "w");
	tree_start(&t, 2 + how % (TREE_LEVELS - 1), "nestbox", "host", out);
	t.guests = 1 + how % 3;
	while (in.n) {
		size_t n = MIN(piece, in.n);

		channel_rx_feed(&rx, in.p, n);
		tail_feed(&tail, in.p, n);
		in.p += n;
		in.n -= n;
	}
	channel_rx_feed(&rx, (const u8 *)"\n", 1);
	free(tail_text(&tail, 1 + how % 30));
	tree_conclude(&t, how & 0x80 ? "it stopped" : NULL, &v);
	fuzz_check(strnlen(v.text, sizeof(v.text)) < sizeof(v.text), "a verdict without an end");
	for (unsigned i = 1; i <= t.depth; i++)
		for (unsigned k = 1; tree_guest(&t, i, k); k++)
			tree_print_log(tree_guest(&t, i, k), out);
	all = tree_json(&t, &v);
	fuzz_check(all != NULL, "no JSON object");
	json_decref(all);
	tree_free(&t);
	channel_rx_free(&rx);
	return 0;
}

size_t fuzz_seed(unsigned n, u8 *buf, size_t room)
{
	static const char *const lines[] = {
		"{\"type\":\"hello\",\"level\":1,\"kernel\":\"6.1.0\",\"hypervisor\":\"nestbox\",\"vendor\":"
		"\"AuthenticAMD\","
		"\"model\":\"EPYC\",\"up_s\":5.5}\n"
		"{\"type\":\"kvm\",\"level\":1,\"module\":\"kvm_amd\",\"parameters\":{\"nested\":\"1\",\"npt\":\"Y\"}}"
		"\n"
		"{\"type\":\"start\",\"level\":1,\"cpu\":\"host\",\"memory_mib\":256}\n"
		"{\"type\":\"hello\",\"level\":2,\"kernel\":\"6.1.0\",\"hypervisor\":\"KVMKVMKVM\",\"up_s\":6.5}\n"
		"{\"type\":\"cpuid\",\"level\":2,\"ns\":5600}\n{\"type\":\"done\",\"level\":2,\"up_s\":7}\n"
		"{\"type\":\"evidence\",\"level\":1,\"exits\":8024,\"counters\":{\"exits\":8024,\"io_exits\":9},"
		"\"seconds\":3}\n"
		"{\"type\":\"done\",\"level\":1,\"up_s\":15.5}\n",
		"{\"type\":\"dmesg\",\"level\":1,\"records\":[[6,12345,\"Linux version\"],[4,99,\"WARNING: CPU: 0 PID: "
		"1\"],[3,1,"
		"\"BUG: x\"]]}\n{\"type\":\"console\",\"level\":1,\"of\":2,\"text\":\"panic\\nlast \\u001b[1m "
		"words\"}\n"
		"{\"type\":\"error\",\"level\":1,\"what\":\"w\",\"why\":\"y\",\"kind\":\"not_so\"}\n[]\n{\n",
	};
	size_t size;

	if (n >= ARRAY_SIZE(lines))
		return 0;
	size = strlen(lines[n]);
	if (size + 2 > room)
		abort();
	buf[0] = 0;
	buf[1] = 60;
	memcpy(buf + 2, lines[n], size);
	return size + 2;
}
