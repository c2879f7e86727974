/* The vdso and its variables are mapped by the kernel: read by user code, each page on its first touch. */
#include "lab.h"

static void program(long *stack)
{
	long *at = stack + 1 + *stack + 1;
	byte *vdso = 0;

	while (*at++)
		;
	for (; *at; at += 2)
		if (*at == 33)
			vdso = (byte *)at[1];
	say("vdso", (long)vdso);
	say("magic", peek(vdso + 1));
	say("second page", peek(vdso + PAGE) & 0);
	say("vvar", peek(vdso - 4 * PAGE) & 0);
	say("write", sys(uname, vdso));
	say("write vvar", sys(uname, vdso - 4 * PAGE));
}
