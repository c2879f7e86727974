/* mlock: brings all pages, writable ones as own pages, read-only file ones as the cache's; MLOCK_ONFAULT brings none. */
#include "lab.h"

static void program(long *stack)
{
	byte *memory = map(8 * PAGE, RW, ANONYMOUS, -1, 0), *lazy = map(8 * PAGE, RW, ANONYMOUS, -1, 0), *file;
	int fd = sys(open, "/data", O_RDONLY);

	(void)stack;
	peek(memory + PAGE);				/* the zero page: replaced by mlock */
	say("mlock", sys(mlock, memory, 4 * PAGE));
	poke(memory + PAGE, 1);
	poke(memory + 2 * PAGE, 1);
	say("onfault", sys(mlock2, lazy, 4 * PAGE, 1));
	poke(lazy, 1);
	peek(lazy + PAGE);
	file = map(32 * PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
	say("mlock file", sys(mlock, file, 20 * PAGE));
	say("read", peek(file + 19 * PAGE));
	say("read", peek(file + 20 * PAGE));
	say("munlock", sys(munlock, memory, 2 * PAGE));
	say("dontneed", sys(madvise, memory + 2 * PAGE, PAGE, MADV_DONTNEED));	/* -EINVAL: locked */
	say("mlockall", sys(mlockall, 2 /* MCL_FUTURE */));
	memory = map(4 * PAGE, RW, ANONYMOUS, -1, 0);
	poke(memory + 3 * PAGE, 1);			/* mmap has brought it */
}
