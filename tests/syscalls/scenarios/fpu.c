/* SSE registers through a signal handler and through fork. */
#include "lab.h"
#include "signals.h"

static void h(int n) { asm volatile("pxor %%xmm3, %%xmm3" : : ); (void)n; }

static void program(long *stack)
{
	(void)stack;
	long a = 0x1122334455667788, b = 0, c = 0, child; int status;
	handle(10, h, 0, 0); long me = sys(getpid);
	asm volatile("movq %2, %%xmm3; mov $62, %%eax; syscall; movq %%xmm3, %0" : "=r"(b) : "D"(me), "r"(a), "S"(10l) : "rax", "rcx", "r11", "memory");
	say("kept", b == a);
	asm volatile("movq %2, %%xmm3; mov $57, %%eax; syscall; movq %%xmm3, %0" : "=r"(c), "=a"(child) : "r"(a) : "rcx", "r11", "memory");
	if (!child) sys(exit, c == a ? 7 : 8);
	sys(wait4, -1, &status, 0, 0);
	say("parent", c == a);
	say("child", status >> 8);
}
/* Prints:
kept = 1
parent = 1
child = 7
*/
