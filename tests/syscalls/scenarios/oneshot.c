/* rt_sigaction: SA_RESETHAND, signals that no handler can have, what is ignored is gone. */
#include "lab.h"
#include "signals.h"

static void h(int n) { say("h", n); }

static void program(long *stack)
{
	(void)stack;
	struct action old = {0};
	handle(10, h, SA_RESETHAND, 0);
	sys(kill, sys(getpid), 10);
	sys(rt_sigaction, 10, 0, &old, 8);
	say("handler", (long)old.handler == 0);
	say("flags", old.flags);
	say("kill", sys(rt_sigaction, 9, &old, 0, 8));
	say("stop", sys(rt_sigaction, 19, &old, 0, 8));
	say("65", sys(rt_sigaction, 65, 0, &old, 8));
	say("64", sys(rt_sigaction, 64, 0, &old, 8));
	say("efault", sys(rt_sigaction, 10, 8, 0, 8));
	handle(10, (void *)1, 0, 0);
	sys(kill, sys(getpid), 10);
	say("ignored", 1);
}
/* Prints:
h = 10
handler = 1
flags = 0x84000000
kill = -22
stop = -22
65 = -22
64 = 0
efault = -14
ignored = 1
*/
