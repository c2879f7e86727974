/* madvise: DONTNEED drops pages at once, POPULATE_READ and _WRITE bring them without a fault, FREE gives them up later. */
#include "lab.h"

static void program(long *stack)
{
	byte *memory = map(32 * PAGE, RW, ANONYMOUS, -1, 0), *file;
	int fd = sys(open, "/data", O_RDONLY);

	(void)stack;
	for (int i = 0; i < 4; i++)
		poke(memory + i * PAGE, i + 1);
	say("dontneed", sys(madvise, memory, 2 * PAGE, MADV_DONTNEED));
	say("fresh", peek(memory));
	poke(memory + PAGE, 1);
	say("kept", peek(memory + 2 * PAGE));
	say("populate read", sys(madvise, memory + 4 * PAGE, 4 * PAGE, MADV_POPULATE_READ));
	say("zero", peek(memory + 4 * PAGE));
	poke(memory + 5 * PAGE, 5);
	say("populate write", sys(madvise, memory + 6 * PAGE, 6 * PAGE, MADV_POPULATE_WRITE));
	poke(memory + 6 * PAGE, 6);
	poke(memory + 11 * PAGE, 11);
	say("free", sys(madvise, memory + 2 * PAGE, 2 * PAGE, MADV_FREE));
	say("still there", peek(memory + 2 * PAGE));
	poke(memory + 3 * PAGE, 3);
	sys(mprotect, memory + 16 * PAGE, PAGE, PROT_READ);
	say("populate write, read-only", sys(madvise, memory + 16 * PAGE, PAGE, MADV_POPULATE_WRITE));
	sys(munmap, memory + 20 * PAGE, PAGE);
	say("populate over a hole", sys(madvise, memory + 19 * PAGE, 4 * PAGE, MADV_POPULATE_READ));
	say("dontneed over a hole", sys(madvise, memory + 19 * PAGE, 4 * PAGE, MADV_DONTNEED));
	file = map(64 * PAGE, RW, MAP_PRIVATE, fd, 0);
	poke(file + 2 * PAGE, 99);
	say("populate file", sys(madvise, file, 32 * PAGE, MADV_POPULATE_READ));
	say("own page", peek(file + 2 * PAGE));
	say("dontneed", sys(madvise, file, 32 * PAGE, MADV_DONTNEED));
	say("the file's", peek(file + 2 * PAGE));
	say("unknown", sys(madvise, file, PAGE, 77));
}
