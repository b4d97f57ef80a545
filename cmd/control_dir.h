/* Where the control sockets of this user's chains are. */
#ifndef CMD_CONTROL_DIR_H
#define CMD_CONTROL_DIR_H

#include "base/err.h"

/* -ENOENT: it is not there and `make` is false; -EPERM: it is somebody else's. */
int control_dir(char *dir, size_t room, bool make, struct err *e);

#endif
