/* Accessed and dirty: MADV_COLD clears "accessed", msync makes clean; what is touched after that is seen in smaps at the end. */
#include "lab.h"

static void program(long *stack)
{
	byte *memory = map_at(CLEAR, 16 * PAGE, RW, ANONYMOUS), *file;
	int fd = sys(open, "/disk/accessed", O_RDWR | O_CREAT | O_TRUNC, 0600);

	(void)stack;
	for (int i = 0; i < 16; i++)
		poke(memory + i * PAGE, 1);
	say("cold", sys(madvise, memory, 16 * PAGE, 20 /* MADV_COLD */));
	peek(memory + 2 * PAGE);			/* no fault: the CPU sets the bit */
	poke(memory + 3 * PAGE, 1);
	sys(uname, memory + 5 * PAGE);
	say("ftruncate", sys(ftruncate, fd, 16 * PAGE));
	file = map(16 * PAGE, RW, MAP_SHARED, fd, 0);
	for (int i = 0; i < 8; i++)
		poke(file + i * PAGE, i + 1);
	say("msync", sys(msync, file, 16 * PAGE, MS_SYNC));
	poke(file + PAGE, 11);				/* clean and write-protected again: a fault */
	peek(file + 2 * PAGE);
	say("write-only page", peek(file + 10 * PAGE));
	poke(file + 10 * PAGE, 1);
	sys(unlink, "/disk/accessed");
}
