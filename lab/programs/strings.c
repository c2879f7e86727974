/* Path names: strncpy_from_user over page ends, up to a hole, too long, and without an end. */
#include "lab.h"

static void program(long *stack)
{
	byte *memory = map_at(CLEAR, 8 * PAGE, RW, ANONYMOUS), *end = memory + 4 * PAGE;

	(void)stack;
	sys(munmap, end, PAGE);
	for (int i = 1; i < 20; i++)
		poke(end - i, '/');
	say("no end before the hole", sys(access, end - 12, 0));
	for (int i = 0; i < 10; i++) {
		poke(end - 1 - i, 0);
		say("ends before the hole", sys(access, end - 12, 0));
	}
	for (int i = 0; i < 12; i++)
		poke(memory + PAGE - 6 + i, '/');
	poke(memory + PAGE + 6, 0);
	say("across two pages", sys(access, memory + PAGE - 6, 0));
	say("zero page", sys(access, memory + 2 * PAGE, 0));
	fill(memory + 2 * PAGE, '/', 2 * PAGE - 100);
	say("too long", sys(access, memory + 2 * PAGE, 0));
	say("not there", sys(access, memory + 6 * PAGE, 0));
}
