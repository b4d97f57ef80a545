#!/bin/sh
# A stock gdb on a guest of L1's KVM (../system/gdb.sh, run inside L1). Usage: kvmgdb.sh NESTBOX FETCH-KERNEL CPU-MODEL GUEST GDB.SH
set -eu
. "$(dirname "$0")/../guest.sh"
nestbox=$1
fetch_kernel=$2
model=$3
guest=$4
script=$5
needs cpio busybox ldd gdb pgrep
tree=${NESTBOX_KERNEL:-$($fetch_kernel)}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT INT TERM

root=$tmp/root
guest_new "$root" <<'INIT'
sh /load-kvm-$vendor
ifconfig lo 127.0.0.1
sh /bin/gdb.sh /bin/nestbox /bin/guest kvm
INIT
guest_modules "$root" "$tree" kvm-amd kvm-intel
guest_bin "$root" "$nestbox" "$guest"
cp "$script" "$root/bin/gdb.sh"
guest_add "$root" "$(command -v gdb)" "$(command -v pgrep)"
# gdb starts Python, which wants its library.
library=$(gdb -nx -batch -ex 'python import os; print(os.path.dirname(os.__file__))')
mkdir -p "$root$library" "$root/usr/share"
(cd "$library" && cp -r ./*.py encodings collections re importlib json "$root$library/")
cp -r /usr/share/gdb "$root/usr/share/"
guest_pack "$root" "$tmp/initrd"
"$nestbox" run --accel soft --cpu "$model" --memory 1G --timeout 280 --kernel "$tree"/boot/vmlinuz-* --initrd "$tmp/initrd" \
	--append "console=ttyS0 quiet" </dev/null >"$tmp/out" 2>&1 || true
tr -d '\r' <"$tmp/out" | grep -qx good || { tail -n 100 "$tmp/out"; exit 1; }
echo good
