/* munmap: a hole in the middle; what is mapped there again is fresh. */
#include "lab.h"

static void program(long *stack)
{
	byte *memory = map_at(CLEAR, 8 * PAGE, RW, ANONYMOUS);

	(void)stack;
	for (int i = 0; i < 8; i++)
		poke(memory + i * PAGE, i + 1);
	say("munmap", sys(munmap, memory + 2 * PAGE, 3 * PAGE));
	say("left", peek(memory + PAGE) + peek(memory + 5 * PAGE));
	say("hole", sys(uname, memory + 2 * PAGE));			/* -EFAULT */
	say("mmap", sys(mmap, memory + 3 * PAGE, PAGE, RW, ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
	say("fresh", peek(memory + 3 * PAGE));
	say("over", sys(mmap, memory + PAGE, 2 * PAGE, RW, ANONYMOUS | MAP_FIXED, -1, 0));
	say("fresh", peek(memory + PAGE));
	poke(memory + 2 * PAGE, 2);
	say("taken", sys(mmap, memory, PAGE, RW, ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
	say("nothing there", sys(munmap, memory + 64 * PAGE, PAGE));
	say("unaligned", sys(munmap, memory + 1, PAGE));
}
