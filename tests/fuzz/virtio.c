/* The network, console and entropy devices (DEVICE) under a hostile driver. Their host sides check the lengths that
 * they are handed, send frames and characters of any length back, and may answer at once. */
#include "tests/fuzz/virtio.h"

#include "dev/virtio_console.h"
#include "dev/virtio_net.h"
#include "dev/virtio_rng.h"

#define NET	1
#define CONSOLE 2
#define RNG	3

struct rig {
	struct hostile h; /* first */
	struct virtio_net net;
	struct virtio_console console;
	struct virtio_rng rng;
	bool echo;
	u8 sum;
	unsigned depth;
};

static void touch(struct rig *r, const u8 *buf, size_t n)
{
	for (size_t i = 0; i < n; i++)
		r->sum ^= buf[i];
}

static void on_send(void *ctx, const u8 *frame, size_t n)
{
	struct rig *r = ctx;
	struct net_source to = virtio_net_source(&r->net);

	fuzz_check(n >= NET_HEADER && n <= NET_FRAME_MAX, "a frame of no legal length");
	touch(r, frame, n);
	if (r->echo)
		to.receive(to.ctx, frame, n);
}

static void on_write(void *ctx, const u8 *buf, size_t n) { touch(ctx, buf, n); }
static void on_fill(void *ctx, u8 *buf, size_t n) { memset(buf, 0xa5, n); }

static void on_room(void *ctx)
{
	struct rig *r = ctx;

	if (r->depth++ < 3 && DEVICE == NET) {
		struct net_source to = virtio_net_source(&r->net);

		to.receive(to.ctx, (const u8[64]){1}, 64);
	}
	r->depth--;
}

static void host_side(struct hostile *h, struct fuzz_in *in)
{
	struct rig *r = (struct rig *)h;
	u8 how = fuzz_u8(in), buf[NET_FRAME_MAX];
	size_t n = how & 1 ? fuzz_u8(in) : NET_HEADER + fuzz_u16(in) % (NET_FRAME_MAX - NET_HEADER + 1);

	memset(buf, how, sizeof(buf));
	r->echo = how & 2;
	if (DEVICE == NET) {
		struct net_source to = virtio_net_source(&r->net);

		to.receive(to.ctx, buf, MAX(n, (size_t)NET_HEADER));
	} else if (DEVICE == CONSOLE) {
		struct char_source to = virtio_console_source(&r->console);
		size_t room = to.room(to.ctx);

		if (room)
			to.receive(to.ctx, buf, MIN(n, room));
	}
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	static struct rig r;
	struct fuzz_in in = {data, size};
	struct pci_device *pci;

	hostile_vm(&r.h);
	r.h.host_side = host_side;
	r.echo = false;
	if (DEVICE == NET) {
		virtio_net_init(&r.net, &r.h.vm, (const u8[NET_MAC]){0x52, 0x54}, (struct net_sink){on_send, &r});
		virtio_net_on_room(&r.net, on_room, &r);
		r.h.pci = &r.net.pci;
		r.h.queues = r.net.virtio.ops->queues;
	} else if (DEVICE == CONSOLE) {
		virtio_console_init(&r.console, &r.h.vm, size & 1 ? "org.example.port" : NULL,
				    (struct char_sink){on_write, &r});
		virtio_console_on_room(&r.console, on_room, &r);
		virtio_console_resize(&r.console, 25, 80);
		r.h.pci = &r.console.pci;
		r.h.queues = r.console.virtio.ops->queues;
	} else {
		virtio_rng_init(&r.rng, &r.h.vm, (struct entropy){on_fill, &r});
		r.h.pci = &r.rng.pci;
		r.h.queues = r.rng.virtio.ops->queues;
	}
	pci = &r.h.pci->pci;
	pci_attach(&r.h.bus, pci, 1);
	hostile_start(&r.h, ~0ull);
	hostile_ops(&r.h, &in);
	pci_device_reset(pci);
	vm_destroy(&r.h.vm);
	return 0;
}

size_t fuzz_seed(unsigned n, u8 *buf, size_t room) { return n < 4 ? hostile_seed(n, buf) : 0; }
