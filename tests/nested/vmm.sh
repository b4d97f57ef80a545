#!/bin/sh
# Other VMMs on L1's KVM: L1 is Debian's kernel on the software processor; in it QEMU (q35, microvm) and nestbox's own `run` each boot
# Debian's kernel as L2 to user space. Usage: vmm.sh NESTBOX FETCH-KERNEL DEVICES.SH CPU-MODEL CPUS
# nestbox's L2 gets a disk and a network and must pass the same test as a guest of the host (devices.sh).
# Exits 77 (skipped) where QEMU or the tools to pack it are not installed.
set -eu
. "$(dirname "$0")/../guest.sh"
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
needs cpio qemu-system-x86_64 busybox ldd
tree=$($fetch_kernel)

root=$tmp/root
guest_new "$root" <<'INIT'
export HOME=/tmp
ifconfig lo 127.0.0.1
sh /load-kvm-$vendor nested=1
mkdir -p /lib/modules
ln -s /k/lib/modules/* /lib/modules/
echo "L1: $(ls -l /dev/kvm)"
for machine in q35 microvm; do
	timeout -s KILL 200 qemu-system-x86_64 -accel kvm -cpu host -M $machine -smp "$cpus" -m 256M -nographic -no-reboot -monitor none \
		-kernel /k/boot/vmlinuz-* -initrd /initrd -append "console=ttyS0 quiet" </dev/null 2>&1 | sed "s/^/$machine: /"
done
sh /bin/devices /bin/nestbox /bin/fetch-kernel kvm "$cpus" 2>&1 | sed "s/^/nestbox: /"
dmesg | grep -E 'WARNING:|BUG:|unchecked MSR' | sed 's/^/complaint: /'
INIT
guest_new "$tmp/l2" <<'INIT'
echo "L2 RUNS: $(grep -c ^processor /proc/cpuinfo) processors, $(dmesg | grep 'Hypervisor detected')"
INIT
guest_bin "$root" "$nestbox"
guest_add "$root" "$(command -v qemu-system-x86_64)" "$(ldconfig -p | awk '/libslirp\.so\.0 / { print $NF; exit }')"
guest_modules "$root" "$tree" kvm-amd kvm-intel
guest_pack "$tmp/l2" "$root/initrd"
cp "$devices" "$root/bin/devices"
mkdir -p "$root/usr/share" "$root/k/boot" "$root/k/lib"
cp -rL /usr/share/qemu /usr/share/seabios "$root/usr/share/"
mkdir -p "$root/usr/lib/ipxe"
cp -rL /usr/lib/ipxe/qemu "$root/usr/lib/ipxe/"
rm -f "$root"/usr/share/qemu/*.fd "$root"/usr/share/qemu/*openbios* "$root"/usr/share/qemu/opensbi* "$root"/usr/share/qemu/skiboot*
cp "$tree"/boot/vmlinuz-* "$root/k/boot/"
cp -r "$tree/lib/modules" "$root/k/lib/"
printf '#!/bin/sh\necho /k\n' >"$root/bin/fetch-kernel"
chmod +x "$root/bin/fetch-kernel"
guest_pack "$root" "$tmp/initrd"

"$nestbox" run --accel soft --cpu "$model" --smp "$cpus" --memory 3G --timeout 900 --kernel "$tree"/boot/vmlinuz-* --initrd "$tmp/initrd" \
	--append "console=ttyS0 quiet cpus=$cpus" </dev/null >"$tmp/out" 2>&1 || die "exit status $?"
for machine in q35 microvm; do
	grep -aq "$machine: .*L2 RUNS: $cpus processors, .*Hypervisor detected: KVM" "$tmp/out" || die "no L2 in QEMU's $machine"
done
grep -aq 'nestbox: good' "$tmp/out" || die "nestbox's L2 failed"
grep -aq '^complaint:' "$tmp/out" && die "L1's log complains"
echo good
