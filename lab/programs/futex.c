/* Copies with page faults disabled: futex(2) holds a lock, so its access fails, is retried with faults enabled, and done again. */
#include "lab.h"

#define WAIT_PRIVATE 128
#define WAKE_OP_PRIVATE (128 | 5)
#define ADD_ONE (1 << 28 | 1 << 12)	/* FUTEX_OP_ADD 1, compare with 0 */

static void program(long *stack)
{
	byte *memory = map_at(CLEAR, 8 * PAGE, RW, ANONYMOUS), *file;
	int fd = sys(open, "/data", O_RDONLY);

	(void)stack;
	say("wait, nothing there", sys(futex, memory, WAIT_PRIVATE, 7, 0, 0, 0));	/* -EAGAIN: 0 is not 7 */
	say("wait, there", sys(futex, memory, WAIT_PRIVATE, 7, 0, 0, 0));
	say("add, nothing there", sys(futex, memory, WAKE_OP_PRIVATE, 1, 1, memory + PAGE, ADD_ONE));
	peek(memory + 2 * PAGE);
	say("add, zero page", sys(futex, memory, WAKE_OP_PRIVATE, 1, 1, memory + 2 * PAGE, ADD_ONE));
	say("value", peek(memory + PAGE) + peek(memory + 2 * PAGE));
	file = map(8 * PAGE, RW, MAP_PRIVATE, fd, 0);
	say("add, file", sys(futex, memory, WAKE_OP_PRIVATE, 1, 1, file + PAGE, ADD_ONE));
	sys(mprotect, memory + 3 * PAGE, PAGE, PROT_READ);
	say("add, read-only", sys(futex, memory, WAKE_OP_PRIVATE, 1, 1, memory + 3 * PAGE, ADD_ONE));
	say("wait, hole", sys(futex, memory + 8 * PAGE, WAIT_PRIVATE, 7, 0, 0, 0));
	say("wait, shared memory", sys(futex, memory + 4 * PAGE, 0, 7, 0, 0, 0));	/* brings the page for its key */
}
