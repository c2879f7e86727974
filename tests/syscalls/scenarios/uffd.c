/* userfaultfd: errors, faults of a thread and of a system call, copies that do not wake, the end of it. */
#include "lab.h"
#include "signals.h"
#include "thread.h"

#include <linux/ioctl.h>
#include <linux/userfaultfd.h>
static struct uffdio_api api = {.api = UFFD_API};
static struct uffdio_register area;
static struct uffdio_copy copy;
static struct uffd_msg message;
static byte page[PAGE] __attribute__((aligned(PAGE)));

static byte *m; static int fd;
static void toucher(long n) { if (n == 1) word = peek(m + PAGE); if (n == 2) word = 100 + sys(write, 99, m + 2 * PAGE, 10); if (n == 3) { int ends[2]; sys(pipe, ends); word = sys(write, ends[1], m + 3 * PAGE + 4090, 10); } }

static void program(long *stack)
{
	(void)stack;
	m = map(16 * PAGE, RW, ANONYMOUS, -1, 0);
	struct uffdio_api second = {.api = UFFD_API}; struct uffdio_range range; long ms[2] = {0, 1000000}, more[2] = {0, 10000000}; say("flags", sys(userfaultfd, 4)); fd = sys(userfaultfd, O_NONBLOCK);
	if (fd < 0) { sys(exit_group, 77); }
	say("register first", sys(ioctl, fd, UFFDIO_REGISTER, &area));
	say("read first", sys(read, fd, &message, 32));
	api.api = 1;
	say("api", sys(ioctl, fd, UFFDIO_API, &api));
	say("zeroed", api.api); api = second;
	say("api", sys(ioctl, fd, UFFDIO_API, &api));
	say("again", sys(ioctl, fd, UFFDIO_API, &second));
	area = (struct uffdio_register){.range = {(long)m, 16 * PAGE}, .mode = 0}; say("mode", sys(ioctl, fd, UFFDIO_REGISTER, &area));
	area.mode = 1; area.range.start++;
	say("unaligned", sys(ioctl, fd, UFFDIO_REGISTER, &area)); area.range.start--; area.range.len = 0;
	say("empty", sys(ioctl, fd, UFFDIO_REGISTER, &area)); area.range.len = 8 * PAGE;
	say("register", sys(ioctl, fd, UFFDIO_REGISTER, &area));
	say("ioctls", area.ioctls & 0x1c);
	say("nothing to read", sys(read, fd, &message, 32));
	say("short", sys(read, fd, &message, 31));
	copy = (struct uffdio_copy){.dst = (long)m + 8 * PAGE, .src = (long)page, .len = PAGE}; say("not registered", sys(ioctl, fd, UFFDIO_COPY, &copy)); say("copy", copy.copy);
	copy = (struct uffdio_copy){.dst = (long)m, .src = 8 * PAGE, .len = PAGE}; say("bad source", sys(ioctl, fd, UFFDIO_COPY, &copy));
	copy = (struct uffdio_copy){.dst = (long)m, .src = (long)page, .len = PAGE, .mode = 4}; say("bad mode", sys(ioctl, fd, UFFDIO_COPY, &copy));
	copy = (struct uffdio_copy){.dst = (long)m + 6 * PAGE, .src = (long)page, .len = 4 * PAGE}; say("too far", sys(ioctl, fd, UFFDIO_COPY, &copy));
	poke(page, 42);
	for (int n = 1; n < 4; n += 2) {
		word = -1; thread(THREAD, stacks[n] + 1024, toucher, n, 0, 0);
		long got; for (int answers = 0; answers < (n == 3 ? 2 : 1); answers++) {
		while ((got = sys(read, fd, &message, 32)) == -EAGAIN) sys(nanosleep, ms, 0);
		say("read", got);
	say("page", (message.arg.pagefault.address - (long)m) / PAGE);
	say("flags", message.arg.pagefault.flags);
		copy = (struct uffdio_copy){.dst = message.arg.pagefault.address, .src = (long)page, .len = PAGE, .mode = 1}; say("copy", sys(ioctl, fd, UFFDIO_COPY, &copy));
		say("waits", word); say("wake", (range.start = message.arg.pagefault.address, range.len = PAGE, sys(ioctl, fd, UFFDIO_WAKE, &range))); sys(nanosleep, more, 0); }
		say("word", word);
	}
	copy = (struct uffdio_copy){.dst = (long)m, .src = (long)page, .len = 4 * PAGE}; say("partly", sys(ioctl, fd, UFFDIO_COPY, &copy)); say("done", copy.copy);
	say("closed", sys(close, fd));
	say("own", peek(m + 7 * PAGE));
}
/* Prints:
flags = -22
register first = -22
read first = -22
api = -22
zeroed = 0
api = 0
again = -22
mode = -22
unaligned = -22
empty = -22
register = 0
ioctls = 28
nothing to read = -11
short = -22
not registered = -2
copy = -2
bad source = -14
bad mode = -22
too far = -2
read = 32
page = 1
flags = 0
copy = 0
waits = -1
wake = 0
word = 42
read = 32
page = 3
flags = 0
copy = 0
waits = -1
wake = 0
read = 32
page = 4
flags = 0
copy = 0
waits = -1
wake = 0
word = 10
partly = -11
done = 4096
closed = 0
own = 0
*/
