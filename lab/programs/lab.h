/* What every program here starts from: no libc, so that the only faults are the program's own and execve's. */
#pragma once
#include <asm/unistd.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/mman.h>
#include <linux/sched.h>
#include <linux/types.h>
#include <stddef.h>
#include <stdint.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#define PAGE 4096ul
#define HUGE (2ul << 20)
#define RW (PROT_READ | PROT_WRITE)
#define ANONYMOUS (MAP_PRIVATE | MAP_ANONYMOUS)

static inline __attribute__((always_inline)) long
syscall6(long number, long a, long b, long c, long d, long e, long f)
{
	register long r10 asm("r10") = d, r8 asm("r8") = e, r9 asm("r9") = f;
	long result;

	asm volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
		     : "rcx", "r11", "memory");
	return result;
}
#define SYSCALL_(n, a, b, c, d, e, f, ...) \
	syscall6(__NR_##n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
/* sys(read, 0, buffer, 10) is the result as the kernel gave it: a value, or -errno. */
#define sys(...) SYSCALL_(__VA_ARGS__, 0, 0, 0, 0, 0, 0, 0)

typedef volatile unsigned char byte;

/* Prints "what = value" with one write(2) from the stack's top page, which is there already. */
static __attribute__((noinline)) void say(const char *what, long value)
{
	char line[96], digits[24], *end = line;
	unsigned long rest = value;
	int count = 0;

	while (*what && end < line + 64)
		*end++ = *what++;
	*end++ = ' ', *end++ = '=', *end++ = ' ';
	if (value < 0 && value > -4096)
		*end++ = '-', rest = -value;
	if (rest > 0xfffff) {
		*end++ = '0', *end++ = 'x';
		do
			digits[count++] = "0123456789abcdef"[rest & 15];
		while (rest >>= 4);
	} else {
		do
			digits[count++] = '0' + rest % 10;
		while (rest /= 10);
	}
	while (count)
		*end++ = digits[--count];
	*end++ = '\n';
	sys(write, 1, line, end - line);
}

/* Not memset or memcpy: a compiler may know those, and which instruction touches memory first is a result here. */
static inline void fill(byte *to, unsigned char value, long count)
{
	asm volatile("rep stosb" : "+D"(to), "+c"(count) : "a"(value) : "memory");
}

static inline unsigned char peek(byte *p) { return *p; }
static inline void poke(byte *p, unsigned char value) { *p = value; }

static inline byte *map(long length, int prot, int flags, int fd, long offset)
{
	return (byte *)sys(mmap, 0, length, prot, flags, fd, offset);
}
static inline byte *map_at(unsigned long address, long length, int prot, int flags)
{
	return (byte *)sys(mmap, address, length, prot, flags | MAP_FIXED_NOREPLACE, -1, 0);
}

/* A 2 MiB-aligned address far from everything else, where the programs on huge pages map. */
#define CLEAR 0x10000000ul

static inline long faults(void)	/* minor and major, as getrusage counts them */
{
	long usage[18];

	sys(getrusage, 0, usage);
	return usage[8] + usage[9];
}

/* Every program defines: what it does, as a function of the initial stack (argc, argv, envp, auxv). */
static void program(long *stack);

__attribute__((noreturn, used)) static void start(long *stack)
{
	long before = faults();

	program(stack);
	say("faults", faults() - before);
	sys(exit_group, 0);
	__builtin_unreachable();
}
asm(".globl _start\n_start:\n\tmov %rsp, %rdi\n\txor %ebp, %ebp\n\tand $-16, %rsp\n\tcall start\n\thlt\n");
