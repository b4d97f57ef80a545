#!/bin/sh
# The nested chain as a test, and the ways in which its claim must fail. Usage: chain.sh NESTBOX FETCH-KERNEL CASE
set -eu
nestbox=$1
kernel=$($2)
case=$3
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

die() {
	echo "chain.sh: $case: $*"
	echo "--- stdout"; cat "$tmp/out"
	echo "--- stderr"; tail -n 40 "$tmp/err"
	exit 1
}
run() { # run EXPECTED-STATUS ARGS…
	want=$1
	shift
	status=0
	NESTBOX_KERNEL=$kernel "$nestbox" "$@" >"$tmp/out" 2>"$tmp/err" || status=$?
	[ "$status" -eq "$want" ] || die "exit status $status, not $want"
}
says() { grep -Eq "$2" "$tmp/$1" || die "$1 does not say '$2'"; }
one_sentence() { [ "$(wc -l <"$tmp/err")" -eq 1 ] || die "not one sentence on stderr"; }
children_of() { ps -o pid= --ppid "$1" 2>/dev/null || true; }

case $case in
chain)
	run 0 nest --accel soft --timeout 280 --dmesg "$tmp/dmesg"
	says out '^L0 '
	says out 'L1 .*Linux .*kvm_amd .*nested=1'
	says out "L2 .*on L1's KVM \\([0-9]"
	says out '^nested KVM works'
	for level in 1 2; do
		log=$tmp/dmesg/dmesg-L$level.txt
		[ -s "$log" ] || die "no log of L$level"
		if grep -Ei 'WARNING|BUG:|unchecked MSR|lost interrupt|clocksource.*unstable|MP-BIOS|APIC error' "$log" >"$tmp/out"; then
			die "L$level's log complains"
		fi
	done
	;;
intel)
	run 0 nest --accel soft --vendor intel --timeout 280 --dmesg "$tmp/dmesg"
	says out 'L1 .*Linux .*kvm_intel .*nested=Y ept=Y'
	says out "L2 .*on L1's KVM \\([0-9]"
	for level in 1 2; do
		log=$tmp/dmesg/dmesg-L$level.txt
		if grep -Ei 'WARNING|BUG:|unchecked MSR|lost interrupt' "$log" >"$tmp/out"; then
			die "L$level's log complains"
		fi
	done
	;;
exec) # commands in the levels, before the level below starts
	run 0 nest --accel soft --timeout 280 --exec '1:cat /sys/module/kvm_amd/parameters/nested; echo to-stderr >&2; printf "\033x\377"' \
		--exec '2:nestbox --version; exit 7'
	says out '^L1\| 1$'
	says out '^L1\| to-stderr$'
	says out '^L1\| \?x\?$'
	says out '^L2\| nestbox [0-9]'
	says out '^L2: exit status 7$'
	says out '^nested KVM works'
	run 2 nest --exec '3:true'
	one_sentence
	run 2 nest --exec 'true'
	one_sentence
	;;
shell) # typed here, run in L2; its end is the chain's end
	printf 'echo "typed into $(uname -n) level $((1 + 1))" $(tty)\nexit\n' >"$tmp/in"
	run 0 nest --accel soft --timeout 280 --shell 2 <"$tmp/in"
	says out '^nested KVM works'
	says out '^typed into .* level 2 /dev/pts/0'
	run 2 nest --shell 3
	one_sentence
	;;
guests) # side by side in L2
	run 0 nest --accel soft --timeout 280 --guests 2
	says out '─ L2\.1  nested guest .*exits'
	says out '─ L2\.2  nested guest .*exits'
	says out '^nested KVM works: 2 guests'
	;;
svm-off)
	run 1 nest --accel soft --cpu EPYC,svm=off --timeout 200
	says err 'L1.*(SVM|svm)'
	;;
no-kvm-amd)
	mkdir -p "$tmp/m/lib/modules"
	cp -r "$kernel"/lib/modules/* "$tmp/m/lib/modules/"
	find "$tmp/m" -name 'kvm-amd.ko*' -delete
	PATH="$PATH:/sbin:/usr/sbin" depmod -b "$tmp/m" "$(ls "$tmp/m/lib/modules")"
	run 4 nest --accel soft --kernel "$kernel"/boot/vmlinuz-* --modules "$tmp/m" --timeout 200
	says err 'kvm.amd'
	;;
no-kernel)
	run 2 nest --kernel "$tmp/absent"
	one_sentence
	;;
truncated)
	for size in 0 100 700 40000 9000000; do
		head -c "$size" "$kernel"/boot/vmlinuz-* >"$tmp/vmlinuz"
		run 3 nest --accel soft --kernel "$tmp/vmlinuz" --modules "$kernel"
		one_sentence
	done
	;;
interrupt)
	mkdir "$tmp/tmp"
	for signal in INT TERM; do
		TMPDIR=$tmp/tmp NESTBOX_KERNEL=$kernel "$nestbox" nest --accel soft >"$tmp/out" 2>"$tmp/err" &
		pid=$!
		sleep 4
		kill -$signal $pid
		status=0
		wait $pid || status=$?
		[ "$status" -eq 130 ] || [ "$status" -eq 143 ] || die "exit status $status after SIG$signal"
		[ -z "$(children_of $pid)" ] || die "a process is left"
		[ -z "$(ls -A "$tmp/tmp")" ] || die "a file is left"
	done
	;;
*) echo "unknown case $case"; exit 2 ;;
esac
