/* execve that fails: no such file, bad pointers, too much, no program. */
#include "lab.h"
#include "signals.h"

static void program(long *stack)
{
	(void)stack;
	static char *arguments[] = {"x", 0}, *broken[] = {"x", (char *)8, 0};
	static char big[200000]; static char *huge[] = {big, 0}, *many[2000];
	fill((byte *)big, 'a', 199999);
	say("missing", sys(execve, "/missing", arguments, 0));
	say("empty", sys(execve, "", arguments, 0));
	say("path", sys(execve, 8, arguments, 0));
	say("argv", sys(execve, stack[1], 8, 0));
	say("string", sys(execve, stack[1], broken, 0));
	say("too long", sys(execve, stack[1], huge, 0));
	big[100000] = 0; for (int i = 0; i < 100; i++) many[i] = big;
	say("too many", sys(execve, stack[1], many, 0));
	say("directory", sys(execve, "/dev", arguments, 0));
	say("device", sys(execve, "/dev/null", arguments, 0));
}
/* Prints:
missing = -2
empty = -2
path = -14
argv = -14
string = -14
too long = -7
too many = -7
directory = -13
device = -13
*/
