/* MAP_POPULATE brings every page when it maps; MAP_LOCKED as well; PROT_NONE and MAP_NONBLOCK bring none. */
#include "lab.h"

static void program(long *stack)
{
	int fd = sys(open, "/data", O_RDONLY);
	byte *memory = map(6 * PAGE, RW, ANONYMOUS | MAP_POPULATE, -1, 0);

	(void)stack;
	poke(memory + 5 * PAGE, 1);
	memory = map(6 * PAGE, PROT_READ, ANONYMOUS | MAP_POPULATE, -1, 0);
	say("zero", peek(memory));
	memory = map(40 * PAGE, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
	say("file", peek(memory + 39 * PAGE));
	memory = map(4 * PAGE, RW, MAP_PRIVATE | MAP_POPULATE, fd, 0);
	poke(memory + PAGE, 1);
	memory = map(4 * PAGE, RW, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	poke(memory + 3 * PAGE, 1);
	memory = map(4 * PAGE, PROT_NONE, ANONYMOUS | MAP_POPULATE, -1, 0);
	memory = map(4 * PAGE, RW, ANONYMOUS | MAP_POPULATE | MAP_NONBLOCK, -1, 0);
	poke(memory, 1);
	memory = map(4 * PAGE, RW, ANONYMOUS | MAP_LOCKED, -1, 0);
	poke(memory + 2 * PAGE, 1);
	memory = map(70 * PAGE, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);	/* past the end: stops there */
	say("last", peek(memory + 64 * PAGE));
}
