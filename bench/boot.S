/*
 * A boot sector for machines without a multiboot loader: reads the loop's image, which follows it on the disk, copies it to 1 MiB and
 * enters it in flat 32-bit mode. ENTRY is the image's `start`.
 */
	.intel_syntax noprefix
	.code16
	.globl _start
_start:	cli
	xor ax, ax
	mov ds, ax
	mov es, ax
	mov ss, ax
	mov sp, 0x7c00
	mov ax, 0x0210			/* 16 sectors: the rest of the first track */
	mov bx, 0x7e00
	mov cx, 2
	xor dh, dh
	int 0x13
	in al, 0x92			/* A20 */
	or al, 2
	out 0x92, al
	lgdt [pointer]
	mov eax, cr0
	or al, 1
	mov cr0, eax
	ljmp 8, offset protected
	.code32
protected:	mov ax, 16
	mov ds, eax
	mov es, eax
	mov ss, eax
	mov esi, 0x7e00
	mov edi, 0x100000
	mov ecx, 8192 / 4
	cld
	rep movsd
	mov eax, ENTRY
	jmp eax
	.balign 8
gdt:	.quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
pointer:
	.short . - gdt - 1
	.long gdt
	.org 510
	.short 0xaa55
