/* Disks, network and entropy of a machine (backend.h). */
#include "machine/backend.h"

#include <errno.h>
#include <string.h>

#include "dev/flash.h"
#include "host/entropy.h"
#include "machine/map.h"

#define VARS_MAX 0x1000000u

static int open_disks(struct backend *b, const struct machine_config *cfg, struct pc_config *pc, struct err *e)
{
	if (cfg->ndisks > PC_DISKS)
		return err_set(e, EINVAL, "a machine has at most %u disks, not %u", PC_DISKS, cfg->ndisks);
	for (unsigned i = 0; i < cfg->ndisks; i++) {
		int rc = disk_open(&cfg->disks[i], &b->disk[i], e);

		if (rc)
			return rc;
		b->ndisks = i + 1;
		pc->disk[i] = (struct pc_disk){disk_block(b->disk[i]), MAX(cfg->disks[i].queues, 1u)};
	}
	pc->ndisks = b->ndisks;
	return 0;
}

int backend_open(struct backend *b, const struct machine_config *cfg, struct vm *vm, struct pc_config *pc,
		 struct err *e)
{
	int rc = open_disks(b, cfg, pc, e);

	pc->entropy = host_entropy();
	if (!rc && cfg->vars) {
		rc = flash_file_open(cfg->vars, FLASH_BLOCK, VARS_MAX, cfg->vars_keep, &b->vars, e);
		pc->flash = (struct pc_flash){b->vars.data, MAP_4G - cfg->bios.size - b->vars.size, b->vars.size};
	}
	if (!rc && cfg->net) {
		rc = net_user_open(vm, cfg->net, &b->net, e);
		if (!rc)
			pc->net = net_user_sink(b->net);
		memcpy(pc->mac, cfg->net->mac, sizeof(pc->mac));
	}
	return rc;
}

void backend_connect(struct backend *b, struct pc *pc)
{
	if (!b->net)
		return;
	net_user_connect(b->net, virtio_net_source(&pc->net));
	virtio_net_on_room(&pc->net, net_user_room, b->net);
}

int backend_start(struct backend *b, struct host_loop *loop, struct err *e)
{
	int rc = 0;

	for (unsigned i = 0; i < b->ndisks && !rc; i++)
		rc = disk_start(b->disk[i], loop, e);
	if (!rc && b->net)
		rc = net_user_start(b->net, e);
	return rc;
}

void backend_stop(struct backend *b)
{
	if (b->net)
		net_user_stop(b->net);
	for (unsigned i = 0; i < b->ndisks; i++)
		disk_stop(b->disk[i]);
}

void backend_close(struct backend *b)
{
	net_user_close(b->net);
	flash_file_close(&b->vars);
	for (unsigned i = 0; i < b->ndisks; i++)
		disk_close(b->disk[i]);
	memset(b, 0, sizeof(*b));
}
