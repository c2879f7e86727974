/* MADV_COLLAPSE makes a huge page of small ones, without a fault. */
#include "lab.h"

static void program(long *stack)
{
	byte *memory = map_at(CLEAR, 2 * HUGE, RW, ANONYMOUS);

	(void)stack;
	sys(madvise, memory, 2 * HUGE, MADV_NOHUGEPAGE);
	for (int i = 0; i < 20; i++)
		poke(memory + i * PAGE, i);
	sys(madvise, memory, 2 * HUGE, MADV_HUGEPAGE);
	say("collapse", sys(madvise, memory, HUGE, MADV_COLLAPSE));
	poke(memory + 100 * PAGE, 1);
	say("memory[7]", peek(memory + 7 * PAGE));
	say("unaligned", sys(madvise, memory + PAGE, HUGE, MADV_COLLAPSE));
}
