/*
 * The control socket of a running chain: through it another nestbox of the same user asks for the levels' sections of a
 * report. docs/CHANNEL.md has the messages.
 *
 * The socket is DIR/PID.sock, DIR being $XDG_RUNTIME_DIR/nestbox, or /tmp/nestbox-UID where there is no such variable;
 * a folder of this user's that nobody else can enter.
 */
#ifndef CMD_CONTROL_H
#define CMD_CONTROL_H

#include <jansson.h>

#include "base/err.h"

struct machine;
struct report;
struct control;

/* A thread that answers. `about`: what the chain is, one sentence; copied. The machine must live until control_stop. */
int control_start(struct machine *m, unsigned depth, const char *about, struct control **out, struct err *e);
/* NULL is allowed. Removes the socket. */
void control_stop(struct control *c);
const char *control_path(const struct control *c);
/* A message that came up the channel: takes those that are parts of a section. Any thread. */
void control_message(struct control *c, const json_t *msg);

/* The other end: puts the sections of the newest chain of this user into r. 1: there is no chain; 0; -errno with a
 * sentence, r then has what came. -EINTR: a signal is pending (program.h). about: what the chain said of itself. */
int control_ask(struct report *r, char *about, size_t room, struct err *e);

#endif
