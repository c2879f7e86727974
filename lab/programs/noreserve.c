/* MAP_NORESERVE: far more than there is can be mapped, and pages come as they are touched. */
#include "lab.h"

static void program(long *stack)
{
	byte *memory = map(1ul << 34, RW, ANONYMOUS | MAP_NORESERVE, -1, 0);

	(void)stack;
	say("without", (long)map(1ul << 34, RW, ANONYMOUS, -1, 0));
	for (unsigned long at = 0; at < 1ul << 34; at += 1ul << 31)
		poke(memory + at, 1);
	poke(memory + (1ul << 34) - 1, 1);
	say("kernel", sys(uname, memory + (1ul << 30)));
}
