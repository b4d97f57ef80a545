#!/bin/sh
# `nestbox enable` and `disable` on hosts that are only recorded: what they would do, what they write, what they refuse.
# Usage: enable.sh NESTBOX TREES
set -eu
nestbox=$1
trees=$2
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
own=etc/modprobe.d/nestbox-nested.conf
. "$(dirname "$0")/tree.sh"

tree() { # tree NAME: a fresh copy of it in $tmp/t
	rm -rf "$tmp/t"
	unpack "$1" "$tmp/t"
}
run() { # run STATUS ARGS…
	want=$1
	shift
	status=0
	"$nestbox" "$@" >"$tmp/out" 2>"$tmp/err" || status=$?
	[ "$status" -eq "$want" ] || die "$*: exit status $status, not $want"
}
die() {
	echo "enable.sh: $*"
	cat "$tmp/out" "$tmp/err"
	exit 1
}
says() { grep -qF -- "$2" "$tmp/$1" || die "$1 does not say '$2'"; }
silent() { [ ! -s "$tmp/$1" ] || die "something is on std$1"; }
nothing_written() { [ ! -e "$tmp/t/$own" ] || die "$own was written"; }

# a dry run shows the file as a diff and the module's way, and changes nothing
tree nested-off
rm -r "$tmp/t/etc"
run 0 enable --dry-run --root "$tmp/t"
cat >"$tmp/want" <<'END'
--- /dev/null
+++ /etc/modprobe.d/nestbox-nested.conf
@@ -0,0 +1,2 @@
+# Written by nestbox enable and nestbox disable, which change this file and no other.
+options kvm_intel nested=1
now: modprobe -r kvm_intel
now: modprobe kvm_intel nested=1
END
diff "$tmp/want" "$tmp/out" || die "the dry run"
silent err
nothing_written

# written, again, and back; then the check says so
run 0 enable --root "$tmp/t"
says out 'options kvm_intel nested=1'
grep -qx 'options kvm_intel nested=1' "$tmp/t/$own" || die "its line"
run 0 enable --root "$tmp/t"
says out 'says so already'
run 0 disable --root "$tmp/t" --dry-run
says out '-options kvm_intel nested=1'
says out '+options kvm_intel nested=0'
says out 'now: kvm_intel is loaded with nested=N already'
run 0 disable --root "$tmp/t"
grep -qx 'options kvm_intel nested=0' "$tmp/t/$own" || die "its line"
[ "$(ls -A "$tmp/t/etc/modprobe.d")" = nestbox-nested.conf ] || die "a file is left"
run 1 check --root "$tmp/t" --verbose
says out "/$own:2 says nested=0"

# a file of that name which is not ours, a folder, a link out of the root
tree nested-off
echo 'options kvm_intel nested=1 # mine' >"$tmp/t/$own"
run 1 enable --root "$tmp/t"
says err "is not nestbox's"
grep -q mine "$tmp/t/$own" || die "it was overwritten"
rm "$tmp/t/$own"
ln -s "$tmp/elsewhere" "$tmp/t/$own"
run 1 enable --root "$tmp/t"
says err 'is not a plain file'
[ ! -e "$tmp/elsewhere" ] || die "a link was followed"
rm -r "$tmp/t/etc"
mkdir "$tmp/outside"
ln -s "$tmp/outside" "$tmp/t/etc"
run 1 enable --root "$tmp/t"
[ -z "$(ls "$tmp/outside")" ] || die "a link was followed"

# another file that comes later and says the opposite, and the command line: told, exit 1; one that comes earlier is beaten
tree nested-off
run 1 disable --root "$tmp/t"
says err '/etc/modprobe.d/qemu-system-x86.conf:1 says nested=1 and is read after'
tree nested-off
run 1 disable --root "$tmp/t" --dry-run
says err 'qemu-system-x86.conf:1'
tree nested-off
mv "$tmp/t/etc/modprobe.d/qemu-system-x86.conf" "$tmp/t/etc/modprobe.d/kvm.conf"
run 0 disable --root "$tmp/t"
tree nested-by-command-line
run 1 enable --root "$tmp/t"
says err 'the kernel command line says kvm_intel.nested=0'

# built in: where the command line is kept
tree built-in
run 1 enable --root "$tmp/t"
says err 'add kvm_intel.nested=1 to the kernel command line'
nothing_written
mkdir -p "$tmp/t/etc/default" "$tmp/t/usr/sbin" "$tmp/t/etc/kernel"
touch "$tmp/t/etc/kernel/cmdline"
run 1 enable --root "$tmp/t" --dry-run
says err 'systemd-boot'
touch "$tmp/t/etc/default/grub" "$tmp/t/usr/sbin/update-grub"
run 1 enable --root "$tmp/t" --dry-run
says err 'run sudo update-grub'
touch "$tmp/t/usr/sbin/grubby"
run 1 enable --root "$tmp/t" --dry-run
says err 'grubby --update-kernel=ALL --args=kvm_intel.nested=1'

# in use; an install line; a blacklist; an initramfs
tree held
run 1 disable --root "$tmp/t" --dry-run --now-only
says err 'in use by qemu-system-x86 (4242), crosvm (77)'
tree blacklisted
run 1 enable --root "$tmp/t" --dry-run
says err '/etc/modprobe.d/no.conf:2 has an install line'
says err 'blacklists kvm_intel'
tree nested-off
mkdir "$tmp/t/boot"
touch "$tmp/t/boot/initrd.img-6.12.101"
run 0 enable --root "$tmp/t"
says err 'sudo update-initramfs -u'

# nothing to enable; s390x's hpage; ppc64; arm64
tree no-vmx-l1
run 1 enable --dry-run --root "$tmp/t"
tree s390x-hpage
mkdir -p "$tmp/t/etc/modprobe.d"
echo 'options kvm hpage=1' >"$tmp/t/etc/modprobe.d/kvm.conf"
run 1 enable --root "$tmp/t"
says err 'hpage excludes nested'
nothing_written
echo 7.1.6 >"$tmp/t/proc/sys/kernel/osrelease"
rm "$tmp/t/proc/version"
run 0 enable --root "$tmp/t"
grep -qx 'options kvm nested=1' "$tmp/t/$own" || die "its line"
tree s390x-hpage
run 0 enable --root "$tmp/t" --dry-run
says err 'hpage is on now'
tree ppc64
run 0 disable --root "$tmp/t" --dry-run --now-only
says out 'echo 0 > /sys/module/kvm_hv/parameters/nested'
tree arm64-off
run 1 enable --root "$tmp/t"
says err 'kvm-arm.mode=nested'

# wrong uses
run 2 enable --now-only --persist-only
run 2 enable --frobnicate
run 2 disable word
run 2 enable --root "$tmp/absent"
run 2 check --root "$tmp/absent"
run 2 check --root "$tmp/t" --peer nonsense
for bad in cpuid msr facts; do
	tree metal-intel
	echo 'what is this' >"$tmp/t/$bad"
	run 3 check --root "$tmp/t"
	says err "/$bad, line 1"
done
run 3 check --root "$tmp/t/.." --record "$tmp/out/x"
if [ "$(id -u)" -eq 0 ] && command -v setpriv >/dev/null; then
	cp "$nestbox" "$tmp/nestbox"
	chmod 755 "$tmp" "$tmp/nestbox"
	# nothing to enable here, or no right to
	status=0
	setpriv --reuid 65534 --regid 65534 --clear-groups "$tmp/nestbox" enable >"$tmp/out" 2>"$tmp/err" || status=$?
	[ "$status" -eq 1 ] || [ "$status" -eq 3 ] || die "exit status $status as nobody"
	[ "$(wc -l <"$tmp/err")" -eq 1 ] || die "not one sentence"
fi
echo good
