/* What CPUID says, one line a leaf and subleaf: leaf, subleaf, eax, ebx, ecx, edx. Runs in the guest. */
#include <cpuid.h>
#include <stdio.h>

static int has_subleaves(unsigned leaf)
{
	return leaf == 4 || leaf == 7 || leaf == 0xb || leaf == 0xd || leaf == 0x14 || leaf == 0x8000001d;
}

int main(void)
{
	const unsigned first[] = { 0, 0x80000000 };

	for (int range = 0; range < 2; range++) {
		unsigned a, b, c, d, last;

		__cpuid(first[range], last, b, c, d);
		for (unsigned leaf = first[range]; leaf <= last; leaf++)
			for (unsigned sub = 0; sub < (has_subleaves(leaf) ? 16 : 1); sub++) {
				__cpuid_count(leaf, sub, a, b, c, d);
				if (a | b | c | d)
					printf("cpuid: %x %x %x %x %x %x\n", leaf, sub, a, b, c, d);
			}
	}
	return 0;
}
