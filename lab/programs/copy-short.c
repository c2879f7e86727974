/* read(2) and write(2) into a hole: exactly the bytes before it are done, at every distance; then -EFAULT. */
#include "lab.h"

static const short distances[] = {0, 1, 2, 3, 7, 8, 9, 15, 16, 31, 32, 33, 63, 64, 65, 127, 128, 255, 256, 1000, 4095, 4096, 4097, 8191};

static void program(long *stack)
{
	byte *memory = map_at(CLEAR, 8 * PAGE, RW, ANONYMOUS), *end = memory + 4 * PAGE;
	int fd = sys(open, "/data", O_RDONLY), out = sys(open, "/tmp/out", O_RDWR | O_CREAT | O_TRUNC, 0600);
	int null = sys(open, "/dev/null", O_RDWR), zeros = sys(open, "/dev/zero", O_RDWR);

	(void)stack;
	sys(munmap, end, PAGE);
	for (unsigned int i = 0; i < sizeof distances / sizeof *distances; i++) {
		byte *from = end - distances[i];

		say("distance", distances[i]);
		say("read", sys(pread64, fd, from, 10000, 3));
		say("write", sys(pwrite64, out, from, 10000, 5));
		say("zeros", sys(read, zeros, from, 10000));
		say("null", sys(write, null, from, 10000));
	}
	say("across the hole", sys(pread64, fd, end - 10, 3 * PAGE, 0));
	say("size", sys(lseek, out, 0, 2));
}
