#!/bin/sh
# Two L2 guests side by side in an L1 of two processors, each of two processors and under stress-ng --verify: no failure, no stall.
# Usage: stress.sh NESTBOX FETCH-KERNEL CPU-MODEL [SECONDS, 300]
# Exits 77 (skipped) where stress-ng or the tools to pack it are not installed.
set -eu
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
for tool in cpio stress-ng busybox ldd; do
	command -v $tool >/dev/null || { echo "stress.sh: skipped: no $tool"; exit 77; }
done
tree=$($fetch_kernel)

with_libraries() { # with_libraries ROOT FILE: also what it is linked to, at the same places
	mkdir -p "$1/$(dirname "$2")"
	cp -L "$2" "$1/$2"
	ldd "$2" 2>/dev/null | awk '{ for (i = 1; i <= NF; i++) if ($i ~ /^\//) print $i }' | while read -r library; do
		mkdir -p "$1/$(dirname "$library")"
		cp -nL "$library" "$1/$library"
	done
}
pack() { (cd "$1" && find . | cpio -o -H newc 2>/dev/null) >"$2"; }
guest() { # guest ROOT: busybox and places to mount on; its init is to come on stdin
	mkdir -p "$1/bin" "$1/proc" "$1/sys" "$1/dev" "$1/tmp"
	cp "$(command -v busybox)" "$1/bin/busybox"
	{
		cat <<-'INIT'
		#!/bin/busybox sh
		/bin/busybox --install -s /bin
		export PATH=/bin:/usr/bin HOME=/tmp
		mount -t proc proc /proc
		mount -t sysfs sys /sys
		mount -t devtmpfs dev /dev
		mount -t tmpfs tmp /tmp
		for word in $(cat /proc/cmdline); do
			case $word in seconds=*) seconds=${word#seconds=} ;; esac
		done
		complaints='WARNING:|BUG:|unchecked MSR|stall|lockup|blocked for more|hung'
		INIT
		cat
		echo poweroff -f
	} >"$1/init"
	chmod +x "$1/init"
}

guest "$tmp/l2" <<'INIT'
mkdir -p /dev/shm && mount -t tmpfs shm /dev/shm
cd /tmp
stress-ng --cpu 2 --vm 1 --vm-bytes 96M --fork 1 --pipe 1 --timer 1 --verify -t "$seconds" 2>&1
echo "stress-ng ended with $?"
dmesg | grep -E "$complaints" | sed 's/^/complaint: /'
INIT
with_libraries "$tmp/l2" "$(command -v stress-ng)"

guest "$tmp/l1" <<'INIT'
case $(cat /proc/cpuinfo) in *svm*) vendor=amd ;; *) vendor=intel ;; esac
for module in irqbypass kvm kvm-$vendor; do insmod /lib/$module.ko; done
for n in 1 2; do
	nestbox run --accel kvm --smp 2 --memory 512M --timeout $((2 * seconds + 200)) --kernel /k/vmlinuz --initrd /k/initrd \
		--append "console=ttyS0 quiet seconds=$seconds" </dev/null 2>&1 | sed "s/^/L2 $n: /" &
done
wait
dmesg | grep -E "$complaints" | sed 's/^/complaint: /'
INIT
with_libraries "$tmp/l1" "$nestbox"
mv "$tmp/l1/$nestbox" "$tmp/l1/bin/nestbox"
mkdir -p "$tmp/l1/k"
cp "$tree"/boot/vmlinuz-* "$tmp/l1/k/vmlinuz"
pack "$tmp/l2" "$tmp/l1/k/initrd"
for module in irqbypass kvm kvm-amd kvm-intel; do
	find "$tree/lib/modules" -name "$module.ko" -exec cp {} "$tmp/l1/lib/" \;
done
pack "$tmp/l1" "$tmp/initrd"

"$nestbox" run --accel soft --cpu "$model" --smp 2 --memory 3G --timeout $((3 * seconds + 400)) --kernel "$tree"/boot/vmlinuz-* \
	--initrd "$tmp/initrd" --append "console=ttyS0 quiet seconds=$seconds" </dev/null >"$tmp/out" 2>&1 || die "exit status $?"
for n in 1 2; do
	grep -aq "L2 $n: stress-ng: info: .*successful run completed" "$tmp/out" || die "stress-ng did not succeed in guest $n"
	grep -aq "L2 $n: stress-ng ended with 0" "$tmp/out" || die "stress-ng failed in guest $n"
done
! grep -aE 'complaint:|stress-ng: fail' "$tmp/out" || die "a kernel or stress-ng complains"
grep -a 'successful run' "$tmp/out"
