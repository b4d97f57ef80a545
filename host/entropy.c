/* getrandom(2), which gives up to 256 bytes at once whatever signals come. */
#include "host/entropy.h"

#include <sys/random.h>

static void fill(void *ctx, u8 *buf, size_t n)
{
	while (n) {
		ssize_t got = getrandom(buf, MIN(n, 256u), 0);

		if (got > 0) {
			buf += got;
			n -= (size_t)got;
		}
	}
}

struct entropy host_entropy(void) { return (struct entropy){fill, NULL}; }
