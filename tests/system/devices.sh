#!/bin/sh
# A disk and a network in the busybox guest: what it writes is in the file, what the host serves on its loopback arrives there.
# Then a guest whose terminal is a virtio console.
# Usage: devices.sh NESTBOX FETCH-KERNEL [ACCELERATOR [CPUS [KERNEL-WORDS]]]
set -eu
nestbox=$1
kernel=$($2)
accelerator=${3:-soft}
cpus=${4:-1}
command -v busybox >/dev/null || { echo "skipped: no busybox here"; exit 77; }
tmp=$(mktemp -d)
guest= server=
clean() {
	[ -z "$guest" ] || kill "$guest" 2>/dev/null || true
	[ -z "$server" ] || kill "$server" 2>/dev/null || true
	rm -rf "$tmp"
}
trap clean EXIT
trap 'exit 1' INT TERM
die() {
	echo "devices.sh: $*"
	cat "$tmp/console" "$tmp/err"
	exit 1
}
waits_for() { # waits_for TEXT SECONDS
	left=$2
	until grep -q "$1" "$tmp/console"; do
		left=$((left - 1))
		[ "$left" -gt 0 ] && kill -0 "$guest" 2>/dev/null || die "no '$1'"
		sleep 1
	done
}

port=$((20000 + $$ % 20000))
mkdir "$tmp/www"
echo "from the host's loopback" >"$tmp/www/file"
busybox httpd -f -p "127.0.0.1:$port" -h "$tmp/www" &
server=$!
truncate -s 8M "$tmp/a.img"
head -c 4194304 /dev/urandom >"$tmp/b.img"
sum=$(md5sum <"$tmp/b.img" | cut -c-32)
mkfifo "$tmp/in"
"$nestbox" run --accel "$accelerator" --smp "$cpus" --kernel "$kernel"/boot/vmlinuz-* --modules "$kernel" --timeout 150 --disk "$tmp/a.img,queues=3,discard=on" \
	--disk "$tmp/b.img,ro" --net user --append "${5:-}" <"$tmp/in" >"$tmp/console" 2>"$tmp/err" &
guest=$!
exec 3>"$tmp/in"
: >>"$tmp/console"
waits_for 'built-in shell' 120
cat >&3 <<-EOF
	md5sum /dev/vdb; dd if=/dev/vdb of=/dev/vda bs=64k seek=1 conv=fsync 2>/dev/null; cat /sys/block/vda/serial
	dd if=/dev/vda of=/dev/vdb count=1; head -c 16 /dev/hwrng | wc -c
	ifconfig eth0 10.0.2.15 up; wget -q -O - http://10.0.2.2:$port/file; cat /proc/interrupts; echo fin''ished; poweroff -f
EOF
waits_for '^finished' 60
status=0
wait "$guest" || status=$?
guest=
[ "$status" -eq 0 ] || die "exit status $status"
grep -q "^$sum  /dev/vdb" "$tmp/console" || die "the disk reads differently inside"
[ "$(dd if="$tmp/a.img" bs=64k skip=1 count=64 2>/dev/null | md5sum | cut -c-32)" = "$sum" ] || die "what was written is not in the file"
[ "$(md5sum <"$tmp/b.img" | cut -c-32)" = "$sum" ] || die "the read-only disk was written"
grep -q '^disk0' "$tmp/console" || die "no serial number"
tr -d '\r' <"$tmp/console" | grep -q '^16$' || die "no random bytes"
grep -q "^from the host's loopback" "$tmp/console" || die "nothing came through the network"
grep -Eq 'WARNING:|BUG:' "$tmp/console" && die "its log complains"
case ${5:-} in
*noapic*) tr -d '\r' <"$tmp/console" | grep -Eq '^ *1[01]:.*XT-PIC.*virtio' || die "no PCI interrupt through the 8259 pair" ;;
*nomsi*) tr -d '\r' <"$tmp/console" | grep -Eq '^ *1[6-9]:.*IO-APIC.*virtio' || die "no PCI interrupt through the I/O APIC" ;;
esac
[ -z "${5:-}" ] || { echo good; exit 0; }

: >"$tmp/console"
"$nestbox" run --accel "$accelerator" --kernel "$kernel"/boot/vmlinuz-* --modules "$kernel" --timeout 90 --console virtio <"$tmp/in" >"$tmp/console" 2>"$tmp/err" &
guest=$!
waits_for 'built-in shell' 60
echo 'tty; cat /sys/class/virtio-ports/*/name; echo fin''ished; poweroff -f' >&3
waits_for '^finished' 30
status=0
wait "$guest" || status=$?
guest=
[ "$status" -eq 0 ] || die "virtio console: exit status $status"
tr -d '\r' <"$tmp/console" | grep -q '^/dev/hvc0$' || die "the shell is not on the virtio console"
tr -d '\r' <"$tmp/console" | grep -q '^nestbox.channel$' || die "no named port beside the console"
echo good
