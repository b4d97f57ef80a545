/* Rows of guests, and whose guest asked for whose entry (guests.h). */
#include "cpu/x86/guests.h"

_Static_assert(X86_EXITS <= VCPU_EXITS, "room for all exits");

void guests_init(struct vcpu_guests *g)
{
	g->last = g->asker = g->refused_at = g->shut_at = ~0ull;
	g->of[0].at = ~0ull;
}

struct vcpu_guest *guests_find(struct vcpu_guests *g, u64 at)
{
	struct vcpu_guest *row;

	for (unsigned i = 0; i < g->n; i++)
		if (g->of[i].at == at)
			return &g->of[i];
	row = &g->of[MIN(g->n, VCPU_GUESTS - 1u)];
	if (g->n < VCPU_GUESTS)
		row->at = ++g->n < VCPU_GUESTS ? at : ~0ull;
	return row;
}

/* Boyer and Moore's majority vote. L1 that enters A again has emulated A's instruction; L1 that enters B's own asker
 * hands B's exit on to it. */
void guests_vote(struct vcpu_guests *g, struct vcpu_guest *entered)
{
	u64 asker = g->asker;
	const struct vcpu_guest *a = guests_find(g, asker);

	g->asker = ~0ull;
	if (entered == a || entered->at == ~0ull || (a->under_for && a->under == entered->at))
		return;
	if (!entered->under_for)
		entered->under = asker;
	if (entered->under == asker)
		entered->under_for++;
	else
		entered->under_for--;
}
