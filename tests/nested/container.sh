#!/bin/sh
# The main job without root in a container-like namespace: an ordinary user, its own mounts and processes, no device nodes but null, zero,
# random, urandom and tty. Usage: container.sh NESTBOX FETCH-KERNEL
# Exits 77 (skipped) where such namespaces are not allowed.
set -eu
nestbox=$1
kernel=$($2)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT INT TERM
chmod 755 "$tmp"
cp "$nestbox" "$tmp/nestbox" # where another user may read it
cp -rL "$kernel" "$tmp/kernel"
chmod -R a+rX "$tmp"

cat >"$tmp/inside" <<'INSIDE'
set -eu
here=$1
mount -t tmpfs tmpfs "$here/dev"
for node in null zero random urandom tty; do
	: >"$here/dev/$node"
	mount --bind /dev/$node "$here/dev/$node"
done
mount --rbind "$here/dev" /dev
echo "devices: $(ls /dev | tr '\n' ' ')"
NESTBOX_KERNEL=$here/kernel HOME=/nonexistent "$here/nestbox" nest --timeout 280
INSIDE
mkdir "$tmp/dev"
user=
[ "$(id -u)" -ne 0 ] || user="setpriv --reuid=65534 --regid=65534 --clear-groups"
$user unshare --user --map-root-user --mount --pid --fork true 2>/dev/null || {
	echo "container.sh: skipped: this host does not let an ordinary user make namespaces"
	exit 77
}
$user unshare --user --map-root-user --mount --pid --fork --kill-child sh "$tmp/inside" "$tmp" >"$tmp/out" 2>&1 || {
	cat "$tmp/out"
	exit 1
}
cat "$tmp/out"
grep -q '^devices: null random tty urandom zero $' "$tmp/out" && grep -q '^nested KVM works' "$tmp/out" && grep -q '/dev/kvm: none' "$tmp/out"
