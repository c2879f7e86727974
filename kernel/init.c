// SPDX-License-Identifier: MIT
/* The kernel's own data, as it is before boot code runs: 4-level page tables, one CPU, no KASLR. */
#include "linux.h"

const char linux_banner[] = "Linux version 6.1.0-pagefault (pagefault) #1 SMP\n";

/* The master page table, and the first task with its stack. */
pgd_t init_top_pgt[PAGE_SIZE / sizeof(pgd_t)] __attribute__((aligned(PAGE_SIZE), section(".bss..page_aligned")));
union thread_union init_thread_union __attribute__((aligned(PAGE_SIZE), section(".bss..page_aligned")));
extern unsigned long init_stack[THREAD_SIZE / sizeof(unsigned long)] __attribute__((alias("init_thread_union")));

struct mm_struct init_mm = {
	.task_size = TASK_SIZE_MAX_L4,
	.pgd = init_top_pgt,
	.mm_users = 2,
	.mm_count = 1,
};

struct task_struct init_task = {
	.stack = init_stack,
	.active_mm = &init_mm,
	.comm = "swapper",
};

/* What CPU this is: boot code fills it in. */
struct cpuinfo_x86 boot_cpu_data;

/* 4-level page tables; boot code changes these on a CPU with 5 levels. */
unsigned int __pgtable_l5_enabled = 0;
unsigned int pgdir_shift = 39;
unsigned int ptrs_per_p4d = 1;
unsigned long page_offset_base = 0xffff888000000000;
unsigned long vmalloc_base = 0xffffc90000000000;
unsigned long vmemmap_base = 0xffffea0000000000;

/* The CPU's own data: linked at address 0, reached through GS. It starts with what gcc expects at %gs:40. */
struct fixed_percpu_data {
	char gs_base[40];
	unsigned long stack_canary;
} fixed_percpu_data __attribute__((section(".data..percpu..first")));
extern char __per_cpu_load[];
unsigned long this_cpu_off __percpu = (unsigned long)__per_cpu_load;
int __preempt_count __percpu;
struct task_struct *current_task __percpu = &init_task;
unsigned long __per_cpu_offset[1] = { (unsigned long)__per_cpu_load };
