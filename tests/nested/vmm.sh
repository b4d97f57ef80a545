#!/bin/sh
# Other VMMs on L1's KVM: L1 is Debian's kernel on the software processor; in it QEMU (q35, microvm) and nestbox's own `run` each boot
# Debian's kernel as L2 to user space. Usage: vmm.sh NESTBOX FETCH-KERNEL DEVICES.SH CPU-MODEL CPUS
# nestbox's L2 gets a disk and a network and must pass the same test as a guest of the host (devices.sh).
# Exits 77 (skipped) where QEMU or the tools to pack it are not installed.
set -eu
nestbox=$1
fetch_kernel=$2
devices=$3
model=$4
cpus=$5
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT INT TERM

die() {
	echo "vmm.sh: $model, $cpus processors: $*"
	tail -n 100 "$tmp/out"
	exit 1
}
for tool in cpio qemu-system-x86_64 busybox ldd; do
	command -v $tool >/dev/null || { echo "vmm.sh: skipped: no $tool"; exit 77; }
done
tree=$($fetch_kernel)

root=$tmp/root
with_libraries() { # with_libraries FILE…: also what they are linked to, at the same places
	for file; do
		mkdir -p "$root/$(dirname "$file")"
		cp -L "$file" "$root/$file"
		ldd "$file" 2>/dev/null | awk '{ for (i = 1; i <= NF; i++) if ($i ~ /^\//) print $i }' | while read -r library; do
			mkdir -p "$root/$(dirname "$library")"
			cp -nL "$library" "$root/$library"
		done
	done
}
mkdir -p "$root/bin" "$root/proc" "$root/sys" "$root/dev" "$root/tmp" "$root/k/boot" "$root/k/lib" "$root/usr/share" "$root/l2/bin"
cp "$(command -v busybox)" "$root/bin/busybox"
cp "$root/bin/busybox" "$root/l2/bin/"
cp "$nestbox" "$root/bin/nestbox"
cp "$devices" "$root/bin/devices"
with_libraries "$nestbox" "$(command -v qemu-system-x86_64)" "$(ldconfig -p | awk '/libslirp\.so\.0 / { print $NF; exit }')"
cp -rL /usr/share/qemu /usr/share/seabios "$root/usr/share/"
mkdir -p "$root/usr/lib/ipxe"
cp -rL /usr/lib/ipxe/qemu "$root/usr/lib/ipxe/"
rm -f "$root"/usr/share/qemu/*.fd "$root"/usr/share/qemu/*openbios* "$root"/usr/share/qemu/opensbi* "$root"/usr/share/qemu/skiboot*
cp "$tree"/boot/vmlinuz-* "$root/k/boot/"
cp -r "$tree/lib/modules" "$root/k/lib/"
printf '#!/bin/sh\necho /k\n' >"$root/bin/fetch-kernel"
cat >"$root/l2/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox mkdir /proc
/bin/busybox mount -t proc proc /proc
echo "L2 RUNS: $(/bin/busybox grep -c ^processor /proc/cpuinfo) processors, $(/bin/busybox dmesg | /bin/busybox grep 'Hypervisor detected')"
/bin/busybox poweroff -f
INIT
cat >"$root/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin:/usr/bin HOME=/tmp
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
ifconfig lo 127.0.0.1
mkdir -p /lib/modules
ln -s /k/lib/modules/* /lib/modules/
case $(cat /proc/cpuinfo) in *svm*) vendor=amd ;; *) vendor=intel ;; esac
modprobe kvm-$vendor nested=1 2>/dev/null || { insmod /k/lib/modules/*/kernel/virt/lib/irqbypass.ko; insmod /k/lib/modules/*/kernel/arch/x86/kvm/kvm.ko
	insmod /k/lib/modules/*/kernel/arch/x86/kvm/kvm-$vendor.ko nested=1; }
for word in $(cat /proc/cmdline); do
	case $word in cpus=*) cpus=${word#cpus=} ;; esac
done
echo "L1: $(ls -l /dev/kvm)"
(cd /l2 && find . | cpio -o -H newc 2>/dev/null) >/tmp/initrd
for machine in q35 microvm; do
	timeout -s KILL 200 qemu-system-x86_64 -accel kvm -cpu host -M $machine -smp "$cpus" -m 256M -nographic -no-reboot -monitor none \
		-kernel /k/boot/vmlinuz-* -initrd /tmp/initrd -append "console=ttyS0 quiet" </dev/null 2>&1 | sed "s/^/$machine: /"
done
sh /bin/devices /bin/nestbox /bin/fetch-kernel kvm "$cpus" 2>&1 | sed "s/^/nestbox: /"
dmesg | grep -E 'WARNING:|BUG:|unchecked MSR' | sed 's/^/complaint: /'
poweroff -f
INIT
chmod +x "$root/init" "$root/l2/init" "$root/bin/fetch-kernel"
(cd "$root" && find . | cpio -o -H newc 2>/dev/null) >"$tmp/initrd"

"$nestbox" run --accel soft --cpu "$model" --smp "$cpus" --memory 3G --timeout 900 --kernel "$tree"/boot/vmlinuz-* --initrd "$tmp/initrd" \
	--append "console=ttyS0 quiet cpus=$cpus" </dev/null >"$tmp/out" 2>&1 || die "exit status $?"
for machine in q35 microvm; do
	grep -aq "$machine: .*L2 RUNS: $cpus processors, .*Hypervisor detected: KVM" "$tmp/out" || die "no L2 in QEMU's $machine"
done
grep -aq 'nestbox: good' "$tmp/out" || die "nestbox's L2 failed"
grep -aq '^complaint:' "$tmp/out" && die "L1's log complains"
echo good
