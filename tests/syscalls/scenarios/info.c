/* siginfo: who sent it, si_code, a child's end; what wait4 says of an exit and of a killing. */
#include "lab.h"
#include "signals.h"

static void h(int n, int *info, long *c) { say("signal", n); say("signo", info[0]); say("code", info[2]); say("pid is mine", info[4] == sys(getpid)); say("status", info[6]); (void)c; }

static void program(long *stack)
{
	(void)stack;
	handle(10, h, SA_SIGINFO, 0); handle(17, h, SA_SIGINFO, 0);
	sys(kill, sys(getpid), 10);
	sys(tkill, sys(gettid), 10);
	if (!sys(fork)) sys(exit_group, 5);
	int status = 0;
	say("wait", sys(wait4, -1, &status, 0, 0) > 0);
	say("status", status);
	if (!sys(fork)) { sys(kill, sys(getpid), 15); }
	say("wait", sys(wait4, -1, &status, 0, 0) > 0);
	say("status", status);
	if (!sys(fork)) { byte *volatile at = (byte *)8; *at = 1; }
	say("wait", sys(wait4, -1, &status, 0, 0) > 0);
	say("status", status & 127);
}
/* Prints:
signal = 10
signo = 10
code = 0
pid is mine = 1
status = 0
signal = 10
signo = 10
code = -6
pid is mine = 1
status = 0
signal = 17
signo = 17
code = 1
pid is mine = 0
status = 5
wait = 1
status = 1280
signal = 17
signo = 17
code = 2
pid is mine = 0
status = 15
wait = 1
status = 15
signal = 17
signo = 17
code = 2
pid is mine = 0
status = 11
wait = 1
status = 11
*/
