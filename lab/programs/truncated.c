/* A file made shorter under its mapping: what is beyond its end is SIGBUS, in the kernel -EFAULT. */
#include "lab.h"

static void program(long *stack)
{
	int fd = sys(open, "/tmp/truncated", O_RDWR | O_CREAT | O_TRUNC, 0600);
	byte *shared = map(8 * PAGE, RW, MAP_SHARED, fd, 0), *private = map(8 * PAGE, RW, MAP_PRIVATE, fd, 0);

	(void)stack;
	say("kernel, empty file", sys(uname, shared));
	say("ftruncate", sys(ftruncate, fd, 8 * PAGE));
	for (int i = 0; i < 8; i++)
		poke(shared + i * PAGE, i + 1);
	say("private", peek(private + 6 * PAGE));
	poke(private + 5 * PAGE, 55);
	say("ftruncate", sys(ftruncate, fd, 3 * PAGE + 100));
	say("inside", peek(shared + 3 * PAGE));
	say("end of the last page", peek(shared + 3 * PAGE + 200));
	poke(shared + 3 * PAGE + 200, 9);
	say("kernel, beyond", sys(uname, shared + 4 * PAGE));
	say("kernel reads, beyond", sys(access, private + 6 * PAGE, 0));
	say("own copy", sys(access, private + 5 * PAGE, 0));	/* truncation takes it too */
	sys(unlink, "/tmp/truncated");
	peek(shared + 4 * PAGE);			/* SIGBUS */
}
