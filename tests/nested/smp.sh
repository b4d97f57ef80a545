#!/bin/sh
# Several processors. Usage: smp.sh NESTBOX FETCH-KERNEL nest-VENDOR|MODEL
set -eu
nestbox=$1
kernel=$($2)
case=$3
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export NESTBOX_KERNEL="$kernel"

complaints='WARNING|BUG:|unchecked MSR|lost interrupt|as unstable|MP-BIOS|APIC error|inconsistent|stall|lockup'

die() {
	echo "smp.sh: $case: $*"
	tail -n 60 "$tmp/out" "$tmp/err"
	exit 1
}

if [ "${case%-*}" = nest ]; then
	vendor=${case#nest-}
	"$nestbox" nest --accel soft --vendor "$vendor" --smp 2 --timeout 280 --json --dmesg "$tmp/dmesg" >"$tmp/out" 2>"$tmp/err" ||
		die "exit status $?"
	case $vendor in # all that L1's KVM finds in its processor
	intel) words='nested ept unrestricted_guest vpid enable_apicv enable_shadow_vmcs flexpriority pml vnmi preemption_timer eptad' ;;
	amd) words='nested npt nrips vgif vls lbrv tsc_scaling' ;;
	esac
	for word in $words; do
		grep -q "\"$word\": \"[Y1]\"" "$tmp/out" || die "L1's kvm_$vendor has no $word"
	done
	for level in 1 2; do
		grep -q 'Brought up 1 node, 2 CPUs' "$tmp/dmesg/dmesg-L$level.txt" || die "L$level has not got two processors"
		! grep -Ei "$complaints" "$tmp/dmesg/dmesg-L$level.txt" || die "L$level's log complains"
	done
	exit 0
fi

# A shell on the console: type when its prompt is there.
mkfifo "$tmp/in"
"$nestbox" run --accel soft --cpu "$case" --smp 4 --timeout 100 --append 'loglevel=7' <"$tmp/in" >"$tmp/out" 2>"$tmp/err" &
pid=$!
exec 3>"$tmp/in"
while kill -0 $pid 2>/dev/null && ! grep -q '/ #' "$tmp/out"; do sleep 0.2; done
sleep 0.2
echo 'echo there are $(nproc)' >&3
while kill -0 $pid 2>/dev/null && ! grep -q 'there are [0-9]' "$tmp/out"; do sleep 0.2; done
echo exit >&3
wait $pid || die "exit status $?"
exec 3>&-
grep -q 'there are 4' "$tmp/out" || die 'there are not four processors'
grep -q 'Brought up 1 node, 4 CPUs' "$tmp/out" || die 'Linux did not start four'
! grep -Ei "$complaints" "$tmp/out" || die 'the log complains'
