// SPDX-License-Identifier: MIT
/* User memory touched a byte a page, so that a copy that must not wait finds it there. */
#include "uaccess.h"

static inline unsigned long smaller(unsigned long a, unsigned long b)
{
	return a < b ? a : b;
}

/* Each returns how many of the bytes lie in and behind the first page that could not be reached; 0 is success. */
#define FAULT_IN(touch)								\
	do {									\
		unsigned long start = (unsigned long)pointer, done = 0;		\
		if (!access_ok(pointer, size))					\
			return size;						\
		while (done < size) {						\
			unsigned long here = PAGE_SIZE - (start + done) % PAGE_SIZE; \
			if (touch(start + done))				\
				return size - done;				\
			done += smaller(here, size - done);			\
		}								\
		return 0;							\
	} while (0)

static inline long read_byte(unsigned long address)
{
	u8 unused;

	return __get_user(unused, address);
}

static inline long write_zero(unsigned long address)
{
	return __put_user((u8)0, address);
}

unsigned long fault_in_readable(const char __user *pointer, unsigned long size)
{
	FAULT_IN(read_byte);
}

unsigned long fault_in_writeable(char __user *pointer, unsigned long size)
{
	FAULT_IN(write_zero);
}
