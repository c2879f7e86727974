/* A thousand reads and writes at pseudo-random places of memory with holes, read-only parts and pages that are not there. */
#include "lab.h"

static unsigned int seed = 3;
static unsigned int next(void) { return (seed = seed * 1664525 + 1013904223) >> 8; }

static void program(long *stack)
{
	int fd = sys(open, "/data", O_RDONLY), out = sys(open, "/tmp/out", O_RDWR | O_CREAT | O_TRUNC, 0600);
	byte *memory = map_at(CLEAR, 512 * PAGE, RW, ANONYMOUS);
	unsigned long sum = 0;

	(void)stack;
	for (int i = 0; i < 20; i++) {
		sys(munmap, memory + next() % 512 * PAGE, PAGE);
		sys(mprotect, memory + next() % 512 * PAGE, PAGE, PROT_READ);
	}
	for (int i = 0; i < 1000; i++) {
		byte *at = memory + next() % 500 * PAGE + next() % PAGE;
		long length = next() % (6 * PAGE), offset = next() % (60 * PAGE);
		long result = next() % 2 ? sys(pread64, fd, at, length, offset) : sys(pwrite64, out, at, length, offset % (16 * PAGE));

		sum = sum * 31 + result;
		if (i % 20 == 19)
			sys(madvise, memory + next() % 400 * PAGE, 100 * PAGE, MADV_DONTNEED);
	}
	say("sum", sum);
	sys(unlink, "/tmp/out");
}
