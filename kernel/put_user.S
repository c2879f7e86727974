/* SPDX-License-Identifier: MIT */
/*
 * One number to user memory. They are called from inline assembly and have a convention of their own:
 *
 *	rax	the number
 *	rcx	in: the user's address; out, as ecx: 0 or -EFAULT
 *	rbx	is lost where a range is checked
 *	nothing else is changed
 */
#include "asm.h"

.macro PUT_USER size:req, from:req
FUNC __put_user_\size
	ALTERNATIVE "movabs $(.Ltask_size_max_l4 - \size + 1), %rbx", \
		    "movabs $(.Ltask_size_max_l5 - \size + 1), %rbx", X86_FEATURE_LA57
	cmp	%rbx, %rcx
	jae	bad_put_user
	.globl	__put_user_nocheck_\size
__put_user_nocheck_\size:
	USER_ACCESS_BEGIN
.Lput\size:
	mov	\from, (%rcx)
	xor	%ecx, %ecx
	USER_ACCESS_END
	ret
	EXTABLE	.Lput\size, bad_put_user_clac, EX_TYPE_UACCESS
END __put_user_\size
	.type	__put_user_nocheck_\size, @function
END __put_user_nocheck_\size
.endm

	PUT_USER 1, %al
	PUT_USER 2, %ax
	PUT_USER 4, %eax
	PUT_USER 8, %rax

FUNC bad_put_user_clac
	USER_ACCESS_END
bad_put_user:
	mov	$-EFAULT, %ecx
	ret
END bad_put_user_clac
