/* A file on a disk (ext2): major faults and readahead on a cold page cache, minor ones around, shared writes made known. */
#include "lab.h"

static void program(long *stack)
{
	int fd = sys(open, "/disk/data", O_RDWR);
	byte *memory;

	(void)stack;
	say("fadvise", sys(fadvise64, fd, 0, 0, POSIX_FADV_DONTNEED));
	memory = map(64 * PAGE, RW, MAP_SHARED, fd, 0);
	say("read", peek(memory + 40 * PAGE));		/* major */
	say("read", peek(memory + 41 * PAGE));
	say("read", peek(memory + 63 * PAGE));
	say("read", peek(memory));
	for (int i = 0; i < 64; i++)
		peek(memory + i * PAGE);
	poke(memory + 40 * PAGE, peek(memory + 40 * PAGE));	/* page_mkwrite */
	poke(memory + 40 * PAGE, peek(memory + 40 * PAGE));
	poke(memory + 2 * PAGE, peek(memory + 2 * PAGE));
}
