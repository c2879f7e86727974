// SPDX-License-Identifier: MIT
/* Reads and writes that must not wait for a page: what is not there now is -EFAULT. */
#include "uaccess.h"

/* From here on the fault handler brings no page in: it goes straight to the exception table. Sections nest. */
void pagefault_disable(void)
{
	current()->pagefault_disabled++;
	asm volatile("" ::: "memory");
}

void pagefault_enable(void)
{
	asm volatile("" ::: "memory");
	current()->pagefault_disabled--;
}

unsigned long __copy_from_kernel_nofault(void *to, const void *from, unsigned long n);

/* No user address, nor the page behind the last one, nor the vsyscall page, nor a non-canonical one (once boot code
 * has said how many bits an address has). */
static _Bool copy_from_kernel_nofault_allowed(const void *from)
{
	unsigned long address = (unsigned long)from;
	int unused = 64 - boot_cpu_data.x86_virt_bits;

	if (address < task_size_max() + PAGE_SIZE)
		return 0;
	if ((address & -PAGE_SIZE) == VSYSCALL_ADDR)
		return 0;
	if (unused == 64)
		return 1;
	return (long)(address << unused) >> unused == (long)address;
}

long copy_from_kernel_nofault(void *to, const void *from, unsigned long n)
{
	unsigned long left;

	if (!copy_from_kernel_nofault_allowed(from))
		return -ERANGE;
	pagefault_disable();
	left = __copy_from_kernel_nofault(to, from, n);
	pagefault_enable();
	return left ? -EFAULT : 0;
}

long copy_from_user_nofault(void *to, const void __user *from, unsigned long n)
{
	unsigned long left;

	if (!access_ok(from, n))
		return -EFAULT;
	pagefault_disable();
	left = copy_user_generic(to, from, n);
	pagefault_enable();
	return left ? -EFAULT : 0;
}

long copy_to_user_nofault(void __user *to, const void *from, unsigned long n)
{
	unsigned long left;

	if (!access_ok(to, n))
		return -EFAULT;
	pagefault_disable();
	left = copy_user_generic(to, from, n);
	pagefault_enable();
	return left ? -EFAULT : 0;
}
