/* readv and writev: pieces in different memory, one of them bad: what came before it counts. */
#include "lab.h"

static struct { byte *base; long length; } piece[4];

static void program(long *stack)
{
	byte *memory = map_at(CLEAR, 16 * PAGE, RW, ANONYMOUS);
	int fd = sys(open, "/data", O_RDONLY), out = sys(open, "/tmp/out", O_RDWR | O_CREAT | O_TRUNC, 0600);

	(void)stack;
	sys(munmap, memory + 8 * PAGE, PAGE);
	for (int i = 0; i < 4; i++)
		piece[i].base = memory + 3 * i * PAGE - (i == 3 ? 3000 : 0), piece[i].length = 5000;
	piece[2].base = memory + 8 * PAGE - 700;
	say("readv", sys(readv, fd, piece, 4));
	say("writev", sys(writev, out, piece, 4));
	piece[0].length = 0;
	say("writev", sys(writev, out, piece, 2));
	piece[1].base = 0;
	say("writev", sys(writev, out, piece, 4));
	piece[1].base = (byte *)0xffffffff81000000;
	say("writev", sys(writev, out, piece, 4));
}
