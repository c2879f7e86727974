/* SIGSEGV not caught: a write to a read-only page kills, SEGV_ACCERR. */
#include "lab.h"

static void program(long *stack)
{
	byte *memory = map(PAGE, PROT_READ, ANONYMOUS, -1, 0);

	(void)stack;
	peek(memory);
	poke(memory, 1);
}
