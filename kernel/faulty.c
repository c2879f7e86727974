// SPDX-License-Identifier: MIT
/* A module full of bugs, one a function. None of them has an entry in the exception table: a fault in them is an oops,
 * or is resolved by the handler before it comes to that. */
#include "constants.h"

#define bug __attribute__((noipa))
/* gcc leaves the frame out of a function that needs no stack; with it the whole call trace can be followed. */
#define keep_frame() asm volatile("" : : "r" (__builtin_frame_address(0)))

asm(".include \"macros.s\"");

__attribute__((section(".modinfo"), used)) static const char modinfo[] =
	"name=faulty\0description=one bug a function\0license=Dual MIT/GPL";

/* Something of the module's own to hit: constants, and code where no code may run (it is RET). */
const unsigned long faulty_rodata = 0x0ddba11;
unsigned char faulty_data[16] = { 0xc3 };

/* Reads eight bytes through a bad pointer. */
bug unsigned long rd(const unsigned long *p)
{
	keep_frame();
	return *(const volatile unsigned long *)p;
}

/* Writes eight bytes through a bad pointer. */
bug void wr(unsigned long *p)
{
	keep_frame();
	*(volatile unsigned long *)p = 1;
}

/* Calls through a bad function pointer. */
bug void call(void (*p)(void))
{
	p();
}

/* Reads user memory as one should, but forgets the entry in the exception table. */
bug unsigned long rd_user_unguarded(const unsigned long *p)
{
	unsigned long value;

	keep_frame();
	asm volatile("ALTERNATIVE \"\", \"stac\", %c2\n\t"
		     "mov (%1), %0\n\t"
		     "ALTERNATIVE \"\", \"clac\", %c2"
		     : "=r" (value) : "r" (p), "i" (X86_FEATURE_SMAP) : "memory");
	return value;
}

/* Writes the first byte of every page of [p, p + n). */
bug void touch(volatile char *p, unsigned long n)
{
	keep_frame();
	for (unsigned long done = 0; done < n; done += PAGE_SIZE)
		p[done] = 1;
}

/* A write to the module's file: the bug comes two calls deeper, so that an oops has a call trace. */
bug unsigned long commit(char what, void *p)
{
	switch (what) {
	case 'r':
		return rd(p);
	case 'w':
		wr(p);
		return 0;
	case 'x':
		call(p);
		return 0;
	default:
		return rd_user_unguarded(p);
	}
}

bug unsigned long pw(char what, void *p)
{
	return commit(what, p) + 1;
}
