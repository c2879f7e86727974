/* SPDX-License-Identifier: MIT */
/*
 * Zeros into user memory, one for each kind of CPU. clear_user() calls them from inline assembly, inside its own
 * STAC/CLAC and after its range check:
 *
 *	rdi	where
 *	rcx	in: how many bytes; out: how many were not cleared, exactly
 *	rax	in: 0
 *	rdx	is lost
 */
#include "asm.h"

FUNC clear_user_original
	mov	%ecx, %edx
	and	$7, %edx
	shr	$3, %rcx
	jz	.Lbytes
.Lword:
	mov	%rax, (%rdi)
	add	$8, %rdi
	dec	%rcx
	jnz	.Lword
	EXTABLE	.Lword, clear_user_handle_tail, EX_LEFT_IN_CX(8)
.Lbytes:
	mov	%edx, %ecx
	jrcxz	.Ldone
.Lbyte:
	mov	%al, (%rdi)
	inc	%rdi
	dec	%ecx
	jnz	.Lbyte
	EXTABLE	.Lbyte, .Ldone, EX_TYPE_UACCESS
.Ldone:
	ret
END clear_user_original

FUNC clear_user_rep_good
	mov	%ecx, %edx
	and	$7, %edx
	shr	$3, %rcx
.Lstosq:
	rep stosq
	EXTABLE	.Lstosq, clear_user_handle_tail, EX_LEFT_IN_CX(8)
	mov	%edx, %ecx
.Lstosb:
	rep stosb
.Lstored:
	ret
	EXTABLE	.Lstosb, .Lstored, EX_TYPE_UACCESS
END clear_user_rep_good

FUNC clear_user_erms
.Lstosb_all:
	rep stosb
.Lstored_all:
	ret
	EXTABLE	.Lstosb_all, .Lstored_all, EX_TYPE_UACCESS
END clear_user_erms

/* After a fault in units of eight bytes: rcx bytes are left, and some of them can still be cleared. */
FUNC clear_user_handle_tail
	rep stosb
.Lcleared:
	ret
	EXTABLE	clear_user_handle_tail, .Lcleared, EX_TYPE_UACCESS
END clear_user_handle_tail
