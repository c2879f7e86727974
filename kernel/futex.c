// SPDX-License-Identifier: MIT
/* A futex's word: looked at and changed where no page may be waited for. */
#include "uaccess.h"

#define FUTEX_OP_SET		0
#define FUTEX_OP_ADD		1
#define FUTEX_OP_OR		2
#define FUTEX_OP_ANDN		3
#define FUTEX_OP_XOR		4
#define FUTEX_OP_OPARG_SHIFT	8

#define FUTEX_OP_CMP_EQ		0
#define FUTEX_OP_CMP_NE		1
#define FUTEX_OP_CMP_LT		2
#define FUTEX_OP_CMP_LE		3
#define FUTEX_OP_CMP_GT		4
#define FUTEX_OP_CMP_GE		5

int futex_set(int operand, u32 __user *word, int *old);
int futex_add(int operand, u32 __user *word, int *old);
int futex_or(int operand, u32 __user *word, int *old);
int futex_and(int operand, u32 __user *word, int *old);
int futex_xor(int operand, u32 __user *word, int *old);

/* 0 and the word's value, or -EFAULT. */
int futex_get_value_locked(u32 *value, u32 __user *word)
{
	long error;

	pagefault_disable();
	error = __get_user(*value, word);
	pagefault_enable();
	return error;
}

static inline int change(unsigned int operation, int operand, u32 __user *word, int *old)
{
	switch (operation) {
	case FUTEX_OP_SET:
		return futex_set(operand, word, old);
	case FUTEX_OP_ADD:
		return futex_add(operand, word, old);
	case FUTEX_OP_OR:
		return futex_or(operand, word, old);
	case FUTEX_OP_ANDN:
		return futex_and(~operand, word, old);
	case FUTEX_OP_XOR:
		return futex_xor(operand, word, old);
	default:
		return -ENOSYS;
	}
}

/*
 * Changes the word, then compares its old value. `encoded` has, from the top, 4 bits each of operation and comparison
 * and 12 bits each, with a sign, of their operands; the top bit makes the first operand 1 << operand.
 * Returns 1 or 0 for how the comparison went, -EFAULT, or -ENOSYS.
 */
int futex_atomic_op_inuser(unsigned int encoded, u32 __user *word)
{
	unsigned int operation = encoded >> 28, comparison = encoded >> 24 & 15;
	int operand = (int)(encoded << 8) >> 20, other = (int)(encoded << 20) >> 20, old = 0, error;

	if (!access_ok(word, sizeof(*word)))
		return -EFAULT;
	if (operation & FUTEX_OP_OPARG_SHIFT)
		operand = 1 << (operand & 31);
	pagefault_disable();
	error = change(operation & ~FUTEX_OP_OPARG_SHIFT, operand, word, &old);
	pagefault_enable();
	if (error)
		return error;
	switch (comparison) {
	case FUTEX_OP_CMP_EQ:
		return old == other;
	case FUTEX_OP_CMP_NE:
		return old != other;
	case FUTEX_OP_CMP_LT:
		return old < other;
	case FUTEX_OP_CMP_LE:
		return old <= other;
	case FUTEX_OP_CMP_GT:
		return old > other;
	case FUTEX_OP_CMP_GE:
		return old >= other;
	default:
		return -ENOSYS;
	}
}
