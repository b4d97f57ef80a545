#!/bin/sh
# Xen from Debian as the guest hypervisor: it starts by multiboot, builds a PV dom0 of Debian's kernel, and finds the processor's
# virtualization. What counts is `xl dmesg`, read in dom0. Usage: xen.sh NESTBOX FETCH-KERNEL CPU-MODEL "SVM|VMX"
# Exits 77 (skipped) where the packages cannot be had.
set -eu
nestbox=$(realpath "$1")
fetch_kernel=$2
model=$3
extension=$4
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT INT TERM

die() {
	echo "xen.sh: $model: $*"
	tail -c 3000 "$tmp/out"
	exit 1
}
skip() {
	echo "xen.sh: skipped: $*"
	exit 77
}

for tool in cpio apt-get dpkg-deb; do
	command -v $tool >/dev/null || skip "no $tool"
done
[ -x /bin/busybox ] || skip "no /bin/busybox"
tree=$($fetch_kernel linux-image-amd64)
kernel=$(echo "$tree"/boot/vmlinuz-*)
cd "$tmp"
mkdir package root root/bin root/dev root/proc root/sys root/lib64
libraries="libxencall1 libxenevtchn1 libxenforeignmemory1 libxengnttab1 libxenmisc4.17 libxenstore4 libxentoollog1 libxentoolcore1
	libxendevicemodel1 libxenhypfs1 libyajl2 libnl-3-200 libnl-route-3-200 libfdt1"
apt-get download xen-hypervisor-4.17-amd64 xen-utils-4.17 $libraries >out 2>&1 || skip "the packages cannot be fetched: $(tail -n 1 out)"
for deb in *.deb; do
	dpkg-deb -x "$deb" package
done
zcat package/boot/xen-4.17-amd64.gz >xen

xl=package/usr/lib/xen-4.17/bin/xl
cp "$xl" /bin/busybox root/bin/
find "$tree/lib/modules" -name 'xen-privcmd.ko*' -o -name 'xenfs.ko*' | xargs -I{} cp {} root/
LD_LIBRARY_PATH=package/usr/lib/x86_64-linux-gnu ldd "$xl" >libraries
! grep 'not found' libraries >out || die "a library of xl is missing"
awk '{ for (i = 1; i <= NF; i++) if ($i ~ /\//) print $i }' libraries | sort -u | while read -r file; do
	cp -L "$file" root/lib64/
done
cat >root/init <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin LD_LIBRARY_PATH=/lib64
mount -t devtmpfs dev /dev
exec >/dev/hvc0 2>&1
mount -t proc proc /proc
mount -t sysfs sys /sys
insmod /xen-privcmd.ko
insmod /xenfs.ko
mount -t xenfs xenfs /proc/xen
echo "dom0 runs on $(cat /sys/hypervisor/type): $(cat /proc/xen/capabilities)"
xl dmesg | sed 's/^/xl: /'
poweroff -f
INIT
chmod +x root/init
(cd root && find . | cpio -o -H newc 2>/dev/null) >initrd

"$nestbox" run --accel soft --cpu "$model" --memory 1G --timeout 280 --kernel xen --append "xen com1=115200,8n1 console=com1 dom0_mem=512M" \
	--module "$kernel console=hvc0" --module initrd </dev/null >out 2>&1 || die "exit status $?"
grep -aq 'dom0 runs on xen: control_d' out || die "dom0 did not reach its init"
grep -aq "xl: (XEN) HVM: $extension enabled" out || die "xl dmesg does not say $extension enabled"
grep -aq 'xl: (XEN) HVM: Hardware Assisted Paging (HAP) detected' out || die "xl dmesg does not name nested paging"
