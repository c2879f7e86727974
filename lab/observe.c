/*
 * observe NAME PROGRAM [ARG…]: run a program in the guest with an empty environment, and tell the host all about it.
 * observe --send NAME: send standard input.
 *
 * The host reads QEMU's debug console, port 0xe9: no driver, no page cache and no wait on the way. What is sent is
 * framed: "@NAME LENGTH\n", then so many bytes. The program runs with the traced events on; when it ends, before its memory
 * goes, it is stopped for a look at its maps and pages. Nothing else stops it, so that it runs as without a tracer.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define TRACING "/sys/kernel/tracing/"
#define OUTPUT "/tmp/output"
#define PATIENCE 20	/* seconds */
#define FIRST_PID "999"		/* programs and their children are 1000, 1001, …, whatever ran before */

static void must(int good, const char *what)
{
	if (good)
		return;
	perror(what);
	exit(1);
}

static void send(const char *data, size_t length)
{
	asm volatile("rep outsb" : "+S"(data), "+c"(length) : "d"(0xe9) : "memory");
}

static void section(const char *name, const char *data, size_t length)
{
	char head[64];

	send(head, snprintf(head, sizeof head, "@%s %zu\n", name, length));
	send(data, length);
}

static char *slurp(const char *path, size_t *length)
{
	size_t size = 1 << 16, used = 0;
	char *data = malloc(size);
	int fd = open(path, O_RDONLY);
	ssize_t n;

	must(fd >= 0, path);
	while ((n = read(fd, data + used, size - used)) > 0)
		if ((used += n) == size)
			data = realloc(data, size *= 2);
	close(fd);
	*length = used;
	return data;
}

static void forward(const char *name, const char *path)
{
	size_t length;
	char *data = slurp(path, &length);

	section(name, data, length);
	free(data);
}

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_TRUNC);

	must(fd >= 0 && write(fd, text, strlen(text)) >= 0, path);
	close(fd);
}

/* One line a run of pages that look alike: first address, pages, pagemap's bits, kpageflags' bits (0: no page). */
static void pages(pid_t pid, const char *maps)
{
	char path[64], *text;
	size_t length;
	FILE *out = open_memstream(&text, &length);
	int flags = open("/proc/kpageflags", O_RDONLY), entries;

	snprintf(path, sizeof path, "/proc/%d/pagemap", pid);
	entries = open(path, O_RDONLY);
	must(flags >= 0 && entries >= 0, path);
	for (const char *line = maps; line && *line; line = strchr(line, '\n') + 1) {
		unsigned long first, end, since = 0;
		uint64_t entry, flag, was = 0, had = 0, some[512];

		if (sscanf(line, "%lx-%lx", &first, &end) != 2)
			break;
		since = first;
		for (unsigned long at = first; at <= end; at += 4096) {
			entry = flag = 0;
			if (at < end && !((at - first) >> 12 & 511) && pread(entries, some, sizeof some, at >> 12 << 3) <= 0)
				break;
			if (at < end && (entry = some[(at - first) >> 12 & 511]) >> 63)
				pread(flags, &flag, 8, (entry & ((1ull << 55) - 1)) << 3);
			entry = entry >> 55 << 55;
			if (at == end || entry != was || flag != had) {
				if (was)
					fprintf(out, "%lx %ld %lx %lx\n", since, (long)(at - since) >> 12, was >> 55, had);
				since = at, was = entry, had = flag;
			}
		}
	}
	fclose(out);
	section("pages", text, length);
	free(text);
	close(flags);
	close(entries);
}

static pid_t watched;
static void give_up(int number) { kill(watched, number == SIGALRM ? SIGKILL : number); }

static void look(pid_t pid)
{
	char path[64], *maps;
	size_t length;

	snprintf(path, sizeof path, "/proc/%d/smaps", pid);
	forward("smaps", path);
	snprintf(path, sizeof path, "/proc/%d/maps", pid);
	maps = slurp(path, &length);
	section("maps", maps, length);
	maps = realloc(maps, length + 1);
	maps[length] = 0;
	pages(pid, maps);
	free(maps);
}

int main(int argc, char **argv)
{
	struct rusage usage;
	char text[128], go;
	int status, gate[2];
	pid_t pid;

	must(argc > 2 && !iopl(3), "observe NAME PROGRAM [ARG...]");
	if (!strcmp(argv[1], "--send")) {
		forward(argv[2], "/proc/self/fd/0");
		return 0;
	}
	section("begin", argv[1], strlen(argv[1]));
	must(!pipe(gate), "pipe");
	put("/proc/sys/kernel/ns_last_pid", FIRST_PID);
	if (!(pid = fork())) {
		int in = open("/dev/null", O_RDONLY), out = open(OUTPUT, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0644);

		must(in >= 0 && out >= 0 && read(gate[0], &go, 1) == 1, OUTPUT);
		dup2(in, 0), dup2(out, 1), dup2(out, 2);
		for (int fd = 3; fd < 16; fd++)
			close(fd);
		setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
		/* A child starts when its parent waits, not when the scheduler likes. */
		must(!sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){.sched_priority = 1}), "sched_setscheduler");
		execve(argv[2], argv + 2, (char *[]){0});
		must(0, argv[2]);
	}
	watched = pid;
	must(!sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){.sched_priority = 2}), "sched_setscheduler");
	sigaction(SIGALRM, &(struct sigaction){.sa_handler = give_up, .sa_flags = SA_RESTART}, 0);
	alarm(PATIENCE);
	must(!ptrace(PTRACE_SEIZE, pid, 0, PTRACE_O_TRACEEXIT | PTRACE_O_EXITKILL), "ptrace");
	put(TRACING "trace", "");
	put(TRACING "tracing_on", "1");
	must(write(gate[1], "g", 1) == 1, "pipe");
	for (;;) {
		must(wait4(pid, &status, __WALL, &usage) == pid, "wait4");
		if (!WIFSTOPPED(status))
			break;
		if (status >> 8 == (SIGTRAP | PTRACE_EVENT_EXIT << 8)) {
			put(TRACING "tracing_on", "0");
			look(pid);
			put(TRACING "tracing_on", "1");
		}
		ptrace(PTRACE_CONT, pid, 0, status >> 16 ? 0 : WSTOPSIG(status));
	}
	put(TRACING "tracing_on", "0");
	snprintf(text, sizeof text, "pid %d\nstatus %d\nminor %ld\nmajor %ld\n", pid, status, usage.ru_minflt, usage.ru_majflt);
	section("status", text, strlen(text));
	forward("output", OUTPUT);
	forward("trace", TRACING "trace");
	section("end", "", 0);
	return 0;
}
