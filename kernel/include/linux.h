/* SPDX-License-Identifier: MIT */
/* The structures and functions that the C files share. Members have the kernel's names; their offsets are ours, and
 * readers take them from the image's BTF. */
#ifndef LINUX_H
#define LINUX_H

#include "constants.h"

#define __user
#define __percpu __attribute__((section(".data..percpu")))

typedef unsigned long pgd_t;
typedef unsigned char u8;

struct thread_info {
	unsigned long flags;
	unsigned int cpu;
};

/* Its members stand in a structure without a name, as in the real one. */
struct mm_struct {
	struct {
		unsigned long mmap_base;
		unsigned long task_size;
		pgd_t *pgd;
		int mm_users;
		int mm_count;
	};
};

struct task_struct {
	struct thread_info thread_info;
	void *stack;
	unsigned int flags;
	int pagefault_disabled;
	struct mm_struct *mm;
	struct mm_struct *active_mm;
	int pid;
	int tgid;
	char comm[16];
};

struct cpuinfo_x86 {
	u8 x86;
	u8 x86_virt_bits;
	u8 x86_phys_bits;
};

union thread_union {
	unsigned long stack[THREAD_SIZE / sizeof(unsigned long)];
};

extern struct cpuinfo_x86 boot_cpu_data;

void pagefault_disable(void);
void pagefault_enable(void);
void *memset(void *where, int byte, unsigned long n);

#endif
