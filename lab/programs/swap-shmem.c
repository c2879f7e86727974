/* Swap of shared memory: pages go out of every mapping and come back through the page cache. */
#include "lab.h"

static void program(long *stack)
{
	byte *memory = map(8 * PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	(void)stack;
	for (int i = 0; i < 8; i++)
		poke(memory + i * PAGE, i + 1);
	say("pageout", sys(madvise, memory, 8 * PAGE, 21 /* MADV_PAGEOUT */));
	say("read", peek(memory + 3 * PAGE));
	poke(memory + 5 * PAGE, 55);
	say("kernel", sys(uname, memory + 6 * PAGE));
}
