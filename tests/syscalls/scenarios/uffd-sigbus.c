/* userfaultfd with UFFD_FEATURE_SIGBUS: -EFAULT and SIGBUS at once. */
#include "lab.h"
#include "signals.h"

#include <linux/ioctl.h>
#include <linux/userfaultfd.h>
static struct uffdio_api api = {.api = UFFD_API};
static struct uffdio_register area;
static struct uffdio_copy copy;
static struct uffd_msg message;
static byte page[PAGE] __attribute__((aligned(PAGE)));

static byte *m; static void h(int n, int *info, long *c) { say("signal", n); say("code", info[2]); say("address", *(byte **)(info + 4) == m); sys(exit_group, 0); (void)c; }

static void program(long *stack)
{
	(void)stack;
	m = map(4 * PAGE, RW, ANONYMOUS, -1, 0); int fd = sys(userfaultfd, 0); (void)copy, (void)message, (void)page;
	if (fd < 0) sys(exit_group, 77);
	api.features = UFFD_FEATURE_SIGBUS; sys(ioctl, fd, UFFDIO_API, &api); area = (struct uffdio_register){.range = {(long)m, 4 * PAGE}, .mode = 1}; sys(ioctl, fd, UFFDIO_REGISTER, &area);
	int ends[2];
	sys(pipe, ends);
	say("write", sys(write, ends[1], m, 10));
	handle(7, h, SA_SIGINFO, 0); poke(m, 1);
}
/* Prints:
write = -14
signal = 7
code = 2
address = 1
*/
