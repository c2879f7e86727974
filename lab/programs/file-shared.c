/* A shared file mapping: read first then written, written first, and what a later read(2) and another mapping see. */
#include "lab.h"

static void program(long *stack)
{
	char buffer[16];
	int fd = sys(open, "/tmp/shared", O_RDWR | O_CREAT | O_TRUNC, 0600);
	byte *memory, *second;

	(void)stack;
	for (int i = 0; i < 24; i++) {
		buffer[0] = i;
		sys(pwrite64, fd, buffer, 1, i * PAGE);
	}
	memory = map(24 * PAGE, RW, MAP_SHARED, fd, 0);
	second = map(24 * PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
	say("read", peek(memory + 3 * PAGE));
	poke(memory + 3 * PAGE, 33);			/* is it writable already? */
	poke(memory + 20 * PAGE, 44);			/* not mapped: written first */
	say("second", peek(second + 3 * PAGE));
	say("second", peek(second + 20 * PAGE));
	sys(pread64, fd, buffer, 1, 3 * PAGE);
	say("file", buffer[0]);
	say("msync", sys(msync, memory, 24 * PAGE, MS_SYNC));
	poke(memory + 3 * PAGE, 34);
	say("second", peek(second + 3 * PAGE));
	sys(unlink, "/tmp/shared");
}
