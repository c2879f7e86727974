/* MAP_GROWSDOWN grows like the stack, and the guard gap is between it and what is below. */
#include "lab.h"

static void program(long *stack)
{
	byte *memory = map_at(CLEAR + HUGE, 2 * PAGE, RW, ANONYMOUS | MAP_GROWSDOWN);

	(void)stack;
	poke(memory, 1);
	poke(memory - PAGE, 2);
	poke(memory - 30 * PAGE, 3);
	say("between", peek(memory - 10 * PAGE));
	say("kernel", sys(uname, memory - 40 * PAGE - 100));
	map_at(CLEAR, PAGE, RW, ANONYMOUS);
	poke(memory - 200 * PAGE, 4);
	say("in the gap", sys(uname, (byte *)CLEAR + 200 * PAGE));
}
