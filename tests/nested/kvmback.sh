#!/bin/sh
# The /dev/kvm engine on a KVM that nests, inside L1 (Debian's kernel on the software processor): its own tests (tests/unit/kvm_*test.c), and
# a guest of a few lines that resets itself. Usage: kvmback.sh NESTBOX FETCH-KERNEL CPU-MODEL GUEST TEST…
# What KVM cannot do on a host that only emulates it (the unit tests skip that) must pass here. Skipped without busybox and cpio.
set -eu
nestbox=$1
fetch_kernel=$2
model=$3
guest=$4
shift 4
for tool in cpio busybox ldd; do
	command -v $tool >/dev/null || { echo "kvmback.sh: skipped: no $tool"; exit 77; }
done
tree=${NESTBOX_KERNEL:-$($fetch_kernel)}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT INT TERM
die() {
	echo "kvmback.sh: $model: $*"
	tail -n 100 "$tmp/out"
	exit 1
}

root=$tmp/root
mkdir -p "$root/bin" "$root/proc" "$root/sys" "$root/dev" "$root/modules"
cp "$(command -v busybox)" "$root/bin/busybox"
cp "$guest" "$root/guest"
for program in "$nestbox" "$@"; do
	cp "$program" "$root/bin/"
	ldd "$program" | awk '{ for (i = 1; i <= NF; i++) if ($i ~ /^\//) print $i }' | while read -r library; do
		mkdir -p "$root/$(dirname "$library")"
		cp -nL "$library" "$root/$library"
	done
	[ "$program" = "$nestbox" ] || echo "${program##*/} 2>&1 || echo 'FAILED: ${program##*/}'" >>"$root/tests"
done
# Each module after those that it depends on: modules.dep has them in the opposite order.
modules=$(echo "$tree"/lib/modules/*)
for module in kvm-amd kvm-intel; do
	sed -n "s,^\([^:]*/$module\.ko\): *,\1 ,p" "$modules/modules.dep" | tr ' ' '\n' | sed '/^$/d' | tac | while read -r file; do
		cp -n "$modules/$file" "$root/modules/"
		echo "insmod /modules/${file##*/}" >>"$root/load-$module"
	done
done
cat >"$root/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
case $(cat /proc/cpuinfo) in *svm*) . /load-kvm-amd ;; *) . /load-kvm-intel ;; esac
. /tests
for way in kbd cf9 acpi; do
	for cpus in 1 2; do
		said=$(nestbox run --accel kvm --memory 64M --smp $cpus --kernel /guest --append $way --timeout 20 </dev/null 2>&1 | tr '\n' ' ')
		[ "$said" = 'first boot second boot RAM is new ' ] || echo "FAILED: $way with $cpus processors: $said"
	done
done
echo 'tests: done'
dmesg | grep -E 'WARNING:|BUG:|unchecked MSR' | sed 's/^/complaint: /'
poweroff -f
INIT
chmod +x "$root/init"
(cd "$root" && find . | cpio -o -H newc 2>/dev/null) >"$tmp/initrd"

"$nestbox" run --accel soft --cpu "$model" --memory 512M --timeout 110 --kernel "$tree"/boot/vmlinuz-* --initrd "$tmp/initrd" \
	--append "console=ttyS0 quiet" </dev/null >"$tmp/out" 2>&1 || die "exit status $?"
grep -aq '^tests: done' "$tmp/out" || die "the tests did not end"
grep -aEq 'FAILED|SKIPPED' "$tmp/out" && die "a test failed, or was skipped"
grep -aq '^complaint:' "$tmp/out" && die "L1's log complains"
sed -n '/RUN\|OK/p' "$tmp/out"
echo good
