/*
 * Entry of the test guest: PVH (Xen's "x86/HVM direct boot ABI": 32-bit protected mode, EBX: hvm_start_info), then long
 * mode with 1 GiB mapped one to one, then guest_main. The second processor comes through `ap_start`, which is copied below
 * 1 MiB, to ap_main.
 */
	.section .note.pvh, "a", @note
	.align 4
	.long 4, 4, 18
	.asciz "Xen"
	.long start

	.section .text.start, "ax"
	.code32
	.globl start
start:
	mov	%ebx, info
	mov	$stack_top, %esp
	/* Page tables: 512 large pages. */
	movl	$pdpt + 3, pml4
	movl	$pd + 3, pdpt
	mov	$pd, %edi
	mov	$0x83, %eax
	mov	$512, %ecx
1:	mov	%eax, (%edi)
	movl	$0, 4(%edi)
	add	$8, %edi
	add	$0x200000, %eax
	loop	1b
	call	enter_paging
	lgdt	gdtr
	ljmp	$8, $start64

enter_paging:
	mov	$0x620, %eax		/* PAE, OSFXSR, OSXMMEXCPT */
	mov	%eax, %cr4
	mov	$pml4, %eax
	mov	%eax, %cr3
	mov	$0xc0000080, %ecx
	rdmsr
	or	$0x100, %eax
	wrmsr
	mov	$0x80000011, %eax	/* PG, ET, PE */
	mov	%eax, %cr0
	ret

	.code64
start64:
	mov	$16, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %ss
	mov	$stack_top, %esp
	xor	%ebp, %ebp
	mov	info, %edi
	call	guest_main
1:	hlt
	jmp	1b

/* The second processor, at 0x8000 in real mode. */
	.code16
	.globl ap_start, ap_end
ap_start:
	cli
	xor	%ax, %ax
	mov	%ax, %ds
	lgdtl	0x8000 + ap_gdtr - ap_start
	mov	%cr0, %eax
	or	$1, %eax
	mov	%eax, %cr0
	ljmpl	$24, $ap32
ap_gdtr:
	.word	31
	.long	gdt
ap_end:
	.code32
ap32:
	mov	$16, %eax
	mov	%eax, %ds
	mov	%eax, %ss
	mov	$ap_stack_top, %esp
	call	enter_paging
	ljmp	$8, $ap64
	.code64
ap64:
	mov	$ap_stack_top, %esp
	xor	%ebp, %ebp
	call	ap_main
1:	hlt
	jmp	1b

	.section .data
	.align 8
gdt:	.quad	0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cf9b000000ffff
gdtr:	.word	31
	.long	gdt
info:	.long	0

	.section .bss
	.align 4096
pml4:	.skip	4096
pdpt:	.skip	4096
pd:	.skip	4096
	.skip	8192
stack_top:
	.skip	8192
ap_stack_top:

	.section .note.GNU-stack, "", @progbits
