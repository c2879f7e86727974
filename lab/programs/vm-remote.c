/* process_vm_writev reaches into a child's memory: the pages come without a fault of anybody's. */
#include "lab.h"

static struct { void *base; long length; } here, there;
static char text[3 * PAGE] = "remote";

static void program(long *stack)
{
	byte *memory = map_at(CLEAR, 8 * PAGE, RW, ANONYMOUS);
	int pipe[2];
	long child;
	char go;

	(void)stack;
	poke(memory + PAGE, 1);
	sys(pipe, pipe);
	child = sys(fork);
	if (!child) {
		sys(read, pipe[0], &go, 1);
		sys(exit_group, peek(memory + PAGE) + peek(memory + 3 * PAGE));
	}
	here.base = text, here.length = 3 * PAGE;
	there.base = (void *)(memory + PAGE), there.length = 3 * PAGE;
	say("write", sys(process_vm_writev, child, &here, 1, &there, 1, 0));
	say("read", sys(process_vm_readv, child, &here, 1, &there, 1, 0));
	say("own", peek(memory + PAGE));
	sys(write, pipe[1], "g", 1);
	sys(wait4, -1, 0, 0, 0);
}
