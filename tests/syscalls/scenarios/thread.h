/* Threads without a libc. */
#pragma once
#include "lab.h"

#define THREAD (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM)
/* A thread that runs f(argument) on a stack of its own. */
static __attribute__((noinline)) long thread(unsigned long flags, long *top, void (*f)(long), long argument, int *tid, long tls)
{
	register long r10 asm("r10") = (long)tid, r8 asm("r8") = tls;
	long result;
	*--top = argument;
	*--top = (long)f;
	asm volatile("syscall\n\ttest %%rax, %%rax\n\tjnz 1f\n\txor %%ebp, %%ebp\n\tpop %%rax\n\tpop %%rdi\n\tcall *%%rax\n\txor %%edi, %%edi\n\tmov $60, %%eax\n\tsyscall\n1:"
		: "=a"(result) : "a"(56l), "D"(flags), "S"(top), "d"((long)tid), "r"(r10), "r"(r8) : "rcx", "r11", "memory");
	return result;
}
static long stacks[4][1024] __attribute__((aligned(16)));
static volatile int word, tid;
