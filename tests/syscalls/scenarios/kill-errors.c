/* kill, tkill, tgkill: whom they do not find, and which numbers are none. */
#include "lab.h"
#include "signals.h"

static void program(long *stack)
{
	(void)stack;
	say("esrch", sys(kill, 999999, 0));
	say("einval", sys(kill, sys(getpid), 65));
	say("zero", sys(kill, sys(getpid), 0));
	say("tkill", sys(tkill, 0, 10));
	say("tgkill", sys(tgkill, sys(getpid), 999999, 10));
	say("wrong group", sys(tgkill, 1, sys(gettid), 0));
	say("tgkill 0", sys(tgkill, sys(getpid), sys(gettid), 0));
	say("einval", sys(tgkill, sys(getpid), sys(gettid), 65));
}
/* Prints:
esrch = -3
einval = -22
zero = 0
tkill = -22
tgkill = -3
wrong group = -3
tgkill 0 = 0
einval = -22
*/
