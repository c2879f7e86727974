/* fork: after it the first writer of a shared page gets a copy, and the last owner reuses the page. */
#include "lab.h"

static void program(long *stack)
{
	byte *memory = map(8 * PAGE, RW, ANONYMOUS, -1, 0);

	(void)stack;
	for (int i = 0; i < 4; i++)	/* own pages; the other four stay away */
		poke(memory + i * PAGE, 'p');
	peek(memory + 4 * PAGE);	/* the zero page */
	if (!sys(fork)) {
		poke(memory, 'c');		/* a copy: the parent has it too */
		peek(memory + PAGE);		/* no fault: readable in both */
		poke(memory + 4 * PAGE, 'c');	/* the zero page is never reused */
		poke(memory + 5 * PAGE, 'c');	/* the child's own */
		sys(exit_group, peek(memory));
	}
	sys(wait4, -1, 0, 0, 0);
	say("memory[0]", peek(memory));
	poke(memory, 'P');		/* the child's copy is elsewhere and the child is gone: reused */
	poke(memory + PAGE, 'P');	/* shared till the child's end: reused */
	poke(memory + 4 * PAGE, 'P');	/* still the zero page */
	poke(memory + 5 * PAGE, 'P');
	say("memory[0]", peek(memory));
}
