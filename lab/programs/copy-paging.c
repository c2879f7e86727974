/* read(2) and write(2) bring the pages they need: anonymous, zero, file, copied on write, in the middle of a copy. */
#include "lab.h"

static void program(long *stack)
{
	byte *memory = map_at(CLEAR, 16 * PAGE, RW, ANONYMOUS), *file;
	int fd = sys(open, "/data", O_RDONLY), out = sys(open, "/tmp/out", O_RDWR | O_CREAT | O_TRUNC, 0600);

	(void)stack;
	say("read into nothing", sys(pread64, fd, memory + 100, 3 * PAGE, 50));
	say("byte", peek(memory + 100 + 2 * PAGE));
	peek(memory + 4 * PAGE);
	say("read into the zero page", sys(pread64, fd, memory + 4 * PAGE, 10, 0));
	say("write from nothing", sys(pwrite64, out, memory + 6 * PAGE, 3 * PAGE, 0));	/* zero pages, copied with faults disabled */
	file = map(32 * PAGE, RW, MAP_PRIVATE, fd, 0);
	say("write from a file", sys(pwrite64, out, file + 3 * PAGE, 20 * PAGE, 0));
	say("read over a file", sys(pread64, fd, file + 5 * PAGE + 10, 2 * PAGE, 0));
	say("own", peek(file + 5 * PAGE + 10));
	say("from itself", sys(pread64, out, memory + 12 * PAGE, PAGE, 0));
	if (!sys(fork)) {
		say("read over a shared page", sys(pread64, fd, memory + 200, 2 * PAGE, 0));
		sys(exit_group, 0);
	}
	sys(wait4, -1, 0, 0, 0);
	say("read over the last owner's", sys(pread64, fd, memory + 200, 2 * PAGE, 0));
}
