#!/bin/sh
# What KVM falls back to without one of the processor's extensions: the chain with a module parameter of L1 turned.
# Usage: fallback.sh NESTBOX FETCH-KERNEL VENDOR PARAMETER=VALUE DEPTH [CPUS]
set -eu
nestbox=$1
kernel=$($2)
vendor=$3
word=$4
depth=$5
cpus=${6:-1}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

die() {
	echo "fallback.sh: $vendor $word: $*"
	tail -n 40 "$tmp/out" "$tmp/err"
	exit 1
}

NESTBOX_KERNEL=$kernel "$nestbox" nest --accel soft --vendor "$vendor" --depth "$depth" --smp "$cpus" --timeout 580 --json \
	--append "kvm_$vendor.$word" >"$tmp/out" 2>"$tmp/err" || die "exit status $?"
# The first level that prints parameters is L1; bool parameters read Y, N or 0, 1.
seen=$(sed -n "s/.*\"${word%=*}\": \"\\([^\"]*\\)\".*/\\1/p" "$tmp/out" | head -n 1)
case $seen in
Y) seen=1 ;;
N) seen=0 ;;
esac
[ "$seen" = "${word#*=}" ] || die "the parameter reads '$seen' in L1"
grep -q '"works": true' "$tmp/out" || die 'it does not work'
# AVIC delivers L2's interrupts: KVM has none to inject, unless something keeps it from using AVIC.
if [ "$word" = avic=1 ]; then
	grep -q '"irq_injections": 0,' "$tmp/out" || die 'KVM injects interrupts'
fi
