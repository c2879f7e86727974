/* vfork: the parent waits for the child's exit or its execve; the memory is the same. */
#include "lab.h"
#include "signals.h"

static void program(long *stack)
{
	(void)stack;
	volatile int shared = 0; int status;
	static char *arguments[] = {"x", 0};
	long child = sys(vfork);
	if (!child) { shared = 5; sys(exit, 2); }
	say("shared", shared);
	sys(wait4, child, &status, 0, 0);
	say("status", status);
	child = sys(vfork);
	if (!child) { shared = sys(execve, "/missing", arguments, 0); sys(exit, 3); }
	say("exec", shared);
	sys(wait4, child, &status, 0, 0);
	say("status", status);
}
/* Prints:
shared = 5
status = 512
exec = -2
status = 768
*/
