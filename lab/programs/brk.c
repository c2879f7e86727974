/* brk: the heap grows, shrinks and grows again with fresh pages. */
#include "lab.h"

static void program(long *stack)
{
	byte *heap = (byte *)sys(brk, 0);

	(void)stack;
	say("start", (long)heap);
	say("grow", sys(brk, heap + 6 * PAGE + 10));
	for (int i = 0; i < 6; i++)
		poke(heap + i * PAGE, i + 1);
	peek(heap + 6 * PAGE);				/* the last page is there in full */
	say("shrink", sys(brk, heap + 2 * PAGE));
	say("kept", peek(heap + PAGE));
	say("grow", sys(brk, heap + 4 * PAGE));
	say("fresh", peek(heap + 3 * PAGE));
	say("too much", sys(brk, 1ul << 46));
	say("below", sys(brk, heap - PAGE));
}
