/* SPDX-License-Identifier: MIT */
/* What every assembly file starts with. */
#include "constants.h"

	.include "macros.s"
	.section .note.GNU-stack, "", @progbits

/* User memory may be touched between these two only, on a CPU with SMAP. */
#define USER_ACCESS_BEGIN	ALTERNATIVE "", "stac", X86_FEATURE_SMAP
#define USER_ACCESS_END		ALTERNATIVE "", "clac", X86_FEATURE_SMAP

/* The preprocessor does not look into the strings that ALTERNATIVE takes. */
	.set	.Ltask_size_max_l4, TASK_SIZE_MAX_L4
	.set	.Ltask_size_max_l5, TASK_SIZE_MAX_L5

	.text
