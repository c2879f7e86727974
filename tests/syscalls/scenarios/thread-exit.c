/* A process ends with its threads: exit_group, a fault, a leader that goes first, SIGKILL. */
#include "lab.h"
#include "signals.h"
#include "thread.h"

static void forever(long n) { word = n; for (;;) sys(futex, &word, 128, n, 0, 0, 0); }
static void ends(long n) { sys(exit_group, n); }

static void program(long *stack)
{
	(void)stack;
	int status = 0;
	if (!sys(fork)) { thread(THREAD, stacks[1] + 1024, forever, 5, 0, 0); thread(THREAD, stacks[2] + 1024, ends, 6, 0, 0); forever(8); }
	say("wait", sys(wait4, -1, &status, 0, 0) > 0);
	say("status", status);
	if (!sys(fork)) { thread(THREAD, stacks[1] + 1024, forever, 5, 0, 0); sys(sched_yield); long nap[2] = {0, 10000000}; sys(nanosleep, nap, 0); byte *volatile at = 0; *at = 1; }
	say("wait", sys(wait4, -1, &status, 0, 0) > 0);
	say("status", status & 127);
	if (!sys(fork)) { thread(THREAD, stacks[1] + 1024, ends, 9, 0, 0); sys(exit, 3); }
	say("wait", sys(wait4, -1, &status, 0, 0) > 0);
	say("status", status);
	long child = sys(fork);
	if (!child) { thread(THREAD, stacks[1] + 1024, forever, 5, 0, 0); forever(8); }
	long nap[2] = {0, 10000000}; sys(nanosleep, nap, 0);
	sys(kill, child, 9);
	say("wait", sys(wait4, -1, &status, 0, 0) == child);
	say("status", status);
}
/* Prints:
wait = 1
status = 1536
wait = 1
status = 11
wait = 1
status = 2304
wait = 1
status = 9
*/
