/* Swap: MADV_PAGEOUT writes pages out, a touch brings them back with a major fault. */
#include "lab.h"

static void program(long *stack)
{
	byte *memory = map(16 * PAGE, RW, ANONYMOUS, -1, 0);

	(void)stack;
	for (int i = 0; i < 16; i++)
		poke(memory + i * PAGE, i + 1);
	say("pageout", sys(madvise, memory, 12 * PAGE, 21 /* MADV_PAGEOUT */));
	say("read", peek(memory + 3 * PAGE));		/* major */
	poke(memory + 3 * PAGE, 33);
	poke(memory + 4 * PAGE, 44);			/* major, for writing */
	say("kernel reads", sys(access, memory + 5 * PAGE, 0));
	say("kernel writes", sys(uname, memory + 6 * PAGE));
	sys(madvise, memory + 7 * PAGE, PAGE, MADV_DONTNEED);
	say("dropped", peek(memory + 7 * PAGE));
	if (!sys(fork)) {
		say("child", peek(memory + 8 * PAGE));
		poke(memory + 9 * PAGE, 99);
		sys(exit_group, 0);
	}
	sys(wait4, -1, 0, 0, 0);
	say("parent", peek(memory + 8 * PAGE));
	poke(memory + 9 * PAGE, 9);
	say("never out", peek(memory + 13 * PAGE));
	say("willneed", sys(madvise, memory + 10 * PAGE, PAGE, MADV_WILLNEED));
	say("read", peek(memory + 10 * PAGE));
}
