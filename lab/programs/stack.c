/* The stack grows on a touch anywhere above its limit, in user mode and by the kernel; below the limit is SIGSEGV. */
#include "lab.h"

static void program(long *stack)
{
	long limit[2];
	byte *top = (byte *)((unsigned long)stack & -PAGE);

	poke(top - PAGE, 1);				/* the next page */
	poke(top - 20 * PAGE, 1);			/* far below, still inside what execve laid out */
	poke(top - 100 * PAGE, 1);			/* the vma grows */
	say("between", peek(top - 60 * PAGE));		/* there, and a zero page */
	say("kernel", sys(getrusage, 0, top - 200 * PAGE));
	say("getrlimit", sys(getrlimit, 3, limit));
	say("limit", limit[0]);
	limit[0] = 1 << 20;
	say("setrlimit", sys(setrlimit, 3, limit));
	say("kernel, below the limit", sys(getrusage, 0, top - 300 * PAGE));
	say("getrusage", sys(getrusage, 0, top - 250 * PAGE));
	poke(top - 300 * PAGE, 1);			/* SIGSEGV */
}
