/* process_vm_readv and writev: short ones, holes, rights, bad arguments. */
#include "lab.h"

static void program(long *stack)
{
	(void)stack;
	static struct { void *base; long length; } here[3], there[3];
	byte *m = map(8 * PAGE, RW, ANONYMOUS, -1, 0); int ends[2]; char c;
	sys(pipe, ends);
	poke(m, 5);
	long child = sys(fork);
	if (!child) { sys(munmap, m + 3 * PAGE, PAGE); sys(mprotect, m + PAGE, PAGE, PROT_READ); sys(write, ends[1], "x", 1); sys(nanosleep, ((long[]){10, 0}), 0); sys(exit, 0); }
	sys(read, ends[0], &c, 1);
	char text[100] = "0123456789"; here[0].base = text, here[0].length = 5, here[1].base = text + 50, here[1].length = 10;
	there[0].base = (void *)(m + 3 * PAGE - 4), there[0].length = 8;
	say("short", sys(process_vm_writev, child, here, 2, there, 1, 0));
	say("hole", (there[0].base = (void *)(m + 3 * PAGE), sys(process_vm_writev, child, here, 2, there, 1, 0)));
	there[0].base = (void *)(m + 2 * PAGE + 4092); there[1].base = (void *)m, there[1].length = 10;  there[0].length = 4;
	say("read", sys(process_vm_readv, child, here, 2, there, 2, 0));
	say("byte", text[0]);
	say("five", text[4] == 5);
	there[0].base = (void *)(m + PAGE);
	say("read-only", sys(process_vm_writev, child, here, 1, there, 1, 0));
	say("read it", sys(process_vm_readv, child, here, 1, there, 1, 0));
	say("flags", sys(process_vm_readv, child, here, 1, there, 1, 1));
	say("pid", sys(process_vm_readv, 999999, here, 1, there, 1, 0));
	say("none", sys(process_vm_readv, child, here, 0, there, 1, 0));
	here[0].base = (void *)8;
	say("local", sys(process_vm_readv, child, here, 1, there, 1, 0)); here[0].length = -1;
	say("negative", sys(process_vm_readv, child, here, 1, there, 1, 0));
	say("many", sys(process_vm_readv, child, here, 1025, there, 1, 0));
	sys(kill, child, 9);
	sys(wait4, -1, 0, 0, 0);
}
/* Prints:
short = 4
hole = -14
read = 14
byte = 48
five = 1
read-only = -14
read it = 4
flags = -22
pid = -3
none = 0
local = -14
negative = -22
many = -22
*/
