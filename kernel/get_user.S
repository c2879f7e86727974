/* SPDX-License-Identifier: MIT */
/*
 * One number from user memory. They are called from inline assembly and have a convention of their own:
 *
 *	rax	in: the user's address; out: 0 or -EFAULT
 *	rdx	out: the number, extended with zeros; 0 on an error
 *	nothing else is changed
 */
#include "asm.h"

/* The last number must end at or below TASK_SIZE_MAX. */
.macro GET_USER size:req, load:req, to:req
FUNC __get_user_\size
	ALTERNATIVE "movabs $(.Ltask_size_max_l4 - \size + 1), %rdx", \
		    "movabs $(.Ltask_size_max_l5 - \size + 1), %rdx", X86_FEATURE_LA57
	cmp	%rdx, %rax
	jae	bad_get_user
	USER_ACCESS_BEGIN
.Lget\size:
	\load	(%rax), \to
	xor	%eax, %eax
	USER_ACCESS_END
	ret
	EXTABLE	.Lget\size, bad_get_user_clac, EX_TYPE_UACCESS
END __get_user_\size

/* No range check: the caller made one for the whole of what it reads. */
FUNC __get_user_nocheck_\size
	USER_ACCESS_BEGIN
.Lget_nocheck\size:
	\load	(%rax), \to
	xor	%eax, %eax
.Lgot_nocheck\size:
	USER_ACCESS_END
	ret
	EXTABLE	.Lget_nocheck\size, .Lgot_nocheck\size, (EX_EFAULT_IN_AX | EX_FLAG_CLEAR_DX)
END __get_user_nocheck_\size
.endm

	GET_USER 1, movzbl, %edx
	GET_USER 2, movzwl, %edx
	GET_USER 4, movl, %edx
	GET_USER 8, movq, %rdx

FUNC bad_get_user_clac
	USER_ACCESS_END
bad_get_user:
	xor	%edx, %edx
	mov	$-EFAULT, %rax
	ret
END bad_get_user_clac
