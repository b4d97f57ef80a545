/* What the host's system says and does; apart from lockstep.h, since its headers' names clash with the manuals'. */
#ifndef TESTS_LOCKSTEP_HOST_H
#define TESTS_LOCKSTEP_HOST_H

#include <stdbool.h>

/* Programs may use RDFSBASE and its like. */
bool host_has_bases(void);
/* Keeps the thread on the processor that it runs on. */
void host_stay(void);

#endif
