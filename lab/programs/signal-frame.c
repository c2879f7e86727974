/* A signal frame where the stack cannot grow: the kernel's copy fails and the process dies of SIGSEGV. */
#include "lab.h"

struct action { void *handler; unsigned long flags; void (*restorer)(void); unsigned long mask; };
void back(void);
asm("back: mov $15, %eax\n\tsyscall\n");
static void caught(int number) { say("caught", number); }

static void program(long *stack)
{
	struct action action = {caught, 0x04000000, back, 0};
	byte *memory = map_at(CLEAR, 8 * PAGE, RW, ANONYMOUS);

	(void)stack;
	sys(rt_sigaction, 10, &action, 0, 8);
	say("kill", sys(kill, sys(getpid), 10));	/* on the stack that is there */
	asm volatile("mov %%rsp, %%rbx; mov %0, %%rsp; mov $62, %%eax; syscall; mov %%rbx, %%rsp"
		     : : "r"(memory + 8 * PAGE), "D"(sys(getpid)), "S"(10l) : "rax", "rbx", "rcx", "r11", "memory");
	say("on fresh pages", peek(memory + 8 * PAGE - 1));
	sys(munmap, memory + 6 * PAGE, PAGE);
	asm volatile("mov %0, %%rsp; mov $62, %%eax; syscall"
		     : : "r"(memory + 7 * PAGE + 200), "D"(sys(getpid)), "S"(10l) : "rax", "rcx", "r11", "memory");
}
