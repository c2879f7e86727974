// SPDX-License-Identifier: MIT
/* Strings in user memory, eight bytes at a time. */
#include "uaccess.h"

#define EVERY_BYTE(b) (~0ul / 255 * (b))

/* Bit 7 of the first zero byte; higher bytes may be marked wrongly, so only the lowest mark counts. 0: no zero byte. */
static inline unsigned long mark_zero_bytes(unsigned long word)
{
	return (word - EVERY_BYTE(0x01)) & ~word & EVERY_BYTE(0x80);
}

static inline unsigned long first_marked_byte(unsigned long marks)
{
	return __builtin_ctzl(marks) / 8;
}

static inline unsigned long smaller(unsigned long a, unsigned long b)
{
	return a < b ? a : b;
}

/*
 * Copies at most count bytes, the NUL among them. Returns the length without the NUL; count when there is no NUL in
 * that many bytes; -EFAULT when the string runs into memory that cannot be read or past the user's last address.
 */
long strncpy_from_user(char *to, const char __user *from, long count)
{
	unsigned long limit = task_size_max(), max, done = 0;

	if (count <= 0)
		return 0;
	if ((unsigned long)from >= limit)
		return -EFAULT;
	max = smaller(limit - (unsigned long)from, count);

	/* A word may reach into a page that is not there although the string ends before it: then go on by bytes. */
	while (max - done >= sizeof(long)) {
		unsigned long word, marks;

		if (__get_user(word, from + done))
			break;
		marks = mark_zero_bytes(word);
		if (marks)
			word &= ((marks & -marks) - 1) >> 7;
		*(unsigned long *)(to + done) = word;
		if (marks)
			return done + first_marked_byte(marks);
		done += sizeof(long);
	}
	for (; done < max; done++) {
		if (__get_user(to[done], from + done))
			return -EFAULT;
		if (!to[done])
			return done;
	}
	return done == count ? done : -EFAULT;
}

/*
 * Returns the length with the NUL; more than count when there is no NUL in that many bytes; 0 when the string runs
 * into memory that cannot be read or past the user's last address. Words are read aligned, so none crosses a page.
 */
long strnlen_user(const char __user *string, long count)
{
	unsigned long start = (unsigned long)string, limit = task_size_max();
	unsigned long before = start % sizeof(long), max, done;

	if (count <= 0 || start >= limit)
		return 0;
	max = smaller(limit - start, count);

	for (done = 0; done < before + max; done += sizeof(long)) {
		unsigned long word, marks;

		if (__get_user(word, start - before + done))
			return 0;
		if (done == 0)
			word |= (1ul << 8 * before) - 1;
		marks = mark_zero_bytes(word);
		if (marks)
			return done + first_marked_byte(marks) + 1 - before;
	}
	return max == count ? count + 1 : 0;
}
