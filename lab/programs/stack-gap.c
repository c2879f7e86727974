/* The stack does not grow into the 256 pages above another mapping. */
#include "lab.h"

static void program(long *stack)
{
	byte *top = (byte *)((unsigned long)stack & -PAGE), *below = top - 600 * PAGE;

	map_at((unsigned long)below, PAGE, RW, ANONYMOUS);
	poke(top - 300 * PAGE, 1);
	say("just outside the gap", sys(getrusage, 0, below + 258 * PAGE));
	say("inside the gap", sys(getrusage, 0, below + 256 * PAGE));
	poke(below + 255 * PAGE, 1);			/* SIGSEGV */
}
