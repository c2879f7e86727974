/* A walk of 4000 pseudo-random touches over anonymous, file, shared and read-only memory; now and then a part is dropped. */
#include "lab.h"

static unsigned int seed = 1;
static unsigned int next(void) { return (seed = seed * 1664525 + 1013904223) >> 8; }

static void program(long *stack)
{
	int fd = sys(open, "/data", O_RDONLY);
	byte *area[4] = {map(1024 * PAGE, RW, ANONYMOUS, -1, 0), map(64 * PAGE, RW, MAP_PRIVATE, fd, 0),
			 map(512 * PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0), map(64 * PAGE, PROT_READ, MAP_SHARED, fd, 0)};
	static const int pages[4] = {1024, 64, 512, 64};
	unsigned long sum = 0;

	(void)stack;
	for (int i = 0; i < 4000; i++) {
		int which = next() % 4, page = next() % pages[which];
		byte *at = area[which] + page * PAGE + next() % PAGE;

		if (next() % 2 && which != 3)
			poke(at, i);
		else
			sum = sum * 31 + peek(at);
		if (i % 100 == 99)
			sys(madvise, area[next() % 2], (1 + next() % 64) * PAGE, MADV_DONTNEED);
		if (i % 500 == 499) {
			int first = next() % 512;

			sys(mprotect, area[0] + first * PAGE, 64 * PAGE, PROT_READ);
			sys(mprotect, area[0] + first * PAGE, 64 * PAGE, RW);
		}
	}
	say("sum", sum);
}
