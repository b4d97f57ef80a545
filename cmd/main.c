/* The command line's first word. */
#include <stdio.h>

int main(int argc, char **argv)
{
	puts("nestbox");
	return argc > 1 ? 2 : 0;
}
