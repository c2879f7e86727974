/* O_DIRECT: the disk reads into and writes from the pages themselves, which the kernel brings without a fault. */
#include "lab.h"

#ifndef O_DIRECT
#define O_DIRECT 040000
#endif

static void program(long *stack)
{
	byte *memory = map_at(CLEAR, 8 * PAGE, RW, ANONYMOUS);
	int fd = sys(open, "/disk/direct", O_RDWR | O_CREAT | O_TRUNC | O_DIRECT, 0600);

	(void)stack;
	peek(memory);					/* the zero page: the disk may read from it */
	say("write", sys(pwrite64, fd, memory, 2 * PAGE, 0));
	say("read", sys(pread64, fd, memory, 2 * PAGE, 0));	/* and not write to it */
	poke(memory + PAGE, 1);
	if (!sys(fork)) {
		say("child", sys(pread64, fd, memory, 2 * PAGE, 0));	/* breaks the sharing first */
		sys(exit_group, 0);
	}
	sys(wait4, -1, 0, 0, 0);
	sys(munmap, memory + 5 * PAGE, PAGE);
	say("into a hole", sys(pread64, fd, memory + 4 * PAGE, 2 * PAGE, 0));
	sys(unlink, "/disk/direct");
}
