/* SIGSEGV caught: si_code and si_addr, the frame on a fresh alternate stack, and what every bad access is. */
#include "lab.h"

struct action { void (*handler)(int, long *, long *); unsigned long flags; void (*restorer)(void); unsigned long mask; };
#define SA_SIGINFO 4ul
#define SA_ONSTACK 0x08000000ul
#define SA_RESTORER 0x04000000ul
#define RIP (5 + 16)	/* of struct ucontext: flags, link, stack (3), then r8…r15 rdi rsi rbp rbx rdx rax rcx rsp rip */

static unsigned long resume;

void back(void);
asm("back: mov $15, %eax\n\tsyscall\n");	/* rt_sigreturn */

static void caught(int number, long *info, long *context)
{
	say("signal", number);
	say("code", (int)info[1]);
	say("address", info[2]);
	say("error", context[RIP + 3]);
	say("trap", context[RIP + 4]);
	say("cr2", context[RIP + 6]);
	context[RIP] = resume;
}

/* One access, by code that the handler skips. */
#define ATTEMPT(text, ...) do { \
	say(text, 0); \
	asm volatile("leaq 1f(%%rip), %%rax; movq %%rax, %0\n\t" __VA_ARGS__ "\n1:" \
		     : "=m"(resume) : "D"(at) : "rax", "rcx", "memory"); \
} while (0)

static void program(long *stack)
{
	struct action action = {caught, SA_SIGINFO | SA_ONSTACK | SA_RESTORER, back, 0};
	struct { byte *base; long flags, size; } other = {map_at(CLEAR, 16 * PAGE, RW, ANONYMOUS), 0, 16 * PAGE};
	byte *at = map_at(CLEAR + HUGE, 8 * PAGE, PROT_READ, ANONYMOUS);

	(void)stack;
	say("sigaltstack", sys(sigaltstack, &other, 0));
	say("sigaction", sys(rt_sigaction, 11, &action, 0, 8) + sys(rt_sigaction, 7, &action, 0, 8));
	ATTEMPT("write to read-only, no page", "movb $1, (%%rdi)");
	peek(at + PAGE);
	at += PAGE;
	ATTEMPT("write to read-only, zero page", "movb $1, (%%rdi)");
	ATTEMPT("execute no-execute", "jmp *%%rdi");
	at += PAGE;
	ATTEMPT("execute no-execute, no page", "jmp *%%rdi");
	at = (byte *)8;
	ATTEMPT("read null", "movb (%%rdi), %%al");
	ATTEMPT("write null", "movb $1, (%%rdi)");
	ATTEMPT("execute null", "jmp *%%rdi");
	at = (byte *)0xffffffff81000000;
	ATTEMPT("read the kernel's text", "movb (%%rdi), %%al");
	ATTEMPT("write the kernel's text", "movb $1, (%%rdi)");
	ATTEMPT("execute the kernel's text", "jmp *%%rdi");
	at = (byte *)0xfffffffffffff000;
	ATTEMPT("read the last page", "movb (%%rdi), %%al");
	at = (byte *)0x7ffffffff000;
	ATTEMPT("read the page above user space", "movb (%%rdi), %%al");
	at = (byte *)0x8000000000000000;
	ATTEMPT("read where no address is", "movb (%%rdi), %%al");
	at = (byte *)0xffffffffff600000;
	ATTEMPT("read vsyscall", "movb (%%rdi), %%al");
	at = (byte *)program;
	ATTEMPT("write own text", "movb $1, (%%rdi)");
	at = (byte *)CLEAR + HUGE + 8 * PAGE - 2;
	ATTEMPT("across the end of a vma", "movl (%%rdi), %%eax");
}
