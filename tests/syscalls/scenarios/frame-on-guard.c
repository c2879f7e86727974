/* A signal frame that cannot be written is a SIGSEGV, caught only where its own frame can be; nor can every one be read. */
#include "lab.h"
#include "signals.h"

static void h(int n) { say("h", n); }
static byte *area;
static void segv(int n) { say("segv", n); sys(exit_group, 4); }
struct ss { byte *sp; int flags; long size; };

static void program(long *stack)
{
	(void)stack;
	int status; struct ss s = {0, 0, 16 * PAGE};
	s.sp = map(16 * PAGE, RW, ANONYMOUS, -1, 0); area = map(4 * PAGE, RW, ANONYMOUS, -1, 0);
	sys(munmap, area, PAGE);
	handle(10, h, 0, 0);
	for (int round = 0; round < 3; round++) {
	if (!sys(fork)) {
		if (round == 1) { sys(sigaltstack, &s, 0); handle(11, segv, SA_ONSTACK, 0); }
		if (round == 2) { handle(11, segv, 0, 0); }
		asm volatile("mov %0, %%rsp; mov $62, %%eax; syscall" : : "r"(area + PAGE + 200), "D"(sys(getpid)), "S"(10l) : "rax", "rcx", "r11", "memory");
	}
	sys(wait4, -1, &status, 0, 0); say("status", status & 127 ? status & 127 : status); }
	if (!sys(fork)) { asm volatile("mov %0, %%rsp; mov $15, %%eax; syscall" : : "r"(8l)); }
	sys(wait4, -1, &status, 0, 0);
	say("status", status & 127);
}
/* Prints:
status = 11
segv = 11
status = 1024
status = 11
status = 11
*/
