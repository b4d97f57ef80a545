#!/bin/sh
# Debian's kernels, each to a busybox user space and off again.
# Usage: boot.sh NESTBOX FETCH-KERNEL PACKAGE CPUS MODEL
# The guest tells its log, processors and interrupts from inside, after time for the clocks' watchdogs to have looked.
# What the log must not hold, how many processors there must be and which flags they must show is judged here.
set -eu
nestbox=$1
fetch_kernel=$2
package=$3
cpus=$4
model=$5
case=$package-$cpus-$model

tmp=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null || :; rm -rf "$tmp"' EXIT INT TERM
out=$tmp/out

die() {
	echo "boot.sh: $case: $*"
	tail -n 80 "$out" "$tmp/err"
	exit 1
}
part() { sed -n "/^== $1\$/,/^== /p" "$out" | sed '/^== /d'; } # part NAME: what the guest told under that heading

# Flags as /proc/cpuinfo names them. Those of `unit` come from instructions that run on the host's own unit: wanted if
# it has them.
all='fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush fxsr syscall nx pdpe1gb rdtscp lm
x2apic movbe tsc_deadline_timer xsave rdrand hypervisor lahf_lm fsgsbase tsc_adjust smep xsaveopt xgetbv1 arat
constant_tsc nonstop_tsc'
unit='mmx sse sse2 pni pclmulqdq ssse3 fma cx16 sse4_1 sse4_2 popcnt aes avx f16c abm bmi1 avx2 bmi2'
amd='rdseed smap clflushopt xsavec svm 3dnowprefetch osvw topoext npt nrip_save vmcb_clean flushbyasid decodeassists'
amd_unit='adx sha_ni sse4a mmxext'
case $model in
EPYC) all="$all $amd" unit="$unit $amd_unit" vendor=AuthenticAMD ;;
EPYC-Rome) all="$all $amd umip rdpid clwb wbnoinvd" unit="$unit $amd_unit" vendor=AuthenticAMD ;;
EPYC-Milan)
	all="$all $amd umip rdpid clwb wbnoinvd erms fsrm pcid invpcid xsaves"
	unit="$unit $amd_unit vaes vpclmulqdq"
	vendor=AuthenticAMD
	;;
Haswell-noTSX-IBRS) all="$all erms pcid invpcid vmx ibrs ibpb" vendor=GenuineIntel ;;
Skylake-Client)
	all="$all erms pcid invpcid vmx ibrs ibpb rdseed smap clflushopt 3dnowprefetch xsavec xsaves"
	unit="$unit adx"
	vendor=GenuineIntel
	;;
Cascadelake-Server)
	all="$all erms pcid invpcid vmx ibrs ibpb rdseed smap clflushopt 3dnowprefetch xsavec xsaves clwb"
	unit="$unit adx avx512f avx512dq avx512cd avx512bw avx512vl avx512_vnni"
	vendor=GenuineIntel
	;;
*) echo "boot.sh: no flags are known of $model" >&2; exit 2 ;;
esac
[ "$cpus" -eq 1 ] || all="$all ht"

kernel=$($fetch_kernel "$package")
mkdir -p "$tmp/root/bin" "$tmp/root/proc" "$tmp/root/sys" "$tmp/root/dev"
cp "$(command -v busybox)" "$tmp/root/bin/busybox"
cat >"$tmp/root/init" <<'INIT'
#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b mount -t devtmpfs dev /dev
echo
echo "== up"
$b cat /proc/uptime
$b sleep 3
echo "== cpuinfo"
$b cat /proc/cpuinfo
echo "== interrupts"
$b cat /proc/interrupts
echo "== clock"
$b cat /sys/devices/system/clocksource/clocksource0/current_clocksource
$b cat /proc/uptime
echo "== dmesg"
$b dmesg
echo "== end"
$b poweroff -f
INIT
chmod 755 "$tmp/root/init"
ln -s busybox "$tmp/root/bin/sh"
sed -i 's,^#!/bin/busybox sh,#!/bin/sh,' "$tmp/root/init"
(cd "$tmp/root" && find . | cpio -o -H newc --quiet -R 0:0 >"$tmp/initrd")

start=$(date +%s%N)
"$nestbox" run --accel soft --cpu "$model" --smp "$cpus" --memory 512M --timeout 280 --stat \
	--kernel "$kernel"/boot/vmlinuz-* --initrd "$tmp/initrd" --append 'console=ttyS0 log_buf_len=1M loglevel=4' \
	</dev/null >"$tmp/raw" 2>"$tmp/err" &
pid=$!
while kill -0 "$pid" 2>/dev/null && ! grep -q '^== up' "$tmp/raw"; do sleep 0.1; done
up=$((($(date +%s%N) - start) / 1000000))
status=0
wait "$pid" || status=$?
pid=
tr -d '\r' <"$tmp/raw" >"$out"
[ "$status" -eq 0 ] || die "exit status $status"
grep -q '^== end' "$out" || die 'the guest did not come to its end'

part dmesg >"$tmp/dmesg"
part cpuinfo >"$tmp/cpuinfo"
grep -q 'Linux version' "$tmp/dmesg" || die 'the log has lost its start'
loud='WARNING|BUG:|Call Trace|Oops|TSC.*(warp|inconsist)|MP-BIOS|APIC error|Firmware Bug|do_IRQ|Unknown NMI'
loud="$loud|ACPI (BIOS )?Error|ACPI.*Exception"
any='unchecked MSR|lost interrupt|nobody cared|spurious|as unstable|clocksource.*(skew|wrong)|calibration failed'
any="$any|inconsistent|out of sync|\\bstall|lockup|\\bhung\\b|timer.*(not|n.t) work|not responding|no irq handler"
any="$any|failed to (start|come|bring)"
if grep -aE "$loud" "$tmp/dmesg" || grep -aEi "$any" "$tmp/dmesg"; then die 'the log complains'; fi

[ "$(grep -c '^processor' "$tmp/cpuinfo")" -eq "$cpus" ] || die "there are not $cpus processors"
[ "$(grep -c "^vendor_id.*$vendor" "$tmp/cpuinfo")" -eq "$cpus" ] || die "the vendor is not $vendor"
host=" $(sed -n 's/^flags[^:]*: //p' /proc/cpuinfo | head -n 1) "
for f in $unit; do case $host in *" $f "*) all="$all $f" ;; esac; done
grep '^flags' "$tmp/cpuinfo" | sed 's/^[^:]*: //' >"$tmp/flags"
while read -r flags; do
	missing=
	for f in $all; do case " $flags " in *" $f "*) ;; *) missing="$missing $f" ;; esac; done
	[ -z "$missing" ] || die "flags are missing:$missing"
done <"$tmp/flags"
[ "$(part interrupts | sed -n 's/^ *\(ERR\|MIS\): *//p' | tr -d ' \n')" = 00 ] || die 'interrupts went wrong (ERR, MIS)'
idle=$(part interrupts | awk '$1 == "LOC:" { for (i = 2; i < 2 + n; i++) if ($i + 0 == 0) print i - 2 }' n="$cpus")
[ -z "$idle" ] || die "no timer interrupt on processor $idle"

echo "$case: user space after $up ms ($(part up | cut -d' ' -f1) s by its clock, $(part clock | head -n 1))"
cat "$tmp/err"
