/* A memory limit that runs out: a child in a small cgroup touches page after page until the kernel kills it. */
#include "lab.h"

static void program(long *stack)
{
	long status = 0, free;
	byte *memory = map(64 << 20, RW, ANONYMOUS, -1, 0);
	int fd = sys(open, "/cgroup/small/cgroup.procs", O_WRONLY);

	(void)stack;
	say("nohuge", sys(madvise, memory, 64 << 20, MADV_NOHUGEPAGE));
	if (!sys(fork)) {
		sys(write, fd, "0", 1);
		for (free = 0; free < 16384; free++)
			poke(memory + free * PAGE, 1);
		sys(exit_group, 0);
	}
	sys(wait4, -1, &status, 0, 0);
	say("status", status);				/* killed by signal 9 */
}
