/* sigaltstack: in use, too small, disarming itself, switched off. */
#include "lab.h"
#include "signals.h"

static byte other[8192] __attribute__((aligned(16)));
struct ss { byte *sp; int flags; long size; };
static void on(int n) { struct ss now = {0}, set = {other, 0, 8192}; byte here; sys(sigaltstack, 0, &now); say("flags", now.flags); say("inside", &here > other && &here < other + 8192);
 if (n == 10) say("change", sys(sigaltstack, &set, 0)); }

static void program(long *stack)
{
	(void)stack;
	struct ss s = {other, 0, 8192}, old = {0};
	say("off", sys(sigaltstack, 0, &old));
	say("flags", old.flags);
	say("small", sys(sigaltstack, (&(struct ss){other, 0, 2047}), 0)); say("flags?", sys(sigaltstack, (&(struct ss){other, 4, 8192}), 0));
	say("set", sys(sigaltstack, &s, 0));
	handle(10, on, SA_ONSTACK, 0);
	sys(kill, sys(getpid), 10);
	sys(sigaltstack, 0, &old);
	say("size", old.size);
	say("flags", old.flags);
	s.flags = 1 << 31;
	say("autodisarm", sys(sigaltstack, &s, 0));
	handle(12, on, SA_ONSTACK, 0);
	sys(kill, sys(getpid), 12);
	sys(sigaltstack, 0, &old);
	say("size", old.size);
	say("flags", (unsigned)old.flags >> 31);
	s.flags = 2;
	say("disable", sys(sigaltstack, &s, 0));
	sys(sigaltstack, 0, &old);
	say("flags", old.flags);
}
/* Prints:
off = 0
flags = 2
small = -12
flags? = -22
set = 0
flags = 1
inside = 1
change = -1
size = 8192
flags = 0
autodisarm = 0
flags = 2
inside = 1
size = 8192
flags = 1
disable = 0
flags = 2
*/
