/* SPDX-License-Identifier: MIT */
/* How C reaches user memory: range checks, and calls of the assembly routines. No instruction here needs an entry in
 * the exception table: those are all in the assembly files, where no compiler moves them. */
#ifndef UACCESS_H
#define UACCESS_H

#include "linux.h"

asm(".include \"macros.s\"");

#define STRING(x) #x
#define VALUE_OF(x) STRING(x)

/* A call in inline assembly needs a stack frame around it. */
register unsigned long current_stack_pointer asm("rsp");

/* One past the last user address, on this CPU. */
static inline unsigned long task_size_max(void)
{
	unsigned long limit;

	asm("ALTERNATIVE \"movabs $" VALUE_OF(TASK_SIZE_MAX_L4) ", %0\", "
	    "\"movabs $" VALUE_OF(TASK_SIZE_MAX_L5) ", %0\", %c1" : "=r" (limit) : "i" (X86_FEATURE_LA57));
	return limit;
}

/* Does [address, address + size) end at or below the limit? */
static inline _Bool access_ok(const void __user *address, unsigned long size)
{
	unsigned long limit = task_size_max();

	return size <= limit && (unsigned long)address <= limit - size;
}

/* The copy routine that is best on this CPU; returns the bytes not copied. */
static inline unsigned long copy_user_generic(void *to, const void *from, unsigned long n)
{
	unsigned long left;

	asm volatile("ALTERNATIVE_2 \"call copy_user_generic_unrolled\", "
		     "\"call copy_user_generic_string\", %c[rep_good], "
		     "\"call copy_user_enhanced_fast_string\", %c[erms]"
		     : "=a" (left), "+D" (to), "+S" (from), "+d" (n), "+r" (current_stack_pointer)
		     : [rep_good] "i" (X86_FEATURE_REP_GOOD), [erms] "i" (X86_FEATURE_ERMS)
		     : "memory", "rcx", "r8", "r9", "r10", "r11");
	return left;
}

/* 0 or -EFAULT. Checks no range. */
#define __get_user(value, pointer) ({							\
	long error;									\
	unsigned long got;								\
	asm volatile("call __get_user_nocheck_%c[size]"					\
		     : "=a" (error), "=d" (got), "+r" (current_stack_pointer)		\
		     : "0" (pointer), [size] "i" (sizeof(value)));			\
	(value) = got;									\
	error;										\
})

/* 0 or -EFAULT. Checks no range. */
#define __put_user(value, pointer) ({							\
	int error;									\
	asm volatile("call __put_user_nocheck_%c[size]"					\
		     : "=c" (error), "+r" (current_stack_pointer)			\
		     : "0" (pointer), "a" ((unsigned long)(value)), [size] "i" (sizeof(value)) \
		     : "memory");							\
	error;										\
})

static inline struct task_struct *current(void)
{
	struct task_struct *task;

	asm("mov %%gs:current_task, %0" : "=r" (task));
	return task;
}

#endif
