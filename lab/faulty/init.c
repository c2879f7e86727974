/* The guest's first and only program: it loads the module, and has a child write each line of the file /lines to it. */
#include <asm/unistd.h>
#include <linux/fcntl.h>
#include <linux/mman.h>
#include <stddef.h>

#define PAGE 4096
#define DATA 0x10000000ul	/* a page to read and write; behind it one of code, one to read, one not there yet, none */
#define CHRDEV 0020000
#define SIGCHLD 17

#ifdef __x86_64__
#define MMAP __NR_mmap
#define MMAP_UNIT 1
static long syscall6(long number, long a, long b, long c, long d, long e, long f)
{
	register long r10 asm("r10") = d, r8 asm("r8") = e, r9 asm("r9") = f;
	long result;

	asm volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
		     : "rcx", "r11", "memory");
	return result;
}
#else
#define MMAP __NR_mmap2
static long syscall6(long number, long a, long b, long c, long d, long e, long f)
{
	long result;

	asm volatile("push %%ebp; mov %[sixth], %%ebp; int $0x80; pop %%ebp"
		     : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e), [sixth] "m"(f) : "memory");
	return result;
}
#endif
#define SYSCALL_(n, a, b, c, d, e, f, ...) syscall6(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
#define sys(...) SYSCALL_(__VA_ARGS__, 0, 0, 0, 0, 0, 0, 0)

static int log;
static char line[320];


/* One record of the kernel's log, which the console shows whatever the level is. */
static void say(const char *what, const char *text, long n)
{
	char *end = line;

	for (const char *from = "<0>lab: "; *from; from++)
		*end++ = *from;
	while (*what)
		*end++ = *what++;
	while (n-- > 0)
		*end++ = *text++;
	*end++ = '\n';
	sys(__NR_write, log, line, end - line);
}

static void say_file(const char *what, const char *path)
{
	char text[256];
	int file = sys(__NR_open, path, O_RDONLY);
	long n = sys(__NR_read, file, text, sizeof text);

	sys(__NR_close, file);
	say(what, text, n > 0 && text[n - 1] == '\n' ? n - 1 : n);
}

static void map(unsigned long address)
{
	sys(MMAP, address, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

static void map_and_write(unsigned long address, unsigned char value, int rights)
{
	map(address);
	*(volatile unsigned char *)address = value;
	sys(__NR_mprotect, address, PAGE, rights);
}

static void ask(const char *text, long n)
{
	int status, file;
	long child;

	if ((child = sys(__NR_fork)) == 0) {
		file = sys(__NR_open, "/proc/faulty", O_WRONLY);
		sys(__NR_write, file, text, n);
		say("done", "", 0);
		sys(__NR_exit, 0);
	}
	sys(__NR_wait4, child, &status, 0, NULL);
}

static char lines[4096];

__attribute__((force_align_arg_pointer, used)) void start(void)
{
	long n, at = 0;
	int file;

	sys(__NR_mknod, "/kmsg", CHRDEV | 0600, 1 << 8 | 11);
	log = sys(__NR_open, "/kmsg", O_WRONLY);
	sys(__NR_mount, "proc", "/proc", "proc", 0, NULL);
	sys(__NR_mount, "sysfs", "/sys", "sysfs", 0, NULL);
	file = sys(__NR_open, "/faulty.ko", O_RDONLY);
	if (sys(__NR_finit_module, file, "", 0))
		say("the module cannot be loaded", "", 0);
	say_file("banner ", "/proc/version");
	say_file("text ", "/sys/module/faulty/sections/.text");
	map_and_write(DATA, 0xc3, PROT_READ | PROT_WRITE);
	map_and_write(DATA + PAGE, 0xc3, PROT_READ | PROT_EXEC);
	map_and_write(DATA + 2 * PAGE, 0xc3, PROT_READ);
	map(DATA + 3 * PAGE);
	file = sys(__NR_open, "/lines", O_RDONLY);
	n = sys(__NR_read, file, lines, sizeof lines);
	while (at < n) {
		long end = at;

		while (end < n && lines[end] != '\n')
			end++;
		say("asked ", lines + at, end - at);
		ask(lines + at, end - at);
		at = end + 1;
	}
	say("the guest is ready", "", 0);
	while (1)
		sys(__NR_pause);
}

asm(".globl _start\n_start: call start");
