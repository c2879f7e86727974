/* futex: errors, a timeout, requeue, wake op, and that private and shared ones do not meet. */
#include "lab.h"
#include "signals.h"
#include "thread.h"

static volatile int other, woken;
static void waiter(long n) { long r = sys(futex, n & 1 ? &other : &word, 128, 0, 0, 0, 0); woken += 100 + r; }
static void shared(long n) { (void)n; long r = sys(futex, &word, 0, 0, 0, 0, 0); woken += 100 + r; }
static void settle(void) { long nap[2] = {0, 10000000}; sys(nanosleep, nap, 0); }

static void program(long *stack)
{
	(void)stack;
	long soon[2] = {0, 5000000}, bad[2] = {0, 1000000000};
	say("timeout", sys(futex, &word, 128, 0, soon, 0, 0));
	say("bad", sys(futex, &word, 128, 0, bad, 0, 0));
	say("unaligned", sys(futex, (char *)&word + 1, 128, 0, 0, 0, 0));
	say("op", sys(futex, &word, 128 | 50, 0, 0, 0, 0));
	say("bitset", sys(futex, &word, 128 | 9, 0, 0, 0, 0));
	say("none", sys(futex, &word, 129, 1, 0, 0, 0));
	say("cmp", sys(futex, &word, 132, 1, 1, &other, 7));
	say("negative", sys(futex, &word, 131, -1, 1, &other, 7));
	say("kernel", sys(futex, -4096l, 128, 0, 0, 0, 0));
	thread(THREAD, stacks[1] + 1024, waiter, 0, 0, 0); thread(THREAD, stacks[2] + 1024, waiter, 2, 0, 0); thread(THREAD, stacks[3] + 1024, waiter, 1, 0, 0);
	settle();
	say("requeue", sys(futex, &word, 132, 1, 10, &other, 0)); settle();
	say("woken", woken);
	say("wake op", sys(futex, &word, 133, 1, 10, &other, 1 << 28 | 7 << 12)); settle();
	say("woken", woken);
	say("other", other);
	other = 0;
	say("wake", sys(futex, &other, 129, 10, 0, 0, 0)); settle();
	say("woken", woken);
	thread(THREAD, stacks[1] + 1024, shared, 0, 0, 0); settle();
	say("private wake", sys(futex, &word, 129, 1, 0, 0, 0));
	say("shared wake", sys(futex, &word, 1, 1, 0, 0, 0)); settle();
	say("woken", woken);
}
/* Prints:
timeout = -110
bad = -22
unaligned = -22
op = -38
bitset = -22
none = 0
cmp = -11
negative = -22
kernel = -14
requeue = 2
woken = 100
wake op = 2
woken = 300
other = 7
wake = 0
woken = 300
private wake = 0
shared wake = 1
woken = 400
*/
