#!/bin/sh
# Two L2 guests side by side in an L1 of two processors, each of two processors and under stress-ng --verify: no failure, no stall.
# Usage: stress.sh NESTBOX FETCH-KERNEL CPU-MODEL [SECONDS, 300]
# Exits 77 (skipped) where stress-ng or the tools to pack it are not installed.
set -eu
. "$(dirname "$0")/../guest.sh"
nestbox=$1
fetch_kernel=$2
model=$3
seconds=${4:-300}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT INT TERM

die() {
	echo "stress.sh: $model: $*"
	tail -n 100 "$tmp/out"
	exit 1
}
needs cpio stress-ng busybox ldd
tree=$($fetch_kernel)

guest_new "$tmp/l2" <<'INIT'
mkdir -p /dev/shm && mount -t tmpfs shm /dev/shm
cd /tmp
stress-ng --cpu 2 --vm 1 --vm-bytes 96M --fork 1 --pipe 1 --timer 1 --verify -t "$seconds" 2>&1
echo "stress-ng ended with $?"
dmesg | grep -E "$complaints" | sed 's/^/complaint: /'
INIT
guest_add "$tmp/l2" "$(command -v stress-ng)"

guest_new "$tmp/l1" <<'INIT'
sh /load-kvm-$vendor
for n in 1 2; do
	nestbox run --accel kvm --smp 2 --memory 512M --timeout $((2 * seconds + 200)) --kernel /k/vmlinuz --initrd /k/initrd \
		--append "console=ttyS0 quiet seconds=$seconds" </dev/null 2>&1 | sed "s/^/L2 $n: /" &
done
wait
dmesg | grep -E "$complaints" | sed 's/^/complaint: /'
INIT
guest_bin "$tmp/l1" "$nestbox"
guest_modules "$tmp/l1" "$tree" kvm-amd kvm-intel
mkdir "$tmp/l1/k"
cp "$tree"/boot/vmlinuz-* "$tmp/l1/k/vmlinuz"
guest_pack "$tmp/l2" "$tmp/l1/k/initrd"
guest_pack "$tmp/l1" "$tmp/initrd"

"$nestbox" run --accel soft --cpu "$model" --smp 2 --memory 3G --timeout $((3 * seconds + 400)) --kernel "$tree"/boot/vmlinuz-* \
	--initrd "$tmp/initrd" --append "console=ttyS0 quiet seconds=$seconds" </dev/null >"$tmp/out" 2>&1 || die "exit status $?"
for n in 1 2; do
	grep -aq "L2 $n: stress-ng: info: .*successful run completed" "$tmp/out" || die "stress-ng did not succeed in guest $n"
	grep -aq "L2 $n: stress-ng ended with 0" "$tmp/out" || die "stress-ng failed in guest $n"
done
! grep -aE 'complaint:|stress-ng: fail' "$tmp/out" || die "a kernel or stress-ng complains"
grep -a 'successful run' "$tmp/out"
