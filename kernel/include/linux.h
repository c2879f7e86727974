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
typedef unsigned short u16;
typedef unsigned int u32;

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

/* What of the FPU's state a signal frame holds: how many bytes, which components (a mask of XCR0's bits). */
struct fpstate {
	u32 size;
	u32 user_size;
	unsigned long xfeatures;
	unsigned long user_xfeatures;
};

struct fpu {
	struct fpstate *fpstate;
	struct fpstate __fpstate;
};

struct thread_struct {
	unsigned long cr2;
	unsigned long trap_nr;
	unsigned long error_code;
	struct fpu fpu;
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
	unsigned long blocked;
	unsigned long sas_ss_sp;
	unsigned long sas_ss_size;
	u32 sas_ss_flags;
	struct thread_struct thread;
};

struct cpuinfo_x86 {
	u8 x86;
	u8 x86_virt_bits;
	u8 x86_phys_bits;
};

struct iovec {
	void *iov_base;
	unsigned long iov_len;
};

union thread_union {
	unsigned long stack[THREAD_SIZE / sizeof(unsigned long)];
};

extern struct cpuinfo_x86 boot_cpu_data;

void pagefault_disable(void);
void pagefault_enable(void);
void *memset(void *where, int byte, unsigned long n);

unsigned long _copy_from_user(void *to, const void __user *from, unsigned long n);
unsigned long _copy_to_user(void __user *to, const void *from, unsigned long n);
unsigned long clear_user(void __user *to, unsigned long n);
unsigned long fault_in_readable(const char __user *pointer, unsigned long size);

#endif
