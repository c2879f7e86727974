/* fork: MADV_WIPEONFORK, MADV_DONTFORK, shared memory. */
#include "lab.h"

static void program(long *stack)
{
	(void)stack;
	byte *m = map(4 * PAGE, RW, ANONYMOUS, -1, 0), *gone = map(PAGE, RW, ANONYMOUS, -1, 0), *shared = map(PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0); int status;
	fill(m, 'm', 4 * PAGE); poke(gone, 1); poke(shared, 1);
	say("wipe", sys(madvise, m + PAGE, PAGE, 18));
	say("wipe shared", sys(madvise, shared, PAGE, 18));
	say("dontfork", sys(madvise, gone, PAGE, 10));
	if (!sys(fork)) { poke(shared, 9); say("kept", peek(m)); say("wiped", peek(m + PAGE)); say("kept", peek(m + 2 * PAGE)); peek(gone); }
	sys(wait4, -1, &status, 0, 0);
	say("status", status & 127);
	say("mine", peek(m + PAGE));
	say("shared", peek(shared));
}
/* Prints:
wipe = 0
wipe shared = -22
dontfork = 0
kept = 109
wiped = 0
kept = 109
status = 11
mine = 109
shared = 9
*/
