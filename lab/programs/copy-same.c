/* A file written from its own mapping: the page to write is locked, so the copy runs with faults disabled and is retried. */
#include "lab.h"

static void program(long *stack)
{
	int out = sys(open, "/tmp/out", O_RDWR | O_CREAT | O_TRUNC, 0600), disk = sys(open, "/disk/out", O_RDWR | O_CREAT | O_TRUNC, 0600);
	byte *memory;

	(void)stack;
	sys(ftruncate, out, 8 * PAGE);
	memory = map(8 * PAGE, RW, MAP_SHARED, out, 0);
	say("hole to itself", sys(pwrite64, out, memory + 3 * PAGE, PAGE, 3 * PAGE));
	say("page to its neighbour", sys(pwrite64, out, memory + 5 * PAGE - 8, 16, 5 * PAGE));
	say("across pages", sys(pwrite64, out, memory + 6 * PAGE + 100, PAGE, PAGE));
	sys(ftruncate, disk, 8 * PAGE);
	memory = map(8 * PAGE, RW, MAP_SHARED, disk, 0);
	say("hole to itself", sys(pwrite64, disk, memory + 3 * PAGE, PAGE, 3 * PAGE));
	say("page to its neighbour", sys(pwrite64, disk, memory + 5 * PAGE - 8, 16, 5 * PAGE));
	sys(unlink, "/tmp/out");
	sys(unlink, "/disk/out");
}
