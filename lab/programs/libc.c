/* An ordinary static program of libc: printf, malloc small and large, qsort, a file read by lines. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int order(const void *a, const void *b) { return strcmp(*(char **)a, *(char **)b); }

int main(void)
{
	char line[64], *lines[600], *large = malloc(1 << 20);
	FILE *file = fopen("/words", "r");
	int count = 0;

	while (file && fgets(line, sizeof line, file))
		lines[count++] = strdup(line);
	qsort(lines, count, sizeof *lines, order);
	memset(large, 'x', 1 << 20);
	printf("%d lines, first %slast %s", count, lines[0], lines[count - 1]);
	free(large);
	large = calloc(1, 3 << 20);
	printf("%d\n", large[1 << 20]);
	return 0;
}
