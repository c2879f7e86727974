/* A huge page is split by mprotect, munmap and madvise on a part of it, and moves whole or in parts. */
#include "lab.h"

static byte *huge(int number)
{
	byte *memory = map_at(CLEAR + number * 8 * HUGE, 2 * HUGE, RW, ANONYMOUS);

	sys(madvise, memory, 2 * HUGE, MADV_HUGEPAGE);
	poke(memory, 1);
	poke(memory + HUGE, 1);
	return memory;
}

static void program(long *stack)
{
	byte *memory = huge(0);

	(void)stack;
	say("mprotect", sys(mprotect, memory + 4 * PAGE, PAGE, PROT_READ));
	poke(memory + 5 * PAGE, 1);
	say("read-only", sys(uname, memory + 4 * PAGE));
	say("mprotect", sys(mprotect, memory, 2 * HUGE, PROT_READ));
	say("mprotect", sys(mprotect, memory, 2 * HUGE, RW));
	poke(memory + 4 * PAGE, 1);
	poke(memory + HUGE + PAGE, 1);
	memory = huge(1);
	say("munmap", sys(munmap, memory + 10 * PAGE, PAGE));
	poke(memory + 11 * PAGE, 1);
	say("hole", sys(uname, memory + 10 * PAGE));
	memory = huge(2);
	say("dontneed", sys(madvise, memory + 3 * PAGE, 2 * PAGE, MADV_DONTNEED));
	say("fresh", peek(memory + 3 * PAGE));
	poke(memory + 4 * PAGE, 1);
	memory = huge(3);
	memory = (byte *)sys(mremap, memory, 2 * HUGE, 2 * HUGE, 3, CLEAR + 40 * 8 * HUGE);
	poke(memory + 20 * PAGE, 1);
	memory = (byte *)sys(mremap, memory, HUGE, HUGE, 3, CLEAR + 50 * 8 * HUGE + 7 * PAGE);
	poke(memory + 20 * PAGE, 1);
	memory = huge(4);
	say("dontneed all", sys(madvise, memory, 2 * HUGE, MADV_DONTNEED));
	say("huge zero page", peek(memory));
	poke(memory + HUGE, 2);
}
