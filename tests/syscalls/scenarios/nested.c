/* Signals: handlers entered from handlers, what is blocked waits and comes once, lowest number first. */
#include "lab.h"
#include "signals.h"

static int depth;
static void second(int n) { say("second", n); }
static void first(int n) { depth++; say("first", n); sys(kill, sys(getpid), 12); say("first ends", depth); }

static void program(long *stack)
{
	(void)stack;
	handle(10, first, 0, 0), handle(12, second, 0, bits(10));
	say("kill", sys(kill, sys(getpid), 10));
	handle(10, first, 0, bits(12));
	say("kill masked", sys(kill, sys(getpid), 10));
	long both = bits(10) | bits(12), old = 7, pending = 0;
	sys(rt_sigprocmask, 0, &both, &old, 8);
	sys(kill, sys(getpid), 12);
	sys(kill, sys(getpid), 10);
	sys(kill, sys(getpid), 10);
	sys(rt_sigpending, &pending, 8);
	say("old", old);
	say("pending", pending);
	say("unblock", sys(rt_sigprocmask, 1, &both, 0, 8));
	say("bad how", sys(rt_sigprocmask, 7, &both, 0, 8));
	say("bad size", sys(rt_sigprocmask, 0, &both, 0, 4));
}
/* Prints:
first = 10
second = 12
first ends = 1
kill = 0
first = 10
first ends = 2
second = 12
kill masked = 0
old = 0
pending = 2560
first = 10
first ends = 3
second = 12
unblock = 0
bad how = -22
bad size = -22
*/
