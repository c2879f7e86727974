/* SPDX-License-Identifier: MIT */
/* Reads of kernel memory that may not be there. */
#include "asm.h"

/* unsigned long load_unaligned_zeropad(const void *address): eight bytes; those on a next page that is not mapped read
 * as zero. The handler finishes the load itself, so it asks for a plain MOV into a register and a fixup right after. */
FUNC load_unaligned_zeropad
.Lload:
	mov	(%rdi), %rax
.Lloaded:
	ret
	EXTABLE	.Lload, .Lloaded, EX_TYPE_ZEROPAD
END load_unaligned_zeropad

/* unsigned long __copy_from_kernel_nofault(void *to, const void *from, unsigned long n): the bytes not copied. */
FUNC __copy_from_kernel_nofault
	mov	%rdx, %rcx
.Lcopy:
	rep movsb
.Lcopied:
	mov	%rcx, %rax
	ret
	EXTABLE	.Lcopy, .Lcopied, EX_TYPE_DEFAULT
END __copy_from_kernel_nofault

/* void *memset(void *where, int byte, unsigned long n): gcc calls it. */
FUNC memset
	mov	%rdi, %r8
	mov	%esi, %eax
	mov	%rdx, %rcx
	rep stosb
	mov	%r8, %rax
	ret
END memset
