/* SPDX-License-Identifier: MIT */
/* Numbers that both C and assembly need. Values are the ABI's: Linux 6.1, x86-64. */
#ifndef CONSTANTS_H
#define CONSTANTS_H

#define PAGE_SIZE		4096
#define THREAD_SIZE		(4 * PAGE_SIZE)

#define EFAULT			14
#define EINVAL			22
#define ERANGE			34
#define ENOSYS			38

/* One past the last user address: the last page below the hole is never a user's. */
#define TASK_SIZE_MAX_L4	0x00007ffffffff000
#define TASK_SIZE_MAX_L5	0x00fffffffffff000
#define VSYSCALL_ADDR		0xffffffffff600000

/* Kernel: arch/x86/include/asm/cpufeatures.h, v6.1. word * 32 + bit. */
#define X86_FEATURE_REP_GOOD	(3 * 32 + 16)
#define X86_FEATURE_XSAVE	(4 * 32 + 26)
#define X86_FEATURE_ERMS	(9 * 32 + 9)
#define X86_FEATURE_SMAP	(9 * 32 + 20)
#define X86_FEATURE_LA57	(16 * 32 + 16)
#define X86_FEATURE_FSRM	(18 * 32 + 4)

/* Kernel: arch/x86/include/asm/extable_fixup_types.h, v6.1. type 7:0, register 11:8, flags 15:12, immediate 31:16. */
#define EX_TYPE_DEFAULT		1
#define EX_TYPE_FAULT		2
#define EX_TYPE_UACCESS		3
#define EX_TYPE_IMM_REG		17
#define EX_TYPE_UCOPY_LEN	19
#define EX_TYPE_ZEROPAD		20

#define EX_REG(number)		((number) << 8)
#define EX_REG_AX		EX_REG(0)
#define EX_REG_DX		EX_REG(2)
#define EX_FLAG_CLEAR_DX	(2 << 12)
#define EX_IMM(value)		((value) << 16)

#define EX_EFAULT_IN_AX		(EX_TYPE_IMM_REG | EX_REG_AX | EX_IMM(-EFAULT))
/* cx := dx + unit * cx: the bytes left of a copy of cx units and dx bytes. */
#define EX_LEFT_IN_CX(unit)	(EX_TYPE_UCOPY_LEN | EX_REG_DX | EX_IMM(unit))

#endif
