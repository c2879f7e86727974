/* clone: a thread's TLS, its id set and cleared with a wake, no child of anybody; flags that do not go together. */
#include "lab.h"
#include "signals.h"
#include "thread.h"

static long seen[4];
static void body(long n) { asm("mov %%fs:0, %0" : "=r"(seen[n])); word += n; sys(futex, &word, 1, 10, 0, 0, 0); }

static void program(long *stack)
{
	(void)stack;
	long own[2] = {0x1234, 0}; int status;
	say("thread", thread(THREAD | CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID, stacks[1] + 1024, body, 1, (int *)&tid, (long)own) > 0);
	say("tid set", tid > 0);
	while (tid) sys(futex, &tid, 0, tid, 0, 0, 0);
	say("cleared", tid);
	say("word", word);
	say("tls", seen[1]);
	say("no child", sys(wait4, -1, &status, 0x40000000, 0));
	say("sighand", thread(CLONE_THREAD | CLONE_VM, stacks[1] + 1024, body, 1, 0, 0));
	say("vm", thread(CLONE_SIGHAND, stacks[1] + 1024, body, 1, 0, 0));
	say("tls", thread(THREAD | CLONE_SETTLS, stacks[1] + 1024, body, 1, 0, -4096));
}
/* Prints:
thread = 1
tid set = 1
cleared = 0
word = 1
tls = 4660
no child = -10
sighand = -22
vm = -22
tls = -1
*/
