#!/bin/sh
# The /dev/kvm engine on a KVM that nests, inside L1 (Debian's kernel on the software processor): its own tests (tests/unit/kvm_*test.c), and
# a guest of a few lines that resets itself. Usage: kvmback.sh NESTBOX FETCH-KERNEL CPU-MODEL GUEST TEST…
# What KVM cannot do on a host that only emulates it (the unit tests skip that) must pass here. Skipped without busybox and cpio.
set -eu
. "$(dirname "$0")/../guest.sh"
nestbox=$1
fetch_kernel=$2
model=$3
guest=$4
shift 4
needs cpio busybox ldd
tree=${NESTBOX_KERNEL:-$($fetch_kernel)}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT INT TERM
die() {
	echo "kvmback.sh: $model: $*"
	tail -n 100 "$tmp/out"
	exit 1
}

root=$tmp/root
guest_new "$root" <<'INIT'
sh /load-kvm-$vendor
. /tests
for way in kbd cf9 acpi; do
	for cpus in 1 2; do
		said=$(nestbox run --accel kvm --memory 64M --smp $cpus --kernel /bin/guest --append $way --timeout 20 </dev/null 2>&1 | tr '\n' ' ')
		[ "$said" = 'first boot second boot RAM is new ' ] || echo "FAILED: $way with $cpus processors: $said"
	done
done
echo 'tests: done'
dmesg | grep -E 'WARNING:|BUG:|unchecked MSR' | sed 's/^/complaint: /'
INIT
guest_modules "$root" "$tree" kvm-amd kvm-intel
guest_bin "$root" "$nestbox" "$guest" "$@"
for program; do
	echo "${program##*/} 2>&1 || echo 'FAILED: ${program##*/}'"
done >"$root/tests"
guest_pack "$root" "$tmp/initrd"

"$nestbox" run --accel soft --cpu "$model" --memory 512M --timeout 110 --kernel "$tree"/boot/vmlinuz-* --initrd "$tmp/initrd" \
	--append "console=ttyS0 quiet" </dev/null >"$tmp/out" 2>&1 || die "exit status $?"
grep -aq '^tests: done' "$tmp/out" || die "the tests did not end"
grep -aEq 'FAILED|SKIPPED' "$tmp/out" && die "a test failed, or was skipped"
grep -aq '^complaint:' "$tmp/out" && die "L1's log complains"
sed -n '/RUN\|OK/p' "$tmp/out"
echo good
