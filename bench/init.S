/* The only program of bench/boot's initramfs: says so and waits. */
#include <asm/unistd.h>

	.intel_syntax noprefix
	.globl _start
_start:	mov eax, __NR_write
	mov edi, 1
	lea rsi, [rip + text]
	mov edx, offset text_end - text
	syscall
1:	mov eax, __NR_pause
	syscall
	jmp 1b
text:	.ascii "INIT RUNS\n"
text_end:
