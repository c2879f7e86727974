// SPDX-License-Identifier: MIT
/* A module that commits one bug a word: echo null > /proc/faulty. Its oopses are the texts beside this file. */
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/ptrace.h>
#include <linux/sched/task_stack.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#define RESERVED_BIT 51	/* above QEMU's 40 physical address bits */

static noinline void rd(void *p) { volatile long v = READ_ONCE(*(long *)p); (void)v; }
static noinline void wr(void *p) { WRITE_ONCE(*(long *)p, 1); }

static noinline void reserve(unsigned long address)
{
	pgd_t *pgd = address >> 63 ? __va(read_cr3_pa()) + pgd_index(address) * sizeof(pgd_t) : pgd_offset(current->mm, address);
	pte_t *pte = pte_offset_kernel(pmd_offset(pud_offset(p4d_offset(pgd, address), address), address), address);

	native_set_pte(pte, __pte(native_pte_val(*pte) | 1ul << RESERVED_BIT));
	asm volatile("invlpg (%0)" : : "r" (address) : "memory");
}

static noinline void bug(const char *what, const char __user *b)
{
	char *p;

	if (!strcmp(what, "null")) rd((void *)0x10);
	else if (!strcmp(what, "nullw")) wr((void *)0x18);
	else if (!strcmp(what, "nullcall")) ((void (*)(void))0)();
	else if (!strcmp(what, "noncanon")) rd((void *)0xdead000000000100UL);
	else if (!strcmp(what, "smap")) rd((void __force *)b);
	else if (!strcmp(what, "smep")) ((void (*)(void))task_pt_regs(current)->ip)();
	else if (!strcmp(what, "usernx")) ((void (*)(void))0x400000)();
	else if (!strcmp(what, "userhole")) rd((void *)0x10000000);
	else if (!strcmp(what, "vmallocoob")) { p = vmalloc(4096); rd(p + 4096); }
	else if (!strcmp(what, "rodata")) wr((void *)((unsigned long)rd & ~7UL));
	else if (!strcmp(what, "exec")) { p = kmalloc(64, GFP_KERNEL); ((void (*)(void))p)(); }
	else if (!strcmp(what, "high")) rd((void *)0xffffffffff000000UL);
	else if (!strcmp(what, "reserved")) { p = vzalloc(4096); reserve((unsigned long)p); rd(p); }
	else if (!strcmp(what, "badpagetable")) { reserve((unsigned long)b); stac(); rd((void __force *)b); clac(); }
	else if (!strcmp(what, "misaligned")) { p = kzalloc(64, GFP_KERNEL); asm volatile("cmpxchg16b (%0)" : : "r" (p + 1) : "rax", "rbx", "rcx", "rdx", "memory"); }
	else if (!strcmp(what, "xsetbv")) asm volatile("xsetbv" : : "a" (0), "c" (0x5a), "d" (0));
	else if (!strcmp(what, "selector")) asm volatile("mov %w0, %%es" : : "r" (0x1230));
	else if (!strcmp(what, "guard")) rd((char *)task_stack_page(current) - 8);
}

static ssize_t pw(struct file *f, const char __user *b, size_t n, loff_t *o)
{
	char buf[32];

	n = min(n, sizeof(buf) - 1);
	if (copy_from_user(buf, b, n))
		return -EFAULT;
	buf[n] = 0;
	pr_info("faulty: case %s\n", strim(buf));
	bug(strim(buf), b);
	return n;
}

static const struct proc_ops ops = { .proc_write = pw };
static int __init faulty_init(void) { proc_create("faulty", 0222, NULL, &ops); return 0; }
module_init(faulty_init);
MODULE_LICENSE("Dual MIT/GPL");
