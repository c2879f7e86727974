/* mprotect: rights go down and up, vmas split and merge, and a write after "up" faults only where the page is not its own. */
#include "lab.h"

static void program(long *stack)
{
	byte *memory = map(16 * PAGE, RW, ANONYMOUS, -1, 0);

	(void)stack;
	for (int i = 0; i < 8; i++)
		poke(memory + i * PAGE, i);
	peek(memory + 8 * PAGE);
	say("down", sys(mprotect, memory + 2 * PAGE, 4 * PAGE, PROT_READ));
	say("read", peek(memory + 3 * PAGE));
	say("up", sys(mprotect, memory + 2 * PAGE, 2 * PAGE, RW));
	poke(memory + 2 * PAGE, 22);			/* own page: made writable by mprotect itself, or by a fault? */
	say("none", sys(mprotect, memory + 6 * PAGE, 4 * PAGE, PROT_NONE));
	say("again", sys(mprotect, memory + 6 * PAGE, 4 * PAGE, RW));
	poke(memory + 6 * PAGE, 66);
	say("zero", peek(memory + 8 * PAGE));
	poke(memory + 8 * PAGE, 88);			/* still the zero page */
	poke(memory + 9 * PAGE, 99);
	say("exec", sys(mprotect, memory + 12 * PAGE, PAGE, PROT_READ | PROT_EXEC));
	say("read to a read-only page", sys(getrusage, 0, memory + 4 * PAGE));	/* -EFAULT */
	say("all", sys(mprotect, memory, 16 * PAGE, RW));
	poke(memory + 4 * PAGE, 44);
	say("not mapped", sys(mprotect, memory + 8 * PAGE, 64 * PAGE, PROT_READ));
	say("memory[8]", sys(getrusage, 0, memory + 8 * PAGE));
}
