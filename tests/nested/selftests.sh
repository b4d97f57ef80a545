#!/bin/sh
# The kernel's own KVM selftests (tools/testing/selftests/kvm of Debian's linux-source-6.1) inside L1 on the software processor.
# Usage: selftests.sh NESTBOX FETCH-KERNEL CPU-MODEL [TEST…]
# Prints a Markdown table: test, result, seconds in L1, reason of a skip or a failure. Fails if a test fails or runs out of time
# (LIMIT seconds each, 600). Exits 77 (skipped) where the source or a compiler for it is not installed.
set -eu
. "$(dirname "$0")/../guest.sh"
nestbox=$1
fetch_kernel=$2
model=$3
shift 3
wanted=$(echo "$*" | tr ' ' ,)
limit=${LIMIT:-600}
module=${MODULE:-nested=1} # parameters of kvm_amd or kvm_intel, with commas between
source=/usr/src/linux-source-6.1.tar.xz
build=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/nestbox/selftests
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT INT TERM

needs cpio gcc make rsync busybox
[ -r $source ] || { echo "selftests.sh: skipped: no $source (package linux-source-6.1)"; exit 77; }

# As shipped two tests do not compile: a macro has its later name, a header comes in the wrong order.
kvm=$build/linux-source-6.1/tools/testing/selftests/kvm
if [ ! -e "$build/built" ]; then
	mkdir -p "$build"
	tar -C "$build" -xf $source linux-source-6.1/tools linux-source-6.1/include linux-source-6.1/arch/x86 linux-source-6.1/scripts \
		linux-source-6.1/Makefile linux-source-6.1/Kbuild linux-source-6.1/Kconfig linux-source-6.1/arch/Kconfig
	make -C "$build/linux-source-6.1" headers_install >"$tmp/out" 2>&1 || { tail -n 20 "$tmp/out"; exit 1; }
	CFLAGS="-DTEST_ASSERT_EQ=ASSERT_EQ -isystem $build/linux-source-6.1/usr/include -include linux/stddef.h" \
		make -k -C "$build/linux-source-6.1/tools/testing/selftests" TARGETS=kvm ARCH=x86_64 "LDFLAGS=-static -pthread -no-pie" \
		>"$tmp/out" 2>&1 || { grep -A5 'error' "$tmp/out" | tail -n 20; exit 1; }
	touch "$build/built"
fi

root=$tmp/root
tree=$($fetch_kernel)
guest_new "$root" <<'INIT'
mount -t debugfs debug /sys/kernel/debug
mkdir -p /dev/shm
mount -t tmpfs shm /dev/shm
sh /load-kvm-$vendor $(echo "$module" | tr , ' ')
wanted=$(echo "${wanted:-}" | tr , ' ')
cd /tmp
for test in ${wanted:-$(ls /t)}; do
	begin=$(cut -d. -f1 /proc/uptime)
	status=0
	timeout "$limit" /t/"$test" >/tmp/out 2>&1 </dev/null || status=$?
	end=$(cut -d. -f1 /proc/uptime)
	echo "RESULT $test $status $((end - begin)) $(grep -hE 'SKIP|kip|==== Test Assertion' /tmp/out | head -n 1 | cut -c 1-120)"
	[ $status -eq 0 ] || tail -n 25 /tmp/out | sed 's/^/OUTPUT /'
done
dmesg | grep -E 'WARNING:|BUG:|unchecked MSR' | sed 's/^/COMPLAINT /'
INIT
guest_modules "$root" "$tree" kvm-amd kvm-intel
mkdir "$root/t"
find "$kvm" -type f -perm -100 ! -name '*.sh' ! -name '*.pl' | while read -r test; do
	strip -o "$root/t/$(basename "$test")" "$test"
done
guest_pack "$root" "$tmp/initrd"

"$nestbox" run --accel soft --cpu "$model" --smp 2 --memory 3G --kernel "$tree"/boot/vmlinuz-* --initrd "$tmp/initrd" \
	--append "console=ttyS0 quiet panic=-1 limit=$limit module=$module${wanted:+ wanted=$wanted}" </dev/null >"$tmp/out" 2>"$tmp/err" || {
	tail -n 40 "$tmp/out" "$tmp/err"
	exit 1
}
echo "| test | $model | s | |"
echo "|---|---|---:|---|"
tr -d '\r' <"$tmp/out" | awk '
	$1 == "RESULT" {
		result = $3 == 0 ? "pass" : $3 == 4 ? "skip" : $3 == 143 || $3 == 124 ? "out of time" : "FAIL (" $3 ")"
		reason = ""
		for (i = 5; i <= NF; i++) reason = reason " " $i
		sub(/.*SKIP - /, "", reason)
		sub(/^ *Requirement not met: /, "", reason)
		print "| " $2 " | " result " | " $4 " | " ($3 ? reason : "") " |"
	}'
tr -d '\r' <"$tmp/out" | grep -aE '^(OUTPUT|COMPLAINT)' >&2 || :
! grep -aEq '^COMPLAINT' "$tmp/out" && ! tr -d '\r' <"$tmp/out" | awk '$1 == "RESULT" && $3 != 0 && $3 != 4 { bad = 1 } END { exit !bad }'
