/* execve with strings of several pages: what it keeps of signals and files; an empty argument list gets one. */
#include "lab.h"
#include "signals.h"

static void program(long *stack)
{
	(void)stack;
	static char big[5000]; static char *arguments[4] = {0, big, big + 10, 0}, *environment[] = {big, "A=b", 0};
	long count = *stack;
	if (count == 1) { fill((byte *)big, 'b', 4999); arguments[0] = (char *)stack[1]; handle(10, (void *)1, 0, 0); handle(12, (void *)back, 0, 0); long set = bits(10); sys(rt_sigprocmask, 0, &set, 0, 8); sys(close, 2); say("exec", sys(execve, stack[1], arguments, environment)); }
	say("argc", count); char **v = (char **)stack + 1; struct action a, b; long set = 0;
	for (int i = 1; i < count; i++) { long n = 0; while (v[i][n]) n++; say("length", n); }
	for (int i = count + 1; v[i]; i++) { long n = 0; while (v[i][n]) n++; say("env", n); }
	sys(rt_sigaction, 10, 0, &a, 8);
	sys(rt_sigaction, 12, 0, &b, 8);
	sys(rt_sigprocmask, 0, 0, &set, 8);
	say("ignored", (long)a.handler);
	say("caught", (long)b.handler);
	say("blocked", set);
	say("closed", sys(dup, 2));
	char *none[] = {0};
	if (count == 3) say("empty", sys(execve, v[0], none, none));
}
/* Prints:
argc = 3
length = 4999
length = 4989
env = 4999
env = 3
ignored = 1
caught = 0
blocked = 512
closed = -9
exec = -2
argc = 1
ignored = 1
caught = 0x40100f
blocked = 512
closed = -9
*/
