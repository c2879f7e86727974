// SPDX-License-Identifier: MIT
/* Whole buffers from and to user memory. Each returns how many bytes could not be reached; 0 is success. */
#include "uaccess.h"

/* What could not be copied reads as zero: no old kernel memory may show through. */
unsigned long _copy_from_user(void *to, const void __user *from, unsigned long n)
{
	unsigned long left = n;

	if (access_ok(from, n))
		left = copy_user_generic(to, from, n);
	if (left)
		memset(to + (n - left), 0, left);
	return left;
}

unsigned long _copy_to_user(void __user *to, const void *from, unsigned long n)
{
	if (!access_ok(to, n))
		return n;
	return copy_user_generic(to, from, n);
}

unsigned long clear_user(void __user *to, unsigned long n)
{
	if (!access_ok(to, n))
		return n;
	asm volatile("ALTERNATIVE \"\", \"stac\", %c[smap]\n\t"
		     "ALTERNATIVE_2 \"call clear_user_original\", "
		     "\"call clear_user_rep_good\", %c[rep_good], \"call clear_user_erms\", %c[erms]\n\t"
		     "ALTERNATIVE \"\", \"clac\", %c[smap]"
		     : "+c" (n), "+D" (to), "+r" (current_stack_pointer)
		     : "a" (0ul), [smap] "i" (X86_FEATURE_SMAP), [rep_good] "i" (X86_FEATURE_REP_GOOD),
		       [erms] "i" (X86_FEATURE_ERMS)
		     : "memory", "rdx");
	return n;
}
