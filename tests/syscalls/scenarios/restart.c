/* A signal interrupts wait4 and nanosleep; SA_RESTART lets wait4 go on. */
#include "lab.h"
#include "signals.h"

static void h(int n) { say("h", n); }
static long nap[2] = {0, 20000000}; 
static int ends[2];
static void child(int parent) { sys(nanosleep, nap, 0); sys(kill, parent, 10); sys(nanosleep, nap, 0); sys(write, ends[1], "x", 1); sys(exit_group, 3); }

static void program(long *stack)
{
	(void)stack;
	int parent = sys(getpid), status; char c = 0;
	sys(pipe, ends);
	handle(10, h, 0, 0);
	if (!sys(fork)) child(parent);
	say("wait interrupted", sys(wait4, -1, &status, 0, 0));
	say("wait", sys(wait4, -1, &status, 0, 0) > 0);
	sys(read, ends[0], &c, 1);
	handle(10, h, SA_RESTART, 0);
	if (!sys(fork)) child(parent);
	say("wait restarted", sys(wait4, -1, &status, 0, 0) > 0);
	say("status", status);
	sys(read, ends[0], &c, 1);
	handle(10, h, 0, 0);
	if (!sys(fork)) child(parent);
	long second[2] = {1, 0}, left[2] = {9, 9};
	say("sleep", sys(nanosleep, second, left));
	say("left", left[0] == 0 && left[1] > 0);
	sys(wait4, -1, &status, 0, 0);
}
/* Prints:
h = 10
wait interrupted = -4
wait = 1
h = 10
wait restarted = 1
status = 768
h = 10
sleep = -4
left = 1
*/
