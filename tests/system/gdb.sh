#!/bin/sh
# A stock gdb on the test guest: symbols, break and watch points, steps, threads, registers, memory, monitor, Ctrl-C, detach
# and kill. Usage: gdb.sh NESTBOX GUEST [ACCEL]
set -eu
nestbox=$1
guest=$2
accel=${3:-soft}
command -v gdb >/dev/null || { echo "skipped: no gdb here"; exit 77; }
tmp=$(mktemp -d)
vm= debugger=
clean() {
	[ -z "$vm" ] || kill "$vm" 2>/dev/null || true
	[ -z "$debugger" ] || kill "$debugger" 2>/dev/null || true
	rm -rf "$tmp"
}
trap clean EXIT
trap 'exit 1' INT TERM
die() {
	echo "gdb.sh: $*"
	cat "$tmp/gdb" "$tmp/vm"
	exit 1
}
has() { grep -Eq -- "$1" "$tmp/gdb" || die "gdb's output lacks '$1'"; }
# start WORD ARGS…: the guest, waiting for gdb; $port is where.
start() {
	word=$1
	shift
	: >"$tmp/vm"
	"$nestbox" run --accel "$accel" --kernel "$guest" --append "$word" --gdb 0 --wait --timeout 60 "$@" </dev/null >"$tmp/vm" 2>&1 &
	vm=$!
	until port=$(sed -n 's/.*connect to port \([0-9]*\).*/\1/p' "$tmp/vm") && [ -n "$port" ]; do
		kill -0 "$vm" || die "the guest did not start"
		sleep 0.05
	done
	printf 'set pagination off\nset confirm off\nset width 0\ntarget remote 127.0.0.1:%s\n' "$port" >"$tmp/script"
	cat >>"$tmp/script"
}
run_gdb() { timeout 60 gdb -nx -batch -x "$tmp/script" "$guest" >"$tmp/gdb" 2>&1 </dev/null; }
ended() { # ended STATUS
	status=0
	wait "$vm" || status=$?
	vm=
	[ "$status" -eq "$1" ] || die "exit status $status, not $1"
}

start debug --smp 2 <<'END'
break add_up
continue
backtrace
info threads
thread 2
backtrace
thread 1
print a
print $xmm0.v2_double[0]
print/x $cs
print/x $cr3
delete
hbreak add_up if a == 3
continue
finish
watch watched
continue
delete
rwatch counter
continue
delete
awatch counter
continue
delete
stepi
stepi
set variable watched = 0x1234
print/x watched
set $rbx = 0x5678
print/x $rbx
set $xmm1.uint128 = 7
print $xmm1.uint128
set $st0 = 1.5
print $st0
print $eflags
monitor cpu 1
monitor regs
monitor x/1gx watched
monitor entry
monitor entry 0x7000
monitor vmcs
monitor vmcb 0x7000
x/2i add_up
print guest_main
detach
END
run_gdb || die "gdb failed"
ended 0
has 'hit Breakpoint 1, add_up \(a=0, b=1\)'
has '#1 .*in debug \(\) at .*guest\.c'
has '#2 .*in guest_main'
has 'Thread 2 \(vCPU 1 running\)'
has '#0 .*ap_main'
has '\$2 = 0\.5'
has '\$3 = 0x8'
has 'hit (Temporary )?(Hardware assisted b|B)reakpoint [0-9]+, add_up \(a=3, b=1\)'
has 'Value returned is \$[0-9]+ = 4'
has 'Hardware watchpoint [0-9]+: watched'
has 'Old value = 4'
has 'New value = 5'
has 'Hardware read watchpoint [0-9]+: counter'
has 'Hardware access \(read/write\) watchpoint [0-9]+: counter'
has '= 0x1234$'
has '= 0x5678$'
has '= 7$'
has '= 1\.5$'
has '^vCPU 1: rip'
has '  0000000000001234$'
if [ "$accel" = soft ]; then
	has '^vCPU 1 has run no guest by SVM so far$'
	has '^VMRUN would raise #UD: EFER.SVME is clear'
	has '^this processor has SVM: vmcb$'
else
	has '^KVM tells nothing of its guest'
fi
has '^VMCB at 0x7000; control area$'
has '<add_up>:.push +%rbp'

# Ctrl-C while the guest spins, and while it halts for good; then gdb kills it.
for word in spin halt; do
	start $word <<-'END'
		continue
		backtrace
		kill
	END
	run_gdb &
	debugger=$!
	# The inner gdb, not timeout, is what a terminal's Ctrl-C would reach.
	until child=$(pgrep -P "$debugger" -x gdb || pgrep -P "$(pgrep -P "$debugger" | head -n 1)" -x gdb) && grep -q 'start ()' "$tmp/gdb"; do
		kill -0 "$debugger" || die "no gdb"
		sleep 0.05
	done
	sleep 0.3
	kill -INT "$child"
	wait "$debugger" || die "gdb failed"
	debugger=
	ended 0
	has 'received signal SIGINT'
	has '#0 .*innermost'
	has '#2 .*outer'
done
echo good
