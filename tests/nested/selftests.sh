#!/bin/sh
# The kernel's own KVM selftests (tools/testing/selftests/kvm of Debian's linux-source-6.1) inside L1 on the software processor.
# Usage: selftests.sh NESTBOX FETCH-KERNEL [MODEL[/PARAMETERS] [TEST…]]
# Without a MODEL: all tests on both vendors, and those with something to say about a setting with that setting. PARAMETERS are
# of kvm_amd or kvm_intel, with commas between. Prints a Markdown table: test, result and seconds in L1 of each run, reasons of
# skips and failures; results go to stderr as they come. Fails if a test fails or runs out of time (LIMIT seconds each, 1200).
# L1's clock is slow (SLOW, 4), because tests set themselves deadlines that silicon keeps; all seconds are L1's.
# Exits 77 (skipped) where the source or a compiler for it is not installed.
set -eu
. "$(dirname "$0")/../guest.sh"
nestbox=$1
fetch_kernel=$2
shift 2
limit=${LIMIT:-1200}
slow=${SLOW:-4}
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
echo ALL RUN
INIT
guest_modules "$root" "$tree" kvm-amd kvm-intel
mkdir "$root/t"
find "$kvm" -type f -perm -100 ! -name '*.sh' ! -name '*.pl' | while read -r test; do
	strip -o "$root/t/$(basename "$test")" "$test"
done
guest_pack "$root" "$tmp/initrd"

# in_l1 MODEL[/PARAMETERS] [TEST…]: the results are lines RUN TEST STATUS SECONDS REASON of $tmp/results.
in_l1() {
	run=$1
	cpu=${run%%/*}
	module=nested=1
	[ "$cpu" = "$run" ] || module=${run#*/}
	shift
	wanted=$(echo "$*" | tr ' ' ,)
	"$nestbox" run --accel soft --slow "$slow" --cpu "$cpu" --smp 2 --memory 3G --kernel "$tree"/boot/vmlinuz-* --initrd "$tmp/initrd" \
		--append "console=ttyS0 quiet panic=-1 limit=$limit module=$module${wanted:+ wanted=$wanted}" </dev/null 2>"$tmp/err" |
		sed -u 's|\r||g' | tee "$tmp/out" | grep -aE --line-buffered '^(RESULT|OUTPUT|COMPLAINT)' | sed -u "s|^|$run: |" >&2
	grep -aq '^ALL RUN' "$tmp/out" || {
		tail -n 40 "$tmp/out" "$tmp/err" >&2
		echo "selftests.sh: L1 ended early on $run" >&2
		exit 1
	}
	grep -a '^RESULT' "$tmp/out" | sed "s|^RESULT|$run|" >>"$tmp/results"
	! grep -a '^COMPLAINT' "$tmp/out" || touch "$tmp/complained"
}

if [ $# -gt 0 ]; then
	in_l1 "$@"
else
	in_l1 EPYC-Milan
	in_l1 Skylake-Client
	in_l1 EPYC-Milan/avic=1 svm_int_ctl_test xapic_ipi_test xapic_state_test
	in_l1 Skylake-Client,vmx-unrestricted-guest=off mmio_warning_test vmx_exception_with_invalid_guest_state
fi

awk '
	!($1 in column) { column[$1] = ++columns; name[columns] = $1 }
	!($2 in row) { row[$2] = ++rows; test[rows] = $2 }
	{
		result = $3 == 0 ? "pass" : $3 == 4 ? "skip" : $3 == 143 || $3 == 124 ? "out of time" : "FAIL (" $3 ")"
		cell[$2, $1] = $3 == 4 ? result : result ", " $4 " s"
		if ($3 != 0 && $3 != 4)
			bad = 1
		reason = ""
		for (i = 5; i <= NF; i++)
			reason = reason (i > 5 ? " " : "") $i
		sub(/.*SKIP - /, "", reason)
		sub(/^ *Requirement not met: /, "", reason)
		gsub(/\|/, "\\|", reason)
		if ($3 && reason && !index(why[$2], reason))
			why[$2] = why[$2] (why[$2] ? "; " : "") reason
	}
	END {
		line = "| test |"
		rule = "|---|"
		for (c = 1; c <= columns; c++) {
			line = line " " name[c] " |"
			rule = rule "---|"
		}
		print line " |"
		print rule "---|"
		for (r = 1; r <= rows; r++) {
			line = "| " test[r] " |"
			for (c = 1; c <= columns; c++)
				line = line " " cell[test[r], name[c]] " |"
			print line " " why[test[r]] " |"
		}
		exit bad
	}' "$tmp/results"
[ ! -e "$tmp/complained" ]
