/* A private file mapping: a read maps the page cache around it, a write copies one page, written or read before or not. */
#include "lab.h"

static void program(long *stack)
{
	int fd = sys(open, "/data", O_RDONLY);
	byte *memory;
	long sum = 0;

	(void)stack;
	memory = map(65 * PAGE, RW, MAP_PRIVATE, fd, 0);
	say("read 20", peek(memory + 20 * PAGE));	/* and 16..31 with it, as far as alignment goes */
	for (int i = 0; i < 64; i++)
		sum += peek(memory + i * PAGE);
	say("sum", sum);
	poke(memory + 5 * PAGE, 1);			/* mapped for reading: copied */
	sys(munmap, memory, 65 * PAGE);
	memory = map(40 * PAGE, RW, MAP_PRIVATE, fd, 3 * PAGE);	/* not aligned as the file is */
	poke(memory + 7 * PAGE, 2);			/* nothing mapped: copied at once, nothing around it */
	say("own", peek(memory + 7 * PAGE));
	say("next", peek(memory + 8 * PAGE));		/* mapped around, but not over the own page */
	say("own", peek(memory + 7 * PAGE));
	say("last", peek(memory + 39 * PAGE));
	say("file", sys(pread64, fd, (void *)(memory + 30 * PAGE), 1, 10 * PAGE));	/* the kernel copies on write */
}
