#!/bin/sh
# Firmware and images that are not Linux. Usage: firmware.sh NESTBOX FETCH-KERNEL CASE
#   seabios   SeaBIOS finds nothing to start         grub     SeaBIOS, GRUB from a disk, Debian's kernel, power off
#   ovmf      OVMF reaches its shell                 memtest  memtest86+ completes a pass on 64 MiB
#   vars      OVMF keeps its variables in a file
#   exit      a multiboot guest's exit code
# Exits 77 (skipped) where the firmware or the tools are not installed.
set -eu
nestbox=$1
fetch_kernel=$2
case=$3
tmp=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null || :; rm -rf "$tmp"' EXIT INT TERM

die() {
	echo "firmware.sh: $case: $*"
	tail -c 3000 "$tmp/out"
	exit 1
}
need() { [ -r "$1" ] || { echo "firmware.sh: $case: skipped: no $1"; exit 77; }; }
need_tool() { command -v "$1" >/dev/null || { echo "firmware.sh: $case: skipped: no $1"; exit 77; }; }
# until_says PATTERN SECONDS ARGS…: runs a guest until its console says so.
until_says() {
	pattern=$1
	seconds=$2
	shift 2
	: >"$tmp/out"
	"$nestbox" run --accel soft --timeout "$seconds" "$@" </dev/null >"$tmp/out" 2>&1 &
	pid=$!
	while kill -0 "$pid" 2>/dev/null; do
		! grep -aq "$pattern" "$tmp/out" || return 0
		sleep 0.5
	done
	grep -aq "$pattern" "$tmp/out" || die "the console does not say '$pattern'"
}

case $case in
seabios)
	need /usr/share/seabios/bios-256k.bin
	until_says 'No bootable device' 60 --bios /usr/share/seabios/bios-256k.bin --debugcon "$tmp/debug"
	grep -aq 'e820 map has' "$tmp/debug" || die "nothing on the debug console"
	;;
ovmf)
	need /usr/share/ovmf/OVMF.fd
	until_says 'Shell> ' 240 --smp 2 --bios /usr/share/ovmf/OVMF.fd
	;;
vars)
	# It writes its boot entries into an empty store, and takes up one that holds them.
	need /usr/share/OVMF/OVMF_CODE_4M.fd
	cp /usr/share/OVMF/OVMF_VARS_4M.fd "$tmp/vars"
	for args in --snapshot '' ''; do
		until_says 'Shell> ' 120 --bios /usr/share/OVMF/OVMF_CODE_4M.fd --vars "$tmp/vars" $args
		kill "$pid"
		wait "$pid" || :
		pid=
		[ -z "$args" ] || cmp -s "$tmp/vars" /usr/share/OVMF/OVMF_VARS_4M.fd || die "a snapshot changed the file"
	done
	tr -d '\0' <"$tmp/vars" | grep -aq 'BootOrder' || die "no boot entries in the file"
	! tr -d '\0' </usr/share/OVMF/OVMF_VARS_4M.fd | grep -aq 'BootOrder' || die "they were there before"
	;;
memtest)
	need /boot/memtest86+x64.bin
	until_says 'Pass: *1 ' 3000 --memory 64M --kernel /boot/memtest86+x64.bin --append console=ttyS0,115200
	! grep -aq 'Errors: *[1-9]' "$tmp/out" || die "memtest86+ found errors"
	;;
grub)
	need /usr/share/seabios/bios-256k.bin
	need /usr/lib/grub/i386-pc/kernel.img
	need_tool grub-mkrescue
	need_tool xorriso
	need_tool cpio
	need /bin/busybox
	mkdir -p "$tmp/iso/boot/grub" "$tmp/root/bin"
	cp "$($fetch_kernel)"/boot/vmlinuz-* "$tmp/iso/boot/vmlinuz"
	cp /bin/busybox "$tmp/root/bin/"
	printf '#!/bin/busybox sh\n/bin/busybox mkdir /proc\n/bin/busybox mount -t proc proc /proc\necho INIT RUNS on $(/bin/busybox grep -c ^processor /proc/cpuinfo)\n/bin/busybox poweroff -f\n' >"$tmp/root/init"
	chmod +x "$tmp/root/init"
	(cd "$tmp/root" && find . | cpio -o -H newc 2>/dev/null) >"$tmp/iso/boot/initrd"
	printf 'serial --unit=0 --speed=115200\nterminal_output serial\nlinux /boot/vmlinuz console=ttyS0\ninitrd /boot/initrd\nboot\n' \
		>"$tmp/iso/boot/grub/grub.cfg"
	grub-mkrescue -o "$tmp/disk" "$tmp/iso" >"$tmp/out" 2>&1 || die "no disk image"
	"$nestbox" run --accel soft --smp 2 --timeout 240 --bios /usr/share/seabios/bios-256k.bin --disk "$tmp/disk,ro" </dev/null >"$tmp/out" 2>&1 ||
		die "exit status $?"
	grep -aq 'INIT RUNS on 2' "$tmp/out" || die "init did not run on two processors"
	! grep -aqE "can't claim|WARNING|BUG:|conflict" "$tmp/out" || die "the log complains"
	;;
exit)
	# A multiboot header with addresses, then: mov $0xf4, %dx; mov $5, %al; out %al, %dx; hlt
	printf '\002\260\255\033\003\000\001\000\373\117\121\344\000\000\020\000\000\000\020\000\000\000\000\000\000\000\000\000\040\000\020\000' \
		>"$tmp/image"
	printf '\146\272\364\000\260\005\356\364' >>"$tmp/image"
	status=0
	"$nestbox" run --accel soft --timeout 20 --testdev --kernel "$tmp/image" </dev/null >"$tmp/out" 2>&1 || status=$?
	[ "$status" -eq 11 ] || die "exit status $status, not 11"
	;;
esac
