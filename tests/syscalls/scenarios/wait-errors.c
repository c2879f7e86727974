/* wait4: no child, WNOHANG, somebody else's child, a bad pointer, children of who ignores SIGCHLD. */
#include "lab.h"
#include "signals.h"

static void program(long *stack)
{
	(void)stack;
	int status = 7; 
	say("echild", sys(wait4, -1, &status, 0, 0));
	say("einval", sys(wait4, -1, 0, 0x1000000, 0));
	long child = sys(fork);
	if (!child) { long nap[2] = {0, 30000000}; sys(nanosleep, nap, 0); sys(exit, 9); }
	say("nohang", sys(wait4, -1, &status, 1, 0));
	say("other", sys(wait4, child + 1, &status, 0, 0));
	say("efault", sys(wait4, child, 8, 0, 0));
	say("echild", sys(wait4, -1, &status, 0, 0));
	say("status", status);
	handle(17, (void *)1, 0, 0);
	if (!sys(fork)) sys(exit, 9);
	say("ignored", sys(wait4, -1, &status, 0, 0));
}
/* Prints:
echild = -10
einval = -22
nohang = 0
other = -10
efault = -14
echild = -10
status = 7
ignored = -10
*/
