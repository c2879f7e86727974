/* System calls with bad pointers: -EFAULT, wherever the pointer points to. */
#include "lab.h"

static void program(long *stack)
{
	byte *memory = map_at(CLEAR, 4 * PAGE, RW, ANONYMOUS);
	int fd = sys(open, "/data", O_RDONLY), out = sys(open, "/tmp/out", O_RDWR | O_CREAT | O_TRUNC, 0600);

	(void)stack;
	sys(munmap, memory + 2 * PAGE, PAGE);
	sys(mprotect, memory + 3 * PAGE, PAGE, PROT_NONE);
	say("read, null", sys(read, fd, 0, 10));
	say("read, hole", sys(read, fd, memory + 2 * PAGE, 10));
	say("read, no rights", sys(read, fd, memory + 3 * PAGE, 10));
	say("read, own text", sys(read, fd, program, 10));
	say("read, kernel", sys(read, fd, 0xffffffff81000000, 10));
	say("read, not canonical", sys(read, fd, 0x800000000000, 10));
	say("read, last page", sys(read, fd, 0x7ffffffff000 - 5, 10));
	say("write, null", sys(write, out, 0, 10));
	say("write, hole", sys(write, out, memory + 2 * PAGE, 10));
	say("write, no rights", sys(write, out, memory + 3 * PAGE, 10));
	say("write, kernel", sys(write, out, 0xffffffff81000000, 10));
	say("open, null", sys(open, 0, O_RDONLY));
	say("open, hole", sys(open, memory + 2 * PAGE - 1, O_RDONLY));
	say("stat", sys(stat, "/data", memory + 2 * PAGE));
	say("pipe", sys(pipe, memory + 2 * PAGE - 4));
	say("getrlimit", sys(getrlimit, 3, memory + 2 * PAGE - 8));
	say("setrlimit", sys(setrlimit, 3, memory + 2 * PAGE - 8));
	say("nanosleep", sys(nanosleep, memory + 2 * PAGE, 0));
	say("clock_gettime", sys(clock_gettime, 1, memory + 2 * PAGE));
	say("rt_sigaction", sys(rt_sigaction, 10, memory + 2 * PAGE, 0, 8));
	say("rt_sigaction", sys(rt_sigaction, 10, 0, memory + 2 * PAGE, 8));
	say("mincore", sys(mincore, memory, PAGE, memory + 2 * PAGE));
	say("execve", sys(execve, memory + 2 * PAGE, 0, 0));
	say("execve", sys(execve, "/lab/copy-fault", memory + 2 * PAGE, 0));
	say("wait4", sys(wait4, -1, memory + 2 * PAGE, 0, 0));
	say("readv", sys(readv, fd, memory + 2 * PAGE, 1));
	say("still here", sys(getpid) > 0);
}
