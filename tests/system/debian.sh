#!/bin/sh
# Debian 12, whole, on a virtio disk and a user network. Usage: debian.sh NESTBOX FETCH-KERNEL CASE
#
#   login  boots to systemd's login prompt; ssh in through a port forward; HTTP from a server on the host's loopback;
#          512 MiB written, synced, and the same after a reboot; powers off
#   work   inside: digests and ciphers against known answers, a program compiled there, stress-ng with --verify
#
# The root file system is made by debootstrap, which needs root (or sudo) and a mirror, once (NESTBOX_DEBIAN or the cache);
# without them the test is skipped. NESTBOX_ARGS is handed to `nestbox run` (--accel soft unless it says otherwise).
set -eu
nestbox=$1
fetch_kernel=$2
case=$3
debian=${NESTBOX_DEBIAN:-${XDG_CACHE_HOME:-$HOME/.cache}/nestbox/debian12}
PATH="$PATH:/sbin:/usr/sbin"
guest= server=

skip() { echo "skipped: $*"; exit 77; }
# debootstrap and the owners of files in the image need root, nothing else does.
as_root=
if [ "$(id -u)" -ne 0 ]; then
	as_root='sudo -n'
	sudo -n true 2>/dev/null || skip "not root, and no sudo without a password: debootstrap needs it"
fi
for tool in debootstrap mke2fs ssh ssh-keygen busybox cpio; do
	command -v "$tool" >/dev/null || skip "no $tool here"
done
kernel=$($fetch_kernel)
version=$(basename "$kernel"/lib/modules/*)

tmp=$(mktemp -d "${TMPDIR:-/var/tmp}/nestbox-debian.XXXXXX")
clean() {
	[ -z "$guest" ] || kill "$guest" 2>/dev/null || true
	[ -z "$server" ] || kill "$server" 2>/dev/null || true
	wait
	$as_root rm -rf "$tmp"
}
trap clean EXIT
trap 'exit 1' INT TERM
die() {
	echo "debian.sh: $case: $*"
	tail -n 40 "$tmp/console" 2>/dev/null || true
	cat "$tmp/err" 2>/dev/null || true
	exit 1
}

# ---- the image ----

make_tree() {
	[ -e "$debian/usr/bin/stress-ng" ] && return
	mkdir -p "$(dirname "$debian")"
	new=$(mktemp -d "$debian.XXXXXX")
	chmod 755 "$new"
	$as_root env PATH="$PATH" debootstrap --variant=minbase \
		--include=systemd-sysv,udev,dbus,iproute2,openssh-server,openssl,stress-ng,gcc,libc6-dev,curl,kmod,procps,login \
		bookworm "$new" ${NESTBOX_MIRROR:+"$NESTBOX_MIRROR"} >"$tmp/debootstrap" 2>&1 || {
		tail -n 3 "$tmp/debootstrap"
		$as_root rm -rf "$new"
		skip "debootstrap found no mirror"
	}
	mv "$new" "$debian"
}

make_image() {
	ssh-keygen -q -t ed25519 -N '' -f "$tmp/key"
	$as_root env PATH="$PATH" sh -euc "$(cat <<'AS_ROOT'
	debian=$1 kernel=$2 version=$3 tmp=$4 owner=$5
	root=$tmp/root
	cp -a "$debian" "$root"
	mkdir -p "$root/lib/modules" "$root/root/.ssh" "$root/etc/systemd/network"
	cp -a "$kernel/lib/modules/$version" "$root/lib/modules/"
	cp "$tmp/key.pub" "$root/root/.ssh/authorized_keys"
	chmod 700 "$root/root/.ssh"
	echo 'LoginGraceTime 600' >"$root/etc/ssh/sshd_config.d/patience.conf"
	echo guest >"$root/etc/hostname"
	echo '127.0.0.1 localhost guest' >"$root/etc/hosts"
	echo '/dev/vda / ext4 defaults,discard 0 1' >"$root/etc/fstab"
	printf '[Match]\nDriver=virtio_net\n[Network]\nDHCP=ipv4\n' >"$root/etc/systemd/network/10-user.network"
	# Its patience is made for faster machines.
	mkdir -p "$root/etc/systemd/system.conf.d" "$root/etc/systemd/system/multi-user.target.wants"
	printf '[Manager]\nDefaultTimeoutStartSec=900s\nDefaultDeviceTimeoutSec=900s\n' >"$root/etc/systemd/system.conf.d/patience.conf"
	ln -sf /lib/systemd/system/systemd-networkd.service "$root/etc/systemd/system/multi-user.target.wants/"
	rm -rf "$root/var/cache/apt/archives" "$root"/var/lib/apt/lists/*
	truncate -s 2G "$tmp/disk.img"
	mke2fs -q -t ext4 -d "$root" "$tmp/disk.img"
	chown "$owner" "$tmp/disk.img"
	rm -rf "$root"
AS_ROOT
	)" image "$debian" "$kernel" "$version" "$tmp" "$(id -u)"
}

# Only what finds the root: the driver of the disk, and busybox to insert it.
make_initrd() {
	mkdir -p "$tmp/initrd/bin" "$tmp/initrd/dev" "$tmp/initrd/proc" "$tmp/initrd/sys" "$tmp/initrd/root"
	cp "$(command -v busybox)" "$tmp/initrd/bin/busybox"
	modprobe -S "$version" -d "$kernel" -a --show-depends virtio_pci virtio_blk | sed -n 's/^insmod //p' | awk '!seen[$0]++' >"$tmp/modules"
	{
		echo '#!/bin/busybox sh'
		echo 'b=/bin/busybox'
		echo '$b mount -t devtmpfs dev /dev; $b mount -t proc proc /proc; $b mount -t sysfs sys /sys'
		while read -r m; do
			cp "$m" "$tmp/initrd/"
			echo "\$b insmod /$(basename "$m")"
		done <"$tmp/modules"
		echo 'until [ -e /dev/vda ]; do $b sleep 0.1; done'
		echo '$b mount -t ext4 /dev/vda /root || exec $b sh'
		echo '$b mount -o move /dev /root/dev; $b umount /proc; $b umount /sys'
		echo 'exec $b switch_root /root /sbin/init'
	} >"$tmp/initrd/init"
	chmod +x "$tmp/initrd/init"
	(cd "$tmp/initrd" && find . | cpio -o -H newc --quiet) | gzip -1 >"$tmp/initrd.gz"
}

# ---- the guest ----

port=$((20000 + $$ % 20000))

boot() {
	: >"$tmp/console"
	# shellcheck disable=SC2086
	"$nestbox" run ${NESTBOX_ARGS:---accel soft} --memory 1G --kernel "$kernel/boot/vmlinuz-$version" \
		--initrd "$tmp/initrd.gz" --no-reboot --append "console=ttyS0 panic=-1 quiet systemd.show_status=0" \
		--disk "$tmp/disk.img,discard=on,queues=2" --net "user,hostfwd=tcp::$port-:22" \
		--timeout 1800 </dev/null >"$tmp/console" 2>"$tmp/err" &
	guest=$!
	until grep -q 'login:' "$tmp/console"; do
		kill -0 "$guest" 2>/dev/null || die "the guest ended before its login prompt"
		sleep 1
	done
	# The forward takes connections before the guest's sshd does.
	tries=0
	until inside true 2>"$tmp/ssh"; do
		tries=$((tries + 1))
		[ $tries -lt 60 ] || { cat "$tmp/ssh"; die "no ssh through the port forward"; }
		sleep 2
	done
}
inside() {
	ssh -o LogLevel=ERROR -i "$tmp/key" -p "$port" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ConnectTimeout=200 \
		-o ConnectionAttempts=5 root@127.0.0.1 "$@"
}
power_off() {
	inside systemctl poweroff || true
	status=0
	wait "$guest" || status=$?
	guest=
	[ "$status" -eq 0 ] || die "exit status $status after the guest powered off"
	grep -Ei 'WARNING:|BUG:|I/O error|EXT4-fs error|unchecked MSR|lost interrupt' "$tmp/console" && die "its log complains"
	return 0
}

make_tree
make_image
make_initrd
echo "boots"
boot
echo "login prompt; up $(inside cat /proc/uptime | cut -d" " -f1) s"

case $case in
login)
	state=$(inside systemctl is-system-running --wait || true)
	[ "$state" = running ] || { inside systemctl --failed --no-pager; die "systemd says $state"; }
	mkdir "$tmp/www"
	head -c 3000000 /dev/urandom >"$tmp/www/file"
	busybox httpd -f -p 127.0.0.1:$((port + 1)) -h "$tmp/www" &
	server=$!
	[ "$(inside "curl -s http://10.0.2.2:$((port + 1))/file | openssl dgst -sha256 -r")" = "$(openssl dgst -sha256 -r <"$tmp/www/file")" ] || die "HTTP brought something else"
	echo "HTTP from the host's loopback: 3 MB, the same"
	inside 'openssl enc -aes-128-ctr -K 00 -iv 00 -nosalt -in /dev/zero 2>/dev/null | head -c 536870912 >/big; sync; openssl dgst -sha256 -r </big' >"$tmp/before"
	power_off
	boot
	inside 'openssl dgst -sha256 -r </big' >"$tmp/after"
	cat "$tmp/before" "$tmp/after"
	cmp -s "$tmp/before" "$tmp/after" || die "the file changed across the reboot"
	inside 'rm /big; fstrim /'
	power_off
	e2fsck -fn "$tmp/disk.img" >"$tmp/fsck" 2>&1 || { cat "$tmp/fsck"; die "e2fsck complains"; }
	;;
work)
	# FIPS 180-4 and FIPS 197 examples, and each cipher back to where it began.
	inside 'set -e
		[ "$(printf abc | openssl dgst -sha256 -r | cut -c-64)" = ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad ]
		[ "$(printf abc | openssl dgst -sha1 -r | cut -c-40)" = a9993e364706816aba3e25717850c26c9cd0d89d ]
		[ "$(printf abc | openssl dgst -md5 -r | cut -c-32)" = 900150983cd24fb0d6963f7d28e17f72 ]
		head -c 5000000 /dev/urandom >/tmp/plain
		for c in aes-128-cbc aes-256-ctr chacha20 camellia-128-cbc; do
			openssl enc -$c -pbkdf2 -pass pass:x -in /tmp/plain | openssl enc -d -$c -pbkdf2 -pass pass:x | cmp - /tmp/plain
		done
		openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out /tmp/k.pem
		openssl pkey -in /tmp/k.pem -pubout -out /tmp/p.pem
		openssl dgst -sha256 -sign /tmp/k.pem -out /tmp/sig /tmp/plain
		openssl dgst -sha256 -verify /tmp/p.pem -signature /tmp/sig /tmp/plain
		openssl speed -seconds 1 sha256 aes-128-gcm 2>&1 | tail -n 3' || die "openssl's answers are wrong"
	cat >"$tmp/p.c" <<-'EOF'
		#include <math.h>
		#include <stdio.h>
		int main(void)
		{
			double s = 0;
			unsigned long a = 0, b = 1;
			for (int i = 1; i <= 1000000; i++)
				s += 1.0 / ((double)i * i);
			for (int i = 0; i < 90; i++) {
				unsigned long c = a + b;
				a = b;
				b = c;
			}
			printf("%.12f %lu %.15f\n", s, a, sqrt(2) * sin(1));
		}
	EOF
	gcc -O2 -o "$tmp/p" "$tmp/p.c" -lm 2>/dev/null || skip "no gcc on the host to compare with"
	inside 'cat >/tmp/p.c && gcc -O2 -o /tmp/p /tmp/p.c -lm && /tmp/p' <"$tmp/p.c" >"$tmp/out" || die "gcc inside"
	[ "$(cat "$tmp/out")" = "$("$tmp/p")" ] || die "a compiled program says $(cat "$tmp/out")"
	echo "compiled inside: $(cat "$tmp/out")"
	inside 'stress-ng --cpu 2 --vm 2 --vm-bytes 64M --fork 4 --verify -t 60' || die "stress-ng failed"
	power_off
	;;
*) echo "unknown case $case"; exit 2 ;;
esac
echo "good"
