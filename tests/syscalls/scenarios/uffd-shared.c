/* userfaultfd in shared memory, with thread ids and exact addresses; a fork does not have it. */
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

static byte *m;
static void toucher(long n) { poke(m + n * PAGE, 1); word = 3 + peek(m + n * PAGE + 1); }

static void program(long *stack)
{
	(void)stack;
	m = map(4 * PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0); int fd = sys(userfaultfd, 0);
	if (fd < 0) sys(exit_group, 77);
	api.features = UFFD_FEATURE_THREAD_ID | UFFD_FEATURE_EXACT_ADDRESS;
	sys(ioctl, fd, UFFDIO_API, &api); area = (struct uffdio_register){.range = {(long)m, 4 * PAGE}, .mode = 1}; say("register", sys(ioctl, fd, UFFDIO_REGISTER, &area));
	long tid = thread(THREAD, stacks[1] + 1024, toucher, 1, 0, 0);
	say("read", sys(read, fd, &message, 32));
	say("flags", message.arg.pagefault.flags);
	say("address", message.arg.pagefault.address - (long)m);
	say("tid", message.arg.pagefault.feat.ptid == tid);
	struct uffdio_zeropage zero = {.range = {(long)m + PAGE, PAGE}}; say("zero", sys(ioctl, fd, UFFDIO_ZEROPAGE, &zero)); sys(nanosleep, ((long[]){0, 10000000}), 0); say("word", word);
	poke(page, 9); copy = (struct uffdio_copy){.dst = (long)m + 2 * PAGE, .src = (long)page, .len = PAGE}; say("copy", sys(ioctl, fd, UFFDIO_COPY, &copy)); say("there", peek(m + 2 * PAGE)); say("again", sys(ioctl, fd, UFFDIO_COPY, &copy));
	int status; if (!sys(fork)) sys(exit, peek(m + 2 * PAGE) + peek(m + 3 * PAGE)); sys(wait4, -1, &status, 0, 0); say("child", status >> 8);
	handle(14, (void *)1, 0, 0);
}
/* Prints:
register = 0
read = 32
flags = 1
address = 4096
tid = 1
zero = 0
word = 3
copy = 0
there = 9
again = -17
child = 9
*/
