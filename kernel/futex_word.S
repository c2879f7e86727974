/* SPDX-License-Identifier: MIT */
/*
 * Changes of one word in user memory, each in one atomic step. All have one contract:
 *
 *	edi	the operand
 *	rsi	the word's address, which is in range
 *	rdx	where its old value goes
 *	eax	out: 0 or -EFAULT; the word and the old value's place are then as before
 *	rcx, rdi are lost
 */
#include "asm.h"

/* The instruction itself gives the old value back. */
.macro FUTEX_EXCHANGE name:req, insn:req
FUNC futex_\name
	USER_ACCESS_BEGIN
	xor	%eax, %eax
.Lfutex_\name:
	\insn	%edi, (%rsi)
	USER_ACCESS_END
	mov	%edi, (%rdx)
	ret
.Lfutex_failed_\name:
	USER_ACCESS_END
	ret
	EXTABLE	.Lfutex_\name, .Lfutex_failed_\name, EX_EFAULT_IN_AX
END futex_\name
.endm

	FUTEX_EXCHANGE set, xchgl
	FUTEX_EXCHANGE add, "lock xaddl"

/* Read, compute, and write if nobody else wrote meanwhile. */
.macro FUTEX_COMPUTE name:req, insn:req
FUNC futex_\name
	USER_ACCESS_BEGIN
.Lfutex_read_\name:
	mov	(%rsi), %eax
.Lfutex_again_\name:
	mov	%eax, %ecx
	\insn	%edi, %ecx
.Lfutex_write_\name:
	lock cmpxchgl %ecx, (%rsi)
	jnz	.Lfutex_again_\name
	USER_ACCESS_END
	mov	%eax, (%rdx)
	xor	%eax, %eax
	ret
.Lfutex_failed_\name:
	USER_ACCESS_END
	ret
	EXTABLE	.Lfutex_read_\name, .Lfutex_failed_\name, EX_EFAULT_IN_AX
	EXTABLE	.Lfutex_write_\name, .Lfutex_failed_\name, EX_EFAULT_IN_AX
END futex_\name
.endm

	FUTEX_COMPUTE or, or
	FUTEX_COMPUTE and, and
	FUTEX_COMPUTE xor, xor
