/* execve: the initial stack and auxiliary vector; then the program starts itself anew, with an argument. */
#include "lab.h"

static char data[2 * PAGE] = "initialised";
static char bss[3 * PAGE];

static void program(long *stack)
{
	long count = *stack, *at = stack + 1 + count + 1;
	char *arguments[] = {"/lab/exec", "again", 0}, *environment[] = {"KEY=value", 0};
	char *zero = (char *)(((unsigned long)bss + PAGE - 1) & -PAGE);

	say("stack", (long)stack);
	say("argc", count);
	for (int i = 0; i < count; i++)
		say("argv", stack[1 + i]);
	while (*at)
		say("env", *at++);
	for (at++; *at; at += 2) {
		if (*at == 16 || *at == 26)	/* what the CPU has */
			continue;
		say("auxv", at[0]);
		say("  is", at[1]);
	}
	say("brk", sys(brk, 0));
	say("data", *(byte *)data);
	*(byte *)(data + PAGE) = 1;
	say("bss", *(byte *)zero);
	*(byte *)(zero + PAGE) = 1;
	if (count == 1) {
		sys(execve, "/lab/missing", arguments, environment);
		sys(execve, arguments[0], arguments, environment);
	}
}
