/* Anonymous memory: a read maps the shared zero page, a write to it or to nothing makes an own page. */
#include "lab.h"

static void program(long *stack)
{
	byte *memory = map(16 * PAGE, RW, ANONYMOUS, -1, 0);
	long sum = 0;

	(void)stack;
	for (int i = 0; i < 8; i++)
		sum += peek(memory + i * PAGE);
	for (int i = 0; i < 4; i++)		/* zero page -> own page */
		poke(memory + i * PAGE + i, i + 1);
	for (int i = 8; i < 12; i++)		/* nothing -> own page */
		poke(memory + i * PAGE + 4095, i);
	for (int i = 0; i < 12; i++)		/* nothing left to do */
		sum += peek(memory + i * PAGE + i) + peek(memory + i * PAGE + 4095);
	say("sum", sum);
	asm volatile("lock addb $1, %0" : "+m"(memory[12 * PAGE]));	/* reads and writes: one fault, for writing */
	asm volatile("movq %%rax, %0" : "=m"(memory[14 * PAGE - 4]) : "a"(-1l));	/* across two pages: two faults */
	say("memory[13 pages]", peek(memory + 13 * PAGE + 4092));
}
