/* Ten children, each of them a walk over what it shares with the parent; the parent walks between them. */
#include "lab.h"

static unsigned int seed = 7;
static unsigned int next(void) { return (seed = seed * 1664525 + 1013904223) >> 8; }

static unsigned long walk(byte *memory, byte *shared, int count)
{
	unsigned long sum = 0;

	for (int i = 0; i < count; i++) {
		byte *at = (next() % 4 ? memory : shared) + next() % 256 * PAGE + next() % PAGE;

		if (next() % 3)
			poke(at, i);
		else
			sum = sum * 31 + peek(at);
	}
	return sum;
}

static void program(long *stack)
{
	byte *memory = map(256 * PAGE, RW, ANONYMOUS, -1, 0), *shared = map(256 * PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	(void)stack;
	say("parent", walk(memory, shared, 300));
	for (int child = 0; child < 10; child++) {
		if (!sys(fork)) {
			seed += child;
			say("child", walk(memory, shared, 250));
			sys(exit_group, 0);
		}
		sys(wait4, -1, 0, 0, 0);
		say("parent", walk(memory, shared, 100));
	}
}
