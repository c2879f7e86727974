/* futex in shared memory wakes another process; of read-only private memory only a private one can be had. */
#include "lab.h"

static void program(long *stack)
{
	(void)stack;
	volatile int *memory = (void *)map(PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0); int status;
	if (!sys(fork)) { sys(exit, sys(futex, memory, 0, 0, 0, 0, 0) + memory[0]); }
	long nap[2] = {0, 10000000}; sys(nanosleep, nap, 0); memory[0] = 4;
	say("wake", sys(futex, memory, 1, 1, 0, 0, 0));
	sys(wait4, -1, &status, 0, 0);
	say("status", status);
	byte *ro = map(PAGE, PROT_READ, ANONYMOUS, -1, 0);
	say("read-only", sys(futex, ro, 1, 1, 0, 0, 0)); peek(ro);
	say("read-only", sys(futex, ro, 1, 1, 0, 0, 0));
	say("private", sys(futex, ro, 129, 1, 0, 0, 0));
}
/* Prints:
wake = 1
status = 1024
read-only = -14
read-only = -14
private = 0
*/
