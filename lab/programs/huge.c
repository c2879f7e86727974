/* Transparent huge pages: a write maps 2 MiB at once, a read the huge zero page, where the setting and madvise allow it. */
#include "lab.h"

static void area(const char *name, int advice)
{
	static unsigned long at = CLEAR;
	byte *memory = map_at(at, 4 * HUGE, RW, ANONYMOUS);

	at += 16 * HUGE;
	if (advice)
		say(name, sys(madvise, memory, 4 * HUGE, advice));
	poke(memory + 5 * PAGE, 1);
	poke(memory + 6 * PAGE, 1);
	poke(memory + 511 * PAGE, 1);
	say("read", peek(memory + HUGE));
	say("read", peek(memory + HUGE + 7 * PAGE));
	poke(memory + HUGE + 8 * PAGE, 1);		/* on the huge zero page */
	poke(memory + HUGE + 9 * PAGE, 1);
	say("kernel", sys(uname, memory + 2 * HUGE - 100));	/* the end of one and the begin of another */
}

static void program(long *stack)
{
	byte *memory;

	(void)stack;
	area("plain", 0);
	area("madvise huge", MADV_HUGEPAGE);
	area("madvise nohuge", MADV_NOHUGEPAGE);
	memory = map_at(CLEAR + 64 * HUGE + 100 * PAGE, 2 * HUGE, RW, ANONYMOUS);	/* not aligned: one fits */
	sys(madvise, memory, 2 * HUGE, MADV_HUGEPAGE);
	poke(memory, 1);
	poke(memory + HUGE, 1);
	poke(memory + 2 * HUGE - 1, 1);
}
