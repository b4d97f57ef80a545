#!/bin/sh
# The board by a guest of a few lines: resets, what is told of a guest that broke or hangs, a record of each trace topic.
# Usage: board.sh NESTBOX GUEST
set -eu
nestbox=$1
guest=$2
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' INT TERM
die() {
	echo "board.sh: $*"
	tail -n 60 "$tmp/out"
	exit 1
}
run() { # run STATUS WORD ARGS…
	want=$1
	word=$2
	shift 2
	status=0
	"$nestbox" run --accel soft --memory 64M --kernel "$guest" --append "$word" --timeout 20 "$@" </dev/null >"$tmp/out" 2>&1 || status=$?
	[ "$status" -eq "$want" ] || die "$word $*: exit status $status, not $want"
}
has() { grep -Eq -- "$1" "$tmp/out" || die "no '$1'"; }

for way in kbd cf9 acpi; do
	run 0 $way
	[ "$(tr '\n' ' ' <"$tmp/out")" = 'first boot second boot RAM is new ' ] || die "$way did not start the guest again"
	run 0 $way --no-reboot
	[ "$(cat "$tmp/out")" = 'first boot' ] || die "$way with --no-reboot"
done

# Where the serial port's output goes.
run 0 kbd --serial "$tmp/serial" --console virtio
[ ! -s "$tmp/out" ] || die "serial output beside its file"
[ "$(tr '\n' ' ' <"$tmp/serial")" = 'first boot second boot RAM is new ' ] || die "serial output is not in its file"
run 0 kbd -serial "file:$tmp/serial" --no-reboot
[ "$(cat "$tmp/serial")" = 'first boot' ] || die "-serial file:"
run 0 kbd -serial none
[ ! -s "$tmp/out" ] || die "-serial none"

# A triple fault, of a kernel whose own symbol table names its code.
run 4 triple
has '^vCPU 0: rip '
has 'first: #PF at 0000000080000000, error 0x2 \(not present, write\)'
has 'its handler: #GP, error 0x7[23] \(IDT entry 14\)'
has "double fault's: #GP, error 0x4[23] \(IDT entry 8\)"
has 'IDT entry 8 at .*: not present'
has '^=> .*mov dword ptr \[rax\], 0x01 <triple\+'
has '<guest_main\+'
has 'failed: vCPU 0 shut down \(triple fault\) at rip'

run 124 spin --timeout 1 --smp 2
has '^vCPU 0 was at'
has '<innermost\+'
has 'called from'
has '<outer\+'
has '^vCPU 1: '
has 'waiting for a start-up message'
has '^lapic 1: '
has '^pic master: '
has '^no timer runs|^timer of '
run 124 halt --timeout 1
has 'halted; interrupts disabled'

# Each record with the vCPU and what went in or out.
run 0 touch --trace insn,mem,int,msr,cpuid,port,mmio,pf,dev --trace-file "$tmp/trace"
[ ! -s "$tmp/out" ] || die "a trace outside its file"
mv "$tmp/trace" "$tmp/out"
at=' [0-9.]+: cpu0 h0 0{10}20[0-9a-f]{4}'
has "^insn$at cpuid"
has '^insn [0-9.]+: cpu0 +fl='
has "^mem$at\\+ read 4 at 0xfec00000 \\(mmio 0xfec00000\\) 00000000"
has "^msr$at rdmsr 0x1b APIC_BASE = 0xfee00900"
has "^cpuid$at cpuid 40000000/0: [0-9a-f]{8} "
has "^port$at out 0080 size 1 = 77"
has "^mmio$at\\+ read fec00000 size 4 = 0"
run 4 triple --trace int,pf
has "^pf$at\\+ page fault at 0x80000000 error 0x2"
has "^int$at fault 0e error 0x2 cr2 0x80000000 cs 0008 ss:rsp 0010:0x20"
echo good
