/* userfaultfd, missing mode: a fault waits until somebody fills the page; a child touches, the parent answers. */
#include "lab.h"
#include <linux/ioctl.h>
#include <linux/userfaultfd.h>

static struct uffdio_api api = {.api = UFFD_API};
static struct uffdio_register area;
static struct uffdio_copy copy;
static struct uffdio_zeropage zero;
static struct uffd_msg message;
static byte page[PAGE] __attribute__((aligned(PAGE)));

static void program(long *stack)
{
	/* The memory is shared by parent and child (CLONE_VM), the rest is not. */
	byte *memory = map_at(CLEAR, 8 * PAGE, RW, ANONYMOUS), *own = map(4 * PAGE, RW, ANONYMOUS, -1, 0);
	int fd = sys(userfaultfd, 0);

	(void)stack;
	say("api", sys(ioctl, fd, UFFDIO_API, &api));
	area = (struct uffdio_register){.range = {CLEAR, 8 * PAGE}, .mode = UFFDIO_REGISTER_MODE_MISSING};
	say("register", sys(ioctl, fd, UFFDIO_REGISTER, &area));
	fill(page, 'u', PAGE);
	copy = (struct uffdio_copy){.dst = CLEAR, .src = (long)page, .len = PAGE};
	say("copy before a fault", sys(ioctl, fd, UFFDIO_COPY, &copy));
	say("memory[0]", peek(memory));
	say("copy over a page", sys(ioctl, fd, UFFDIO_COPY, &copy));
	poke(own + 3 * PAGE, 0);
	if (!sys(clone, CLONE_VM | 17 /* SIGCHLD */, own + 4 * PAGE, 0, 0, 0)) {
		poke(own, peek(memory + PAGE));		/* waits */
		poke(memory + 2 * PAGE + 5, 1);		/* waits */
		sys(exit, peek(own));
	}
	for (int i = 1; i <= 2; i++) {
		say("read", sys(read, fd, &message, sizeof message));
		say("event", message.event);
		say("flags", message.arg.pagefault.flags);
		say("address", message.arg.pagefault.address);
		if (i == 1) {
			copy.dst = CLEAR + PAGE;
			say("copy", sys(ioctl, fd, UFFDIO_COPY, &copy));
		} else {
			zero = (struct uffdio_zeropage){.range = {CLEAR + 2 * PAGE, PAGE}};
			say("zeropage", sys(ioctl, fd, UFFDIO_ZEROPAGE, &zero));
		}
	}
	sys(wait4, -1, 0, 0, 0);
	say("own", peek(own));
	say("unregister", sys(ioctl, fd, UFFDIO_UNREGISTER, &area.range));
	say("fresh", peek(memory + 5 * PAGE));
}
