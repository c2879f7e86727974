/* fork with huge pages: the child's write splits or copies, the last owner reuses; the huge zero page is given up for an own one. */
#include "lab.h"

static void program(long *stack)
{
	byte *memory = map_at(CLEAR, 4 * HUGE, RW, ANONYMOUS);

	(void)stack;
	sys(madvise, memory, 4 * HUGE, MADV_HUGEPAGE);
	poke(memory, 1);
	poke(memory + HUGE, 1);
	peek(memory + 2 * HUGE);
	if (!sys(fork)) {
		poke(memory + 3 * PAGE, 2);		/* splits */
		poke(memory + 4 * PAGE, 2);
		poke(memory + 2 * HUGE, 2);		/* the huge zero page */
		poke(memory + 3 * HUGE, 2);
		sys(exit_group, 0);
	}
	sys(wait4, -1, 0, 0, 0);
	poke(memory + 3 * PAGE, 3);
	poke(memory + 4 * PAGE, 3);
	poke(memory + HUGE + PAGE, 3);
	poke(memory + 2 * HUGE, 3);
	say("memory[3]", peek(memory + 3 * PAGE));
}
