/*
 * A user-mode network (libslirp): the guest's frames become sockets of this program, without any right on the host.
 *
 *   10.0.2.15 the guest (by DHCP), 10.0.2.2 the host, its loopback included, 10.0.2.3 the host's name server
 *
 * libslirp does its work under vm->lock, in a thread of its own that polls its sockets and in the vCPU's that sends. It
 * is loaded only when a guest gets a network: what this program is linked to is part of every nested level's root.
 */
#ifndef HOST_NET_H
#define HOST_NET_H

#include "base/err.h"
#include "core/net.h"
#include "core/vm.h"

#define NET_FORWARDS 16u

struct net_forward {
	bool udp;
	u32 host, guest; /* IPv4 addresses, network order */
	u16 host_port, guest_port;
};

struct net_options {
	bool restricted; /* nothing but the forwards */
	u8 mac[6];
	unsigned nforwards;
	struct net_forward forward[NET_FORWARDS];
};

struct net_user;

/* The guest's MAC address unless another is asked for, no forwards. */
void net_options_init(struct net_options *o);
/* "user[,hostfwd=tcp:[HOST]:PORT-[GUEST]:PORT]...[,restrict=on][,mac=...]". -EINVAL with the sentence. HOST is the
 * loopback address unless given. */
int net_options_parse(const char *text, struct net_options *o, struct err *e);

int net_user_open(struct vm *vm, const struct net_options *o, struct net_user **out, struct err *e);
struct net_sink net_user_sink(struct net_user *n);
void net_user_connect(struct net_user *n, struct net_source to);
/* The chip takes frames again. Lock held. */
void net_user_room(void *net_user);
int net_user_start(struct net_user *n, struct err *e);
void net_user_stop(struct net_user *n);
void net_user_close(struct net_user *n);

#endif
