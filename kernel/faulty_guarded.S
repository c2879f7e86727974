/* SPDX-License-Identifier: MIT */
/* The same accesses as in faulty.c, each with its entry in the module's exception table. */
#include "asm.h"

/* long rd_user_guarded(const unsigned long *p): 0 or -EFAULT. */
FUNC rd_user_guarded
	USER_ACCESS_BEGIN
.Lguarded:
	mov	(%rdi), %rdx
	xor	%eax, %eax
.Lguarded_done:
	USER_ACCESS_END
	ret
	EXTABLE	.Lguarded, .Lguarded_done, (EX_EFAULT_IN_AX | EX_FLAG_CLEAR_DX)
END rd_user_guarded

/* long rd_disabled(const unsigned long *p, int *pagefault_disabled): the same where no page may be brought in. The
 * counter is the current task's; its address is an argument because its offset differs between kernels. */
FUNC rd_disabled
	push	%rbp
	mov	%rsp, %rbp
	incl	(%rsi)
	call	rd_user_guarded
	decl	(%rsi)
	pop	%rbp
	ret
END rd_disabled

/* long rd_trapnr(const unsigned long *p): 0, or the number of the exception (13 is #GP, 14 is #PF). */
FUNC rd_trapnr
.Lprobe:
	mov	(%rdi), %rdx
	xor	%eax, %eax
.Lprobed:
	ret
	EXTABLE	.Lprobe, .Lprobed, EX_TYPE_FAULT
END rd_trapnr
