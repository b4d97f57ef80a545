#!/bin/sh
# The Debian package: it builds, lintian finds no error, and what it installs runs the chain. Usage: package.sh SOURCE-DIR FETCH-KERNEL
set -eu
source=$1
kernel=$($2)
for tool in dpkg-buildpackage dh lintian; do
	command -v $tool >/dev/null || { echo "there is no $tool (packages dpkg-dev, debhelper, lintian)"; exit 77; }
done
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
DEB_BUILD_OPTIONS=nocheck "$source/tools/package" "$tmp/out"
lintian --fail-on error,warning --tag-display-limit 0 "$tmp"/out/nestbox_*.changes
dpkg-deb -x "$tmp"/out/nestbox_*.deb "$tmp/root"
for f in usr/bin/nestbox usr/share/man/man1/nestbox.1.gz usr/share/man/man1/nestbox-nest.1.gz usr/share/man/man1/nestbox-report.1.gz \
	usr/share/bash-completion/completions/nestbox usr/share/doc/nestbox/copyright usr/share/doc/nestbox/README.md; do
	[ -e "$tmp/root/$f" ] || [ -e "$tmp/root/$f.gz" ] || { echo "the package lacks $f"; exit 1; }
done
NESTBOX_KERNEL=$kernel "$tmp/root/usr/bin/nestbox" nest --accel soft --timeout 280 | tee "$tmp/nest"
grep -q '^nested KVM works' "$tmp/nest"
