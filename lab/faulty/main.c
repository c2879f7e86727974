// SPDX-License-Identifier: MIT
/*
 * The package's module (kernel/faulty.c) in a real kernel: a line "LETTER PLACE" written to /proc/faulty has it commit
 * a bug. The letter is pw()'s; the place is a number or one of the names below. Every register that a caller may choose
 * has a known value before the call, so that an oops shows those.
 *
 * A line "ROUTINE ADDRESS LENGTH" has it call one of the kernel's routines for user memory, and tell each page fault in
 * kernel mode on the way, and what the routine returned.
 */
#include <linux/ctype.h>
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/sched/task.h>
#include <linux/sched/task_stack.h>
#include <linux/slab.h>
#include <linux/tracepoint.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

unsigned long pw(char what, void *p);
unsigned long rd(const unsigned long *p);
extern const unsigned long faulty_rodata;
extern unsigned char faulty_data[16];

#define MOST_FAULTS 16
static struct { unsigned long address, error_code, ip; } faults[MOST_FAULTS];
static int fault_count;
static struct task_struct *watched;
static struct tracepoint *page_fault_kernel;
static char *buffer;	/* a page of its own, page-aligned */

static void fault(void *data, unsigned long address, struct pt_regs *regs, unsigned long error_code)
{
	if (current != watched || fault_count == MOST_FAULTS)
		return;
	faults[fault_count].address = address;
	faults[fault_count].error_code = error_code;
	faults[fault_count++].ip = regs->ip;
}

static void find_tracepoint(struct tracepoint *each, void *name)
{
	if (!strcmp(each->name, name))
		page_fault_kernel = each;
}

static noinline long call(const char *routine, unsigned long address, unsigned long length)
{
	void __user *user = (void __user *)address;

	if (!strcmp(routine, "copy-from"))
		return _copy_from_user(buffer, user, length);
	if (!strcmp(routine, "copy-to"))
		return _copy_to_user(user, buffer, length);
	if (!strcmp(routine, "clear"))
		return clear_user(user, length);
	if (!strcmp(routine, "strncpy"))
		return strncpy_from_user(buffer, user, length);
	if (!strcmp(routine, "strnlen"))
		return strnlen_user(user, length);
#ifdef __i386__
	if (!strcmp(routine, "vmalloc")) {
		/* `length` into a new area, as if another CPU had not yet told this process of its page table. */
		unsigned long *p = vzalloc(32 << 20) + length;

		((unsigned long *)current->mm->pgd)[(unsigned long)p >> 22] = 0;	/* two levels */
		write_cr3(__read_cr3());
		return rd(p);
	}
#endif
	return -EINVAL;
}

static void call_and_tell(const char *routine, unsigned long address, unsigned long length)
{
	long result;

	fault_count = 0;
	memset(buffer, 0x5a, PAGE_SIZE);
	watched = current;
	result = call(routine, address, length);
	watched = NULL;
	for (int i = 0; i < fault_count; i++)
		pr_emerg("lab: fault %lx error %lx at %pS\n", faults[i].address, faults[i].error_code, (void *)faults[i].ip);
	pr_emerg("lab: result %ld\n", result);
}

static void *place(const char *word)
{
	unsigned long address = 0;

	if (!strcmp(word, "vmalloc-end"))	/* the first byte after an area: its guard page */
		return vmalloc(PAGE_SIZE) + PAGE_SIZE;
	if (!strcmp(word, "kmalloc"))
		return kzalloc(64, GFP_KERNEL);
	if (!strcmp(word, "below-stack"))
		return task_stack_page(current) - sizeof(long);
	if (!strcmp(word, "module-text"))
		return (void *)((unsigned long)rd & ~7ul);
	if (!strcmp(word, "module-rodata"))
		return (void *)&faulty_rodata;
	if (!strcmp(word, "module-data"))
		return faulty_data;
	if (!strcmp(word, "kernel-rodata"))
		return (void *)_ctype;
	if (!strcmp(word, "kernel-data"))
		return &init_task;
	return kstrtoul(word, 16, &address) ? NULL : (void *)address;
}

static noinline void commit_with_known_registers(unsigned long what, void *p)
{
#ifdef __x86_64__
	asm volatile("mov $0x0a0a0a0a, %%eax; mov $0x0b0b0b0b, %%ebx; mov $0x0c0c0c0c, %%ecx; mov $0x0d0d0d0d, %%edx\n\t"
		     "mov $0x08080808, %%r8d; mov $0x09090909, %%r9d; mov $0x10101010, %%r10d; mov $0x11111111, %%r11d\n\t"
		     "mov $0x12121212, %%r12d; mov $0x13131313, %%r13d; mov $0x14141414, %%r14d; mov $0x15151515, %%r15d\n\t"
		     "call pw"
		     : "+D" (what), "+S" (p), ASM_CALL_CONSTRAINT : : "rax", "rbx", "rcx", "rdx", "r8", "r9", "r10", "r11",
		       "r12", "r13", "r14", "r15", "cc", "memory");
#else
	asm volatile("mov $0x0b0b0b0b, %%ebx; mov $0x0c0c0c0c, %%ecx; mov $0x0e0e0e0e, %%esi; mov $0x0f0f0f0f, %%edi\n\t"
		     "call pw"
		     : "+a" (what), "+d" (p), ASM_CALL_CONSTRAINT : : "ebx", "ecx", "esi", "edi", "cc", "memory");
#endif
}

static ssize_t faulty_write(struct file *file, const char __user *from, size_t length, loff_t *at)
{
	char line[64] = { 0 }, routine[16];
	unsigned long address, count;

	if (length < 3 || length >= sizeof(line))
		return -EINVAL;
	if (copy_from_user(line, from, length))
		return -EFAULT;
	if (sscanf(line, "%15s %lx %lx", routine, &address, &count) == 3) {
		call_and_tell(routine, address, count);
		return length;
	}
	commit_with_known_registers(line[0], place(strim(line + 2)));
	return length;
}

static const struct proc_ops operations = { .proc_write = faulty_write };

static int __init faulty_init(void)
{
	buffer = (char *)__get_free_page(GFP_KERNEL);
	for_each_kernel_tracepoint(find_tracepoint, "page_fault_kernel");
	if (!buffer || !page_fault_kernel || tracepoint_probe_register(page_fault_kernel, fault, NULL))
		return -ENODEV;
	return proc_create("faulty", 0222, NULL, &operations) ? 0 : -ENOMEM;
}
module_init(faulty_init);
