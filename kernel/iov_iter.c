// SPDX-License-Identifier: MIT
/* The array of buffers that readv() and its kin are given. */
#include "uaccess.h"

#define UIO_MAXIOV	1024

/*
 * Copies `count` structures to `to`, which has room for them, and returns it, or a negative errno: -EINVAL for too many,
 * or for a length that is negative, -EFAULT for what cannot be read.
 */
struct iovec *iovec_from_user(const struct iovec __user *from, unsigned long count, unsigned long room, struct iovec *to)
{
	unsigned long i;

	if (count == 0)
		return to;
	if (count > UIO_MAXIOV || count > room)
		return (struct iovec *)-EINVAL;
	if (_copy_from_user(to, from, count * sizeof(*to)))
		return (struct iovec *)-EFAULT;
	for (i = 0; i < count; i++)
		if ((long)to[i].iov_len < 0)
			return (struct iovec *)-EINVAL;
	return to;
}
