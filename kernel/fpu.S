/* SPDX-License-Identifier: MIT */
/*
 * The CPU's FPU state to and from user memory:
 *
 *	rdi	where; a multiple of 64 (16 without XSAVE), in range
 *	rsi	which components, a mask
 *	eax	out: 0, or the number of the exception: 14 is #PF, 13 is #GP, over a state that no CPU can have
 *	rdx is lost
 */
#include "asm.h"

.macro FPU_TRANSFER name:req, legacy:req, insn:req
FUNC \name
	mov	%esi, %eax
	mov	%rsi, %rdx
	shr	$32, %rdx
	USER_ACCESS_BEGIN
.Lfpu_\name:
	ALTERNATIVE "\legacy (%rdi)", "\insn (%rdi)", X86_FEATURE_XSAVE
	xor	%eax, %eax
.Lfpu_done_\name:
	USER_ACCESS_END
	ret
	EXTABLE	.Lfpu_\name, .Lfpu_done_\name, EX_TYPE_FAULT
END \name
.endm

	FPU_TRANSFER fpregs_to_user, fxsave64, xsave64
	FPU_TRANSFER fpregs_from_user, fxrstor64, xrstor64
	FPU_TRANSFER fxregs_from_user, fxrstor64, fxrstor64
