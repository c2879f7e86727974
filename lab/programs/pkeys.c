/* Protection keys: PKRU forbids what the page tables allow; in the kernel too; the error code says so. */
#include "lab.h"

static inline void wrpkru(unsigned int value)
{
	asm volatile("wrpkru" : : "a"(value), "c"(0), "d"(0) : "memory");
}

static void program(long *stack)
{
	byte *memory = map(8 * PAGE, RW, ANONYMOUS, -1, 0);
	long key = sys(pkey_alloc, 0, 0), other;

	(void)stack;
	say("key", key);
	poke(memory, 1);
	say("pkey_mprotect", sys(pkey_mprotect, memory, 4 * PAGE, RW, key));
	poke(memory + PAGE, 1);
	wrpkru((0x55555554 & ~(3u << 2 * key)) | 2u << 2 * key);	/* no writes */
	say("read", peek(memory));
	say("kernel writes", sys(uname, memory));
	say("kernel writes a page that is not there", sys(uname, memory + 2 * PAGE));
	say("kernel reads", sys(write, 1, "ok\n", 3) + sys(access, memory + 3 * PAGE, 0));
	wrpkru(0x55555554 | 3u << 2 * key);			/* nothing */
	say("kernel reads", sys(access, memory, 0));
	other = sys(pkey_alloc, 0, 2);
	say("another", other);
	say("execute only", sys(mprotect, memory + 6 * PAGE, PAGE, PROT_EXEC));
	say("kernel reads", sys(access, memory + 6 * PAGE, 0));
	say("free", sys(pkey_free, other));
	poke(memory + 4 * PAGE, 1);				/* key 0 */
	poke(memory, 1);					/* SIGSEGV, SEGV_PKUERR */
}
