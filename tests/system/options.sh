#!/bin/sh
# What is wrong with a disk or a network is said in one sentence, with exit code 2 or 3. Usage: options.sh NESTBOX FETCH-KERNEL
set -eu
nestbox=$1
kernel=$($2)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
: >"$tmp/initrd"

refused() { # refused STATUS WORDS ARGS…
	want=$1
	words=$2
	shift 2
	status=0
	NESTBOX_KERNEL=$kernel timeout 20 "$nestbox" run --accel soft --initrd "$tmp/initrd" "$@" </dev/null >"$tmp/out" 2>"$tmp/err" || status=$?
	if [ "$status" -ne "$want" ] || [ "$(wc -l <"$tmp/err")" -ne 1 ] || ! grep -q "$words" "$tmp/err"; then
		echo "run $*: status $status, not $want with one sentence about '$words':"
		cat "$tmp/err"
		exit 1
	fi
}

truncate -s 1000 "$tmp/odd.img"
truncate -s 1M "$tmp/good.img"
: >"$tmp/empty.img"
printf 'QFI\373' >"$tmp/q.img" && truncate -s 1M "$tmp/q.img"
refused 2 'No such file' --disk "$tmp/absent.img"
refused 2 'wants a file' --disk ''
refused 2 'queues=1 to 8' --disk "$tmp/good.img,queues=0"
refused 2 'not rw' --disk "$tmp/good.img,rw"
refused 3 'whole sectors' --disk "$tmp/odd.img"
refused 3 'whole sectors' --disk "$tmp/empty.img"
refused 3 'qcow2' --disk "$tmp/q.img"
refused 3 'neither a file' --disk "$tmp,ro"
refused 3 'in use' --disk "$tmp/good.img" --disk "$tmp/good.img"
refused 2 '4 disks' --disk a --disk a --disk a --disk a --disk a
refused 2 'from 1 to 8' --slow 9
refused 2 'serial or virtio' --console tty
refused 2 'stdio, none or' --serial file:
refused 2 'stdio, none or' -serial tcp::4444
refused 3 'cannot be written' --serial "$tmp/absent/log"
refused 2 'for a kernel' --bios "$tmp/initrd" --console virtio
refused 2 'only network' --net tap
refused 2 'no port forward' --net user,hostfwd=tcp::22
refused 2 'restrict=on' --net user,speed=10
refused 3 'cannot be forwarded' --net user,hostfwd=tcp:192.0.2.1:2222-:22
echo "good"
