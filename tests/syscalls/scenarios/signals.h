/* What the programs with signals start from. */
#pragma once
#include "lab.h"

struct action { void *handler; unsigned long flags; void (*restorer)(void); unsigned long mask; };
void back(void);
asm("back: mov $15, %eax\n\tsyscall\n");
#define SA_SIGINFO 4ul
#define SA_RESTORER 0x04000000ul
#define SA_ONSTACK 0x08000000ul
#define SA_RESTART 0x10000000ul
#define SA_NODEFER 0x40000000ul
#define SA_RESETHAND 0x80000000ul
static inline long handle(int number, void *handler, unsigned long flags, unsigned long mask)
{
	struct action action = {handler, flags | SA_RESTORER, back, mask};
	return sys(rt_sigaction, number, &action, 0, 8);
}
static inline long bits(int number) { return 1l << (number - 1); }
