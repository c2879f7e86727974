/* Shared anonymous memory and memfd: pages appear on the first touch, reads too; they stay for others. */
#include "lab.h"

static void program(long *stack)
{
	byte *memory = map(8 * PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0), *view;
	int fd = sys(memfd_create, "lab", 0);

	(void)stack;
	say("read", peek(memory));			/* a page, not the zero page */
	poke(memory, 1);
	poke(memory + PAGE, 2);
	if (!sys(fork)) {				/* shared mappings are not copied by fork */
		peek(memory);
		poke(memory + PAGE, 22);
		poke(memory + 2 * PAGE, 33);
		sys(exit_group, 0);
	}
	sys(wait4, -1, 0, 0, 0);
	say("memory[1]", peek(memory + PAGE));
	say("memory[2]", peek(memory + 2 * PAGE));
	say("ftruncate", sys(ftruncate, fd, 20 * PAGE));
	view = map(20 * PAGE, RW, MAP_SHARED, fd, 0);
	say("write", sys(pwrite64, fd, "xyz", 3, 4 * PAGE));
	say("view", peek(view + 4 * PAGE));		/* in the cache already */
	poke(view + 5 * PAGE, 5);
	say("view", peek(view + 19 * PAGE));
	say("hole", sys(fallocate, fd, 3 /* punch a hole, keep the size */, 4 * PAGE, PAGE));
	say("view", peek(view + 4 * PAGE));		/* gone: a fresh zero */
	view = map(20 * PAGE, RW, MAP_PRIVATE, fd, 0);
	peek(view + 5 * PAGE);
	poke(view + 5 * PAGE, 6);
	poke(view + 9 * PAGE, 6);			/* a hole in the file: filled, then copied */
}
