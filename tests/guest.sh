# Sourced: the initramfs of a small Linux guest, as a folder first.
#   needs TOOL…              skips the test where one is missing
#   guest_new ROOT           busybox and its applets, places to mount on; its init comes on stdin and is run when all is mounted
#   guest_bin ROOT FILE…     programs of any place, into /bin, with the libraries that they are linked to
#   guest_add ROOT FILE…     the same at their own places, which are absolute; libraries too
#   guest_modules ROOT TREE MODULE…
#                            kernel modules and what they depend on; /load-MODULE inserts them in order
#   guest_pack ROOT FILE
# An init may use $complaints (a pattern for dmesg) and the words NAME=VALUE of the command line as $NAME.
needs() {
	for tool; do
		command -v "$tool" >/dev/null || { echo "$(basename "$0"): skipped: no $tool"; exit 77; }
	done
}

guest_new() {
	mkdir -p "$1/bin" "$1/proc" "$1/sys" "$1/dev" "$1/tmp" "$1/lib"
	cp "$(command -v busybox)" "$1/bin/busybox"
	{
		cat <<-'INIT'
		#!/bin/busybox sh
		/bin/busybox --install -s /bin
		export PATH=/bin:/usr/bin HOME=/tmp
		mount -t proc proc /proc
		mount -t sysfs sys /sys
		mount -t devtmpfs dev /dev
		mount -t tmpfs tmp /tmp
		case $(cat /proc/cpuinfo) in *svm*) vendor=amd ;; *) vendor=intel ;; esac
		for word in $(cat /proc/cmdline); do
			case $word in *[!a-z_]*=*) ;; *=*) eval "${word%%=*}=\${word#*=}" ;; esac
		done
		complaints='WARNING:|BUG:|unchecked MSR|stall|lockup|blocked for more|hung'
		INIT
		cat
		echo poweroff -f
	} >"$1/init"
	chmod +x "$1/init"
}

guest_bin() {
	to=$1
	shift
	for file; do
		cp "$file" "$to/bin/"
		libraries "$to" "$file"
	done
}

guest_add() {
	to=$1
	shift
	for file; do
		mkdir -p "$to/$(dirname "$file")"
		cp -L "$file" "$to/$file"
		libraries "$to" "$file"
	done
}

libraries() { # libraries ROOT FILE
	ldd "$2" 2>/dev/null | awk '{ for (i = 1; i <= NF; i++) if ($i ~ /^\//) print $i }' | while read -r library; do
		mkdir -p "$1/$(dirname "$library")"
		[ -e "$1/$library" ] || cp -L "$library" "$1/$library"
	done
}

guest_modules() {
	to=$1
	from=$(echo "$2"/lib/modules/*)
	shift 2
	for module; do
		# modules.dep names what a module depends on behind it, the first to be inserted last.
		sed -n "s,^\([^:]*/$module\.ko\): *,\1 ,p" "$from/modules.dep" | tr ' ' '\n' | sed '/^$/d' | tac | while read -r file; do
			[ -e "$to/lib/${file##*/}" ] || cp "$from/$file" "$to/lib/"
			echo "[ -d /sys/module/$(basename "$file" .ko | tr - _) ] || insmod /lib/${file##*/}$([ "${file##*/}" = "$module.ko" ] && echo ' "$@"')"
		done >"$to/load-$module"
	done
}

guest_pack() { (cd "$1" && find . | cpio -o -H newc --quiet -R 0:0) >"$2"; }
