#!/bin/sh
# `nestbox report`: what is in the archive, what must not be, and what is left behind when it cannot be written.
# Usage: report.sh NESTBOX FETCH-KERNEL CASE
set -eu
nestbox=$(realpath "$1")
fetch=$2
case=$3
tmp=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null || true; rm -rf "$tmp"' EXIT

die() {
	echo "report.sh: $case: $*"
	exit 1
}
unpack() { # unpack ARCHIVE: its one folder's name into $folder
	rm -rf "$tmp/x"
	mkdir "$tmp/x"
	tar xf "$1" -C "$tmp/x"
	folder=$tmp/x/$(ls "$tmp/x")
	[ -d "$folder" ] || die "the archive is not one folder"
}
has() { grep -Eq -- "$2" "$folder/$1" || die "$1 does not say '$2'"; }

# Values that must not survive; each is put somewhere below.
secrets='hunter2 geheim s3cr3t-token topsecret bob alice dbhost9 203.0.113.77 2001:db8::77 52:54:00:de:ad:01 WD-SERIAL-77 SYS-SERIAL-99
4c4c4544-0042-3510-8052-b4c04f4a3232 AAAAC3NzaC1lZDI1NTE5AAAAIKEY prod-guest 00000000000ABCDE LPARNAME7 b3BlbnNzaC1rZXktdjEAAAAA'
# Text that must.
ordinary='(debian-kernel@lists.debian.org)
BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable
pci 0000:00:1f.2: [8086:2922] type 00 class 0x010601
QEMU emulator version 7.2.22.1
Serial: 8250/16550 driver, 4 ports
-m 4096 -smp 4'

fixture() { # fixture DIR
	mkdir -p "$1/proc/sys/kernel" "$1/proc/77" "$1/etc" "$1/var/log/libvirt/qemu" "$1/sys/class/dmi/id" "$1/sys/module/kvm_amd/parameters"
	echo dbhost9 >"$1/proc/sys/kernel/hostname"
	echo dbhost9.corp.example >"$1/etc/hostname"
	echo 'Linux version 6.1.0-50-amd64 (debian-kernel@lists.debian.org) (gcc-12) #1 SMP' >"$1/proc/version"
	echo 'root=UUID=4c4c4544-0042-3510-8052-b4c04f4a3232 rd.iscsi.password=geheim ds=nocloud-net;s=http://alice:hunter2@203.0.113.77/' >"$1/proc/cmdline"
	printf 'processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC 7542 32-Core Processor\n' >"$1/proc/cpuinfo"
	printf '%s\0' /usr/bin/qemu-system-x86_64 -name guest=prod-guest -object secret,id=s0,data=hunter2 -m 4096 -smp 4 \
		-spice port=5900,password=geheim -netdev user,hostfwd=tcp:203.0.113.77:22-:22 -device e1000,mac=52:54:00:de:ad:01 \
		-drive file=/home/bob/a.img,serial=WD-SERIAL-77 -vnc '[2001:db8::77]:1' >"$1/proc/77/cmdline"
	cat >"$1/dmesg" <<-END
		[    0.000000] Linux version 6.1.0-50-amd64 (debian-kernel@lists.debian.org) (gcc-12) #1 SMP
		[    0.000000] BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable
		[    0.100000] pci 0000:00:1f.2: [8086:2922] type 00 class 0x010601
		[    0.200000] Serial: 8250/16550 driver, 4 ports, IRQ sharing enabled
		[    1.000000] systemd[1]: Hostname set to <dbhost9.corp.example>.
		[    1.200000] eth0: 52:54:00:de:ad:01 203.0.113.77 2001:db8::77, session opened for user alice(uid=1000), /home/alice
	END
	cat >"$1/var/log/libvirt/qemu/prod-guest.log" <<-END
		2026-11-22 10:00:00.000+0000: starting up libvirt version: 9.0.0, qemu version: 7.2.22, kernel: 6.1.0, hostname: dbhost9.corp.example
		QEMU emulator version 7.2.22.1
		LC_ALL=C USER=bob API_TOKEN=s3cr3t-token \\
		/usr/bin/qemu-system-x86_64 -name guest=prod-guest,debug-threads=on \\
		-object '{"qom-type":"secret","id":"k","format":"raw","data":"hunter2"}' \\
		-fw_cfg name=opt/x,string=topsecret -smbios type=1,serial=SYS-SERIAL-99 \\
		ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKEY alice@dbhost9
		-----BEGIN OPENSSH PRIVATE KEY-----
		b3BlbnNzaC1rZXktdjEAAAAA
		-----END OPENSSH PRIVATE KEY-----
	END
	echo SYS-SERIAL-99 >"$1/sys/class/dmi/id/product_serial"
	echo 4c4c4544-0042-3510-8052-b4c04f4a3232 >"$1/sys/class/dmi/id/product_uuid"
	echo 'Standard PC (i440FX + PIIX, 1996)' >"$1/sys/class/dmi/id/product_name"
	echo 1 >"$1/sys/module/kvm_amd/parameters/nested"
}

case $case in
redact)
	fixture "$tmp/root"
	"$nestbox" report --root "$tmp/root" -o "$tmp/a.tar.zst" >"$tmp/out"
	unpack "$tmp/a.tar.zst"
	for s in $secrets; do
		if grep -riF -- "$s" "$folder" >"$tmp/found"; then
			head -n 3 "$tmp/found"
			die "the secret $s is in the archive"
		fi
	done
	printf '%s\n' "$ordinary" | while read -r line; do
		grep -rqF -- "$line" "$folder" || die "'$line' did not survive"
	done
	has summary.md '^# nested'
	has summary.md 'kvm_amd nested=1'
	has summary.md 'AMD EPYC 7542'
	has redactions.txt '^IP4 .* 1 '
	has L0/dmidecode.txt 'product_name: Standard PC'
	# the same value, the same placeholder
	mac=$(grep -o 'MAC-[0-9]*' "$folder/L0/dmesg.txt")
	has L0/vmm-commands.txt "mac=$mac"
	"$nestbox" report --root "$tmp/root" -o "$tmp/b.tar.zst" --no-redact >"$tmp/out"
	unpack "$tmp/b.tar.zst"
	for s in $secrets; do
		case $s in 00000000000ABCDE | LPARNAME7) continue ;; esac # the other fixture's
		grep -rqF -- "$s" "$folder" || die "--no-redact: $s is not there: the test tests nothing"
	done
	[ ! -e "$folder/redactions.txt" ] || die "--no-redact, and a list of redactions"
	;;
s390x)
	mkdir -p "$tmp/root/proc"
	printf 'vendor_id       : IBM/S390\nprocessor 0: version = FF,  identification = 0ABCDE,  machine = 3906\n' >"$tmp/root/proc/cpuinfo"
	cat >"$tmp/root/proc/sysinfo" <<-END
		Manufacturer:         IBM
		Type:                 3906
		Sequence Code:        00000000000ABCDE
		LPAR Name:            LPARNAME7
		VM00 Control Program: KVM/Linux
	END
	"$nestbox" report --root "$tmp/root" -o "$tmp/a.tar.zst" >"$tmp/out"
	unpack "$tmp/a.tar.zst"
	has L0/sysinfo.txt '^Type:                 3906'
	has L0/sysinfo.txt '^VM00 Control Program: KVM/Linux'
	has summary.md 'L0/lszdev.txt \| lszdev is not run for a recorded host'
	[ ! -e "$folder/L0/dmidecode.txt" ] || die "dmidecode on s390x"
	if grep -rE '00000000000ABCDE|LPARNAME7|0ABCDE' "$folder"; then die "a serial number or a name is in the archive"; fi
	;;
live)
	cd "$tmp"
	"$nestbox" report --json >"$tmp/out"
	archive=$(ls nestbox-report-*.tar.zst)
	grep -q "\"archive\": \"$archive\"" "$tmp/out" || die "--json does not name the archive"
	unpack "$archive"
	has summary.md '^# nested'
	has summary.md 'L0  Linux'
	for f in kernel.txt cpuinfo.txt lscpu.txt cpuid.txt check.txt nestbox.txt capabilities.txt; do
		[ -s "$folder/L0/$f" ] || die "no $f"
	done
	has L0/cpuid.txt '^ *0x00000000 0x00: eax=0x'
	# what it wrote is what --root reads
	mkdir root
	cp "$folder/L0/cpuid.txt" root/cpuid
	"$nestbox" report --root root -o "$tmp/again.tar.zst" >/dev/null
	unpack "$tmp/again.tar.zst"
	[ -s "$folder/L0/cpuid.txt" ] || die "the dump is not read again"
	[ "$(stat -c %a "$tmp/$archive")" = 600 ] || die "others may read the archive"
	;;
errors)
	mkdir "$tmp/here" "$tmp/bin"
	cd "$tmp/here"
	refused() { # refused STATUS WORDS ARGS…
		want=$1
		words=$2
		shift 2
		status=0
		"$nestbox" report "$@" >"$tmp/out" 2>"$tmp/err" || status=$?
		[ "$status" -eq "$want" ] && [ "$(wc -l <"$tmp/err")" -eq 1 ] && grep -q "$words" "$tmp/err" ||
			die "report $*: status $status: $(cat "$tmp/err")"
		[ -z "$(ls -A)" ] || die "report $*: leaves $(ls -A)"
	}
	refused 2 'no option --nope' --nope
	refused 2 'no argument' word
	refused 2 'folder' --root "$tmp/absent"
	refused 3 'No space' -o /dev/full
	refused 3 'is a folder' -o "$tmp/here"
	refused 3 'No such file' -o "$tmp/absent/x"
	# a full file system
	if [ "$(id -u)" -eq 0 ] && mount -t tmpfs -o size=8k tmpfs "$tmp/here" 2>/dev/null; then
		status=0
		(cd "$tmp/here" && "$nestbox" report >"$tmp/out" 2>"$tmp/err") || status=$?
		left=$(ls -A "$tmp/here")
		umount "$tmp/here"
		[ "$status" -eq 3 ] && grep -q 'No space' "$tmp/err" && [ -z "$left" ] || die "full file system: status $status, leaves '$left'"
	fi
	# stdout closed or full: said, and the archive is whole all the same
	status=0
	"$nestbox" report -o "$tmp/c.tar.zst" >&- 2>"$tmp/err" || status=$?
	[ "$status" -eq 3 ] && grep -q stdout "$tmp/err" || die "closed stdout: status $status"
	tar tf "$tmp/c.tar.zst" >/dev/null || die "closed stdout: the archive is broken"
	# a program that never ends does not stop it; a signal does, and nothing is left
	printf '#!/bin/sh\necho start; exec sleep 70.%s\n' $$ >"$tmp/bin/x86info"
	chmod +x "$tmp/bin/x86info"
	for signal in INT TERM; do
		PATH="$tmp/bin:$PATH" setsid "$nestbox" report >"$tmp/out" 2>"$tmp/err" &
		pid=$!
		sleep 1.5
		kill -$signal "$pid"
		status=0
		wait "$pid" || status=$?
		pid=
		[ "$status" -eq 130 ] || [ "$status" -eq 143 ] || die "SIG$signal: status $status"
		[ -z "$(ls -A)" ] || die "SIG$signal: leaves $(ls -A)"
		if ps -e -o args= | grep -q "^sleep 70\.$$"; then die "SIG$signal: a process is left"; fi
	done
	;;
chain)
	kernel=$($fetch)
	export XDG_RUNTIME_DIR="$tmp/run"
	mkdir -m 700 "$tmp/run"
	: >"$tmp/err"
	NESTBOX_KERNEL=$kernel "$nestbox" nest --accel soft --keep >"$tmp/out" 2>"$tmp/err" &
	pid=$!
	for i in $(seq 200); do
		grep -q 'stays up' "$tmp/err" && break
		kill -0 $pid 2>/dev/null || die "the chain ended: $(cat "$tmp/out" "$tmp/err")"
		sleep 1
	done
	grep -q '^nested KVM works' "$tmp/out" || die "no verdict: $(cat "$tmp/out" "$tmp/err")"
	"$nestbox" report -o "$tmp/a.tar.zst" >"$tmp/report.out" 2>&1 || die "$(cat "$tmp/report.out")"
	grep -q 'chain' "$tmp/report.out" || die "it says nothing of the chain: $(cat "$tmp/report.out")"
	# and again: the chain goes on
	"$nestbox" report -o "$tmp/b.tar.zst" --json >"$tmp/report.out" || die "a second report failed"
	grep -q '"level": 2' "$tmp/report.out" || die "the second report lacks L2"
	kill -INT $pid
	status=0
	wait $pid || status=$?
	pid=
	[ $status -eq 0 ] || die "the chain ends with $status"
	[ -z "$(ls -A "$tmp/run/nestbox")" ] || die "the socket is left"
	unpack "$tmp/a.tar.zst"
	for level in 0 1 2; do
		for f in kernel.txt cmdline.txt cpuinfo.txt lscpu.txt dmesg.txt cpuid.txt capabilities.txt nestbox.txt check.txt; do
			[ -s "$folder/L$level/$f" ] && continue
			# An ordinary user may not read the host's log; then the summary says so.
			[ $level = 0 ] || die "no L$level/$f"
			has summary.md "^\\| L0/$f \\| "
		done
		has L$level/kernel.txt '^Linux'
	done
	has L1/kvm-parameters.txt '^/sys/module/kvm_amd/parameters/nested: 1$'
	has L1/kvm-counters.txt '^/sys/kernel/debug/kvm/exits: [1-9]'
	has L1/capabilities.txt 'bit  0  yes  .* nested paging'
	has L1/msr.txt '^0xc0010114 0x'
	has L1/dmesg.txt 'Linux version'
	has L2/cpuid.txt '0x40000000 0x00: eax=0x[0-9a-f]* ebx=0x4b4d564b' # "KVMK"
	has summary.md '└─ L2  Linux .* KVMKVMKVM'
	# without the chain there is nobody to ask
	"$nestbox" report -o "$tmp/c.tar.zst" | grep -q 'No nest' || die "a chain that is gone"
	;;
run) # a guest of nestbox run, its root ours
	export NESTBOX_KERNEL=$($fetch) XDG_RUNTIME_DIR="$tmp/run"
	mkdir -m 700 "$tmp/run"
	mkfifo "$tmp/in"
	"$nestbox" run --accel soft --append quiet <"$tmp/in" >"$tmp/out" 2>"$tmp/err" &
	pid=$!
	exec 3>"$tmp/in"
	for i in $(seq 100); do
		grep -q '# ' "$tmp/out" && break
		kill -0 $pid 2>/dev/null || die "the guest ended: $(cat "$tmp/err")"
		sleep 1
	done
	"$nestbox" report -o "$tmp/a.tar.zst" >"$tmp/report.out" || die "$(cat "$tmp/report.out")"
	grep -q 'A guest of nestbox run is up' "$tmp/report.out" || die "$(cat "$tmp/report.out")"
	echo 'echo still $((40 + 2)); exit' >&3
	status=0
	wait $pid || status=$?
	pid=
	[ $status -eq 0 ] && grep -q 'still 42' "$tmp/out" || die "the guest's shell: status $status: $(cat "$tmp/out" "$tmp/err")"
	unpack "$tmp/a.tar.zst"
	has L1/cpuinfo.txt 'model name'
	has L1/dmesg.txt 'Linux version'
	has summary.md '└─ L1  Linux .* NestboxVirt'
	[ -z "$(ls -A "$tmp/run/nestbox")" ] || die "the socket is left"
	;;
at-end) # nest --report: of a chain with VMX, and of one that breaks in L1
	export NESTBOX_KERNEL=$($fetch)
	"$nestbox" nest --accel soft --vendor intel --report "$tmp/a.tar.zst" >"$tmp/out" 2>"$tmp/err" || die "$(cat "$tmp/out" "$tmp/err")"
	unpack "$tmp/a.tar.zst"
	has summary.md 'A chain of nestbox nest ran: nested KVM works'
	has L1/kvm-parameters.txt '^/sys/module/kvm_intel/parameters/nested: Y$'
	has L1/kvm-counters.txt '^/sys/kernel/debug/kvm/exits: [1-9]'
	has L1/capabilities.txt 'bit  1  0 or 1    vmx-ept .*enable EPT'
	has L1/capabilities.txt '^IA32_FEATURE_CONTROL \(0x3a\): 0x0000000000000005'
	has L1/msr.txt '^0x00000480 0x'
	has L2/kernel.txt '^Linux'
	status=0
	"$nestbox" nest --accel soft --cpu EPYC,svm=off --report "$tmp/b.tar.zst" >"$tmp/out" 2>"$tmp/err" || status=$?
	[ $status -eq 1 ] || die "svm=off: status $status"
	unpack "$tmp/b.tar.zst"
	has summary.md 'the processor has no SVM'
	has L1/dmesg.txt 'Linux version'
	;;
*) echo "unknown case $case"; exit 2 ;;
esac
echo good
