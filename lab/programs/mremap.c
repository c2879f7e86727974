/* mremap: growing in place, moving, shrinking, keeping the old range; pages move without a fault. */
#include "lab.h"

static void program(long *stack)
{
	byte *memory = map_at(CLEAR, 4 * PAGE, RW, ANONYMOUS), *moved;

	(void)stack;
	for (int i = 0; i < 3; i++)
		poke(memory + i * PAGE, i + 1);
	say("grown", sys(mremap, memory, 4 * PAGE, 8 * PAGE, 0));
	say("old", peek(memory + 2 * PAGE));
	poke(memory + 7 * PAGE, 8);
	map_at(CLEAR + 8 * PAGE, PAGE, PROT_NONE, ANONYMOUS);
	say("no room", sys(mremap, memory, 8 * PAGE, 16 * PAGE, 0));
	moved = (byte *)sys(mremap, memory, 8 * PAGE, 16 * PAGE, 1 /* MREMAP_MAYMOVE */);
	say("moved", (long)moved);
	say("pages", peek(moved) + peek(moved + 2 * PAGE) + peek(moved + 7 * PAGE));	/* no fault */
	poke(moved + 12 * PAGE, 12);
	say("gone", sys(uname, memory));
	say("fixed", sys(mremap, moved, 4 * PAGE, 4 * PAGE, 3 /* and FIXED */, CLEAR + HUGE));
	say("pages", peek((byte *)CLEAR + HUGE + PAGE));
	say("kept", sys(mremap, moved + 4 * PAGE, 4 * PAGE, 4 * PAGE, 5 /* MAYMOVE, DONTUNMAP */, 0));
	say("emptied", peek(moved + 7 * PAGE));
	say("shrunk", sys(mremap, moved + 8 * PAGE, 8 * PAGE, 2 * PAGE, 0));
}
