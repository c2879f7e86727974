/* SPDX-License-Identifier: MIT */
/*
 * Copies between user and kernel memory, one for each kind of CPU. All have one contract:
 *
 *	rdi	to
 *	rsi	from
 *	rdx	how many bytes
 *	rax	out: how many were not copied, exactly; 0 is success
 *	rcx, rdx, rsi, rdi, r8-r11 are lost
 *
 * They check no range: the caller did. A fault leaves the number of bytes left in rcx (the table's UCOPY_LEN computes
 * it where the loop counts in larger units) and continues below, where the rest is copied byte by byte, up to the very
 * byte that faults.
 */
#include "asm.h"

/* For a CPU whose string instructions are slow: 32 bytes a turn, then 8, then 1. */
FUNC copy_user_generic_unrolled
	USER_ACCESS_BEGIN
	mov	%rdx, %rcx
	and	$31, %edx
	shr	$5, %rcx
	jz	.Lwords

.Lload0:  mov	(%rsi), %r8
.Lload1:  mov	8(%rsi), %r9
.Lload2:  mov	16(%rsi), %r10
.Lload3:  mov	24(%rsi), %r11
.Lstore0: mov	%r8, (%rdi)
.Lstore1: mov	%r9, 8(%rdi)
.Lstore2: mov	%r10, 16(%rdi)
.Lstore3: mov	%r11, 24(%rdi)
	add	$32, %rsi
	add	$32, %rdi
	dec	%rcx
	jnz	.Lload0
	.irp	n, 0, 1, 2, 3
	EXTABLE	.Lload\n, copy_user_handle_tail, EX_LEFT_IN_CX(32)
	EXTABLE	.Lstore\n, copy_user_handle_tail, EX_LEFT_IN_CX(32)
	.endr

.Lwords:
	mov	%edx, %ecx
	and	$7, %edx
	shr	$3, %ecx
	jz	.Lbytes
.Lload_word:
	mov	(%rsi), %r8
.Lstore_word:
	mov	%r8, (%rdi)
	add	$8, %rsi
	add	$8, %rdi
	dec	%ecx
	jnz	.Lload_word
	EXTABLE	.Lload_word, copy_user_handle_tail, EX_LEFT_IN_CX(8)
	EXTABLE	.Lstore_word, copy_user_handle_tail, EX_LEFT_IN_CX(8)

.Lbytes:
	mov	%edx, %ecx
	jrcxz	.Lunrolled_done
.Lload_byte:
	mov	(%rsi), %al
.Lstore_byte:
	mov	%al, (%rdi)
	inc	%rsi
	inc	%rdi
	dec	%ecx
	jnz	.Lload_byte
	EXTABLE	.Lload_byte, copy_user_left_in_rcx, EX_TYPE_UACCESS
	EXTABLE	.Lstore_byte, copy_user_left_in_rcx, EX_TYPE_UACCESS
.Lunrolled_done:
	jmp	copy_user_left_in_rcx
END copy_user_generic_unrolled

/* X86_FEATURE_REP_GOOD: string instructions are fast for whole words. */
FUNC copy_user_generic_string
	USER_ACCESS_BEGIN
	mov	%rdx, %rcx
	and	$7, %edx
	shr	$3, %rcx
.Lmovsq:
	rep movsq
	mov	%edx, %ecx
.Lmovsb:
	rep movsb
	EXTABLE	.Lmovsq, copy_user_handle_tail, EX_LEFT_IN_CX(8)
	EXTABLE	.Lmovsb, copy_user_left_in_rcx, EX_TYPE_UACCESS
	jmp	copy_user_left_in_rcx
END copy_user_generic_string

/* X86_FEATURE_ERMS: REP MOVSB is the fastest; for short copies too only with X86_FEATURE_FSRM. */
FUNC copy_user_enhanced_fast_string
	ALTERNATIVE "cmp $64, %rdx; jb copy_user_generic_unrolled", "", X86_FEATURE_FSRM
	USER_ACCESS_BEGIN
	mov	%rdx, %rcx
.Lmovsb_all:
	rep movsb
	EXTABLE	.Lmovsb_all, copy_user_left_in_rcx, EX_TYPE_UACCESS
	jmp	copy_user_left_in_rcx
END copy_user_enhanced_fast_string

/* After a fault in units of more than a byte: rcx bytes are left, and some of them can still be copied. */
FUNC copy_user_handle_tail
	rep movsb
	EXTABLE	copy_user_handle_tail, copy_user_left_in_rcx, EX_TYPE_UACCESS
	/* Falls through when all of it could be copied after all: the memory has come meanwhile. */
END copy_user_handle_tail

copy_user_left_in_rcx:
	mov	%rcx, %rax
	USER_ACCESS_END
	ret
	.type	copy_user_left_in_rcx, @function
END copy_user_left_in_rcx
