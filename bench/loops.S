/*
 * Guest loops to time a processor with: one multiboot image a loop (-DLOOP=name), which sets up long mode, prints 'S' on the first serial port, runs
 * the loop, prints 'E' and halts until it is killed. 'N' instead of 'S': this processor cannot. Memory below 1 GiB is identity
 * mapped in 2-MiB pages that user mode may use. bench/run knows how many instructions each loop is.
 */
#define int_ 1
#define mem 2
#define call_ 3
#define sse 4
#define packed 5
#define x87 6
#define random 7
#define movs 8
#define smc 9
#define syscall_ 10
#define fault 11
#define vmexit 12
#define smc_op 13
#define beside 14
/* For bench/exits: each round is an exit when the image runs in a guest of a guest. */
#define exit_cpuid 15
#define exit_port 16
#define exit_msr 17
#define exit_page 18

	.intel_syntax noprefix
	.section .init, "awx", @progbits
	.balign 4
	.long 0x1badb002, 0, -0x1badb002
	.code32
	.globl start
start:	cli
	cld
	mov esp, offset stack_top
	mov edi, offset tables
	xor eax, eax
	mov ecx, 5 * 1024
	rep stosd
	mov dword ptr [pml4], offset pdpt + 7
	mov dword ptr [pdpt], offset pd + 7
	mov dword ptr [pdpt + 8], offset pd1 + 7
	mov dword ptr [pd1], offset pt1 + 7
	xor ecx, ecx
1:	mov eax, ecx
	shl eax, 21
	or eax, 0x87
	mov [pd + ecx * 8], eax
	inc ecx
	cmp ecx, 512
	jne 1b
	mov eax, 0x620			/* PAE OSFXSR OSXMMEXCPT */
	mov cr4, eax
	mov eax, offset pml4
	mov cr3, eax
	mov ecx, 0xc0000080
	rdmsr
	or eax, 0x101			/* LME SCE */
	wrmsr
	mov eax, 0x80000033		/* PG NE ET MP PE */
	mov cr0, eax
	lgdt [gdt_pointer]
	ljmp 8, offset long_mode

	.code64
putc:	mov dx, 0x3f8
	out dx, al
	ret
none:	mov al, 'N'
	call putc
	jmp end
long_mode:
	mov eax, 16
	mov ds, eax
	mov es, eax
	mov ss, eax
	mov dx, 0x3fb
	mov al, 3
	out dx, al
#if LOOP == vmexit
	mov eax, 0x80000000
	cpuid
	cmp eax, 0x8000000a
	jb none
	mov eax, 0x80000001
	cpuid
	test ecx, 4
	jz none
	mov ecx, 0xc0000080
	rdmsr
	or eax, 0x1000			/* SVME */
	wrmsr
	mov ecx, 0xc0010117		/* VM_HSAVE_PA */
	mov eax, offset hsave
	xor edx, edx
	wrmsr
	mov edi, offset vmcb
	mov ecx, 1024
	xor eax, eax
	rep stosd
	mov ebx, offset vmcb
	mov dword ptr [rbx + 0x10], 3	/* intercept VMRUN, VMMCALL */
	mov dword ptr [rbx + 0x58], 1	/* ASID */
	mov dword ptr [rbx + 0x400], 0x0c930010 /* ES CS SS DS: attributes, selector; limits */
	mov dword ptr [rbx + 0x404], -1
	mov dword ptr [rbx + 0x410], 0x029b0008
	mov dword ptr [rbx + 0x414], -1
	mov dword ptr [rbx + 0x420], 0x0c930010
	mov dword ptr [rbx + 0x424], -1
	mov dword ptr [rbx + 0x430], 0x0c930010
	mov dword ptr [rbx + 0x434], -1
	mov ecx, 0xc0000080
	rdmsr
	mov [rbx + 0x4d0], eax		/* EFER */
	mov rax, cr4
	mov [rbx + 0x548], rax
	mov rax, cr3
	mov [rbx + 0x550], rax
	mov rax, cr0
	mov [rbx + 0x558], rax
	mov dword ptr [rbx + 0x560], 0x400 /* DR7 */
	mov dword ptr [rbx + 0x568], 0xffff0ff0
	mov dword ptr [rbx + 0x570], 2	/* RFLAGS */
	mov dword ptr [rbx + 0x578], offset guest
	mov dword ptr [rbx + 0x5d8], offset stack_top
#endif
#if LOOP == fault
	mov eax, offset page_fault
	mov word ptr [idt + 14 * 16], ax
	mov dword ptr [idt + 14 * 16 + 2], 0x8e000008
	shr eax, 16
	mov word ptr [idt + 14 * 16 + 6], ax
	lidt [idt_pointer]
#endif
#if LOOP == syscall_
	mov ecx, 0xc0000081		/* STAR: user 20h and 18h, kernel 8 and 10h */
	xor eax, eax
	mov edx, 0x00130008
	wrmsr
	inc ecx				/* LSTAR */
	mov eax, offset kernel
	xor edx, edx
	wrmsr
	mov ecx, 0xc0000084
	wrmsr
#endif
	mov al, 'S'
	call putc
	mov r15d, COUNT
#if LOOP == int_
	.balign 64
1:	add rax, r15
	xor rbx, rax
	lea rdx, [rax + rbx * 2 + 7]
	shl rbx, 3
	sub rsi, rdx
	ror rax, 5
	and rdi, rsi
	or rdi, rdx
	dec r15
	jnz 1b
#elif LOOP == mem
	mov edx, 12345
	.balign 64
1:	imul edx, edx, 1664525
	add edx, 1013904223
	mov esi, edx
	shr esi, 20
	mov rdi, [data + rsi * 8]
	add rdi, rdx
	cmp rdi, r15
	jb 2f
	xor rdi, rsi
2:	mov [data + rsi * 8], rdi
	dec r15
	jnz 1b
#elif LOOP == call_
	xor ecx, ecx
	.balign 64
1:	call leaf0
	mov esi, r15d
	and esi, 3
	call [table + rsi * 8]
	dec r15
	jnz 1b
	jmp over
leaf0:	push rcx
	add rcx, 1
	pop rdx
	ret
leaf1:	push rbx
	xor rbx, rcx
	pop rdx
	ret
	.balign 8
table:	.quad leaf0, leaf1, leaf0, leaf1
over:
#elif LOOP == sse
	movsd xmm1, [one]
	movsd xmm2, [half]
	movapd xmm0, xmm1
	movapd xmm3, xmm2
	.balign 64
1:	movsd xmm5, [fdata]
	mulsd xmm0, xmm1
	addsd xmm3, xmm2
	mulsd xmm5, xmm2
	addsd xmm4, xmm5
	subsd xmm3, xmm5
	movsd [fdata + 8], xmm4
	dec r15
	jnz 1b
#elif LOOP == packed
	pxor xmm0, xmm0
	pcmpeqd xmm1, xmm1
	.balign 64
1:	movdqu xmm2, [data]
	paddd xmm0, xmm1
	pxor xmm2, xmm0
	pshufd xmm3, xmm2, 0x1b
	psubq xmm1, xmm3
	pslld xmm3, 3
	movdqu [data], xmm3
	dec r15
	jnz 1b
#elif LOOP == x87
	fninit
	fld1
	fldpi
	.balign 64
1:	fld st(0)
	fmul st, st(2)
	fadd st, st(1)
	fstp qword ptr [fdata]
	fld qword ptr [fdata]
	fdiv st, st(1)
	fstp st(0)
	dec r15
	jnz 1b
#elif LOOP == random
	mov edx, 1
	.balign 64
1:	imul edx, edx, 1664525
	add edx, 1013904223
	mov esi, edx
	shr esi, 6
	and esi, ~7
	add rax, [0x2000000 + rsi]
	dec r15
	jnz 1b
#elif LOOP == movs
1:	mov esi, offset data
	mov edi, offset data + 16384
	mov ecx, 512
	rep movsq
	dec r15
	jnz 1b
#elif LOOP == smc
	.balign 64
1:	mov [2f + 1], r15d
2:	mov eax, 0x12345678
	add rbx, rax
	dec r15
	jnz 1b
#elif LOOP == smc_op
	.balign 64
1:	xor byte ptr [2f + 1], 0x28	/* ADD and SUB take turns */
2:	add rbx, rax
	inc rax
	dec r15
	jnz 1b
#elif LOOP == beside
	.balign 64
1:	mov [3f], r15d
	mov eax, [3f]
	add rbx, rax
	dec r15
	jnz 1b
	jmp 4f
	.balign 4
3:	.long 0				/* in the loop's own cache line */
4:
#elif LOOP == syscall_
	mov ecx, offset user
	mov r11d, 2
	sysretq
user:	xor ebx, ebx
1:	syscall
	dec r15
	jnz 1b
	inc ebx
	syscall
kernel:	test ebx, ebx
	jnz 2f
	sysretq
2:
#elif LOOP == fault
1:	mov qword ptr [pt1], 0		/* the page is gone */
	invlpg [0x40000000]
	mov rax, [0x40000000]
	dec r15
	jnz 1b
	jmp 2f
page_fault:
	mov qword ptr [pt1], offset data + 3
	add rsp, 8
	iretq
2:
#elif LOOP == exit_cpuid
1:	xor eax, eax
	xor ecx, ecx
	cpuid
	dec r15
	jnz 1b
#elif LOOP == exit_port
	mov edx, 0x2f0			/* nobody's */
1:	out dx, al
	dec r15
	jnz 1b
#elif LOOP == exit_msr
	mov ecx, 0x1b			/* IA32_APIC_BASE */
1:	rdmsr
	dec r15
	jnz 1b
#elif LOOP == exit_page
	mov esi, 0x2000000		/* pages never touched before */
1:	mov [rsi], r15
	add rsi, 4096
	dec r15
	jnz 1b
#elif LOOP == vmexit
	mov eax, offset vmcb
1:	vmrun
	dec r15
	jnz 1b
	jmp 2f
guest:	vmmcall
2:
#endif
	mov al, 'E'
	call putc
#if LOOP >= exit_cpuid
	out 0xf4, al			/* the debug exit */
#endif
end:	hlt
	jmp end

	.section .data
	.balign 16
one:	.double 1.0000001
half:	.double 0.5000001
fdata:	.double 1.5, 0
	.balign 8
gdt:	.quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cff3000000ffff, 0x00affb000000ffff
gdt_pointer:
	.short . - gdt - 1
	.quad gdt
idt_pointer:
	.short 4095
	.quad idt
	.section .bss
	.balign 4096
tables:
pml4:	.skip 4096
pdpt:	.skip 4096
pd:	.skip 4096
pd1:	.skip 4096
pt1:	.skip 4096
idt:	.skip 4096
vmcb:	.skip 4096
hsave:	.skip 4096
data:	.skip 65536
	.skip 16384
stack_top:
