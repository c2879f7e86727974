/* execve in a thread: the others end and it takes the process's id. */
#include "lab.h"
#include "signals.h"
#include "thread.h"

static char *again[] = {"x", "again", 0}; static char *path;
static void other(long n) { (void)n; sys(execve, path, again, 0); }

static void program(long *stack)
{
	(void)stack;
	if (*stack == 2) { say("pid is tid", sys(getpid) == sys(gettid)); sys(exit_group, 6); }
	int status; path = (char *)stack[1]; long child = sys(fork);
	if (!child) { thread(THREAD, stacks[1] + 1024, other, 0, 0, 0); for (;;) sys(futex, &word, 128, 0, 0, 0, 0); }
	say("same pid", sys(wait4, -1, &status, 0, 0) == child);
	say("status", status);
}
/* Prints:
pid is tid = 1
same pid = 1
status = 1536
*/
