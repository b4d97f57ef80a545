/* Random bytes from the host's kernel. */
#ifndef HOST_ENTROPY_H
#define HOST_ENTROPY_H

#include "core/entropy.h"

struct entropy host_entropy(void);

#endif
