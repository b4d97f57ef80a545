#!/bin/sh
# Files that are not what they are given for: each is refused in one sentence, with exit code 2 or 3, at once. Usage: malformed.sh NESTBOX FETCH-KERNEL
set -eu
nestbox=$(realpath "$1")
kernel=$(ls "$($2)"/boot/vmlinuz-* | head -n 1)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
n=0

refused() { # refused ARGS…
	status=0
	timeout 20 "$nestbox" run --accel soft --memory 128M "$@" </dev/null >out 2>err || status=$?
	n=$((n + 1))
	case $status in 2 | 3) ;; *) status=bad ;; esac
	if [ "$status" = bad ] || [ "$(wc -l <err)" -ne 1 ] || ! grep -q '^nestbox run: .\{15\}' err; then
		echo "run $*: not refused with one sentence:"
		head -c 2000 err
		exit 1
	fi
}
starts() { # starts ARGS…: the same file without what spoils it
	status=0
	timeout 20 "$nestbox" run --accel soft --memory 128M --no-reboot --timeout 1 "$@" </dev/null >out 2>err || status=$?
	case $status in
	2 | 3)
		echo "run $*: refused:"
		cat err
		exit 1
		;;
	esac
}
put() { # put FILE OFFSET BYTES: as printf has them
	printf "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
elf() { # elf FILE CLASS: an ELF file with one program header, which the caller spoils
	head -c 4096 /dev/zero >"$1"
	if [ "$2" -eq 2 ]; then # entry 0x100000, headers at 64, machine 62
		put "$1" 0 '\177ELF\2\1\1'
		put "$1" 16 '\2\0\076\0\1\0\0\0\0\0\020\0\0\0\0\0\100'
		put "$1" 52 '\100\0\070\0\1\0'
		put "$1" 64 '\1\0\0\0\7\0\0\0\0\2\0\0\0\0\0\0\0\0\020\0\0\0\0\0\0\0\020\0\0\0\0\0\0\1\0\0\0\0\0\0\0\1'
	else
		put "$1" 0 '\177ELF\1\1\1'
		put "$1" 16 '\2\0\3\0\1\0\0\0\0\0\020\0\064\0\0\0'
		put "$1" 40 '\064\0\040\0\1\0'
		put "$1" 52 '\1\0\0\0\0\2\0\0\0\0\020\0\0\0\020\0\0\1\0\0\0\1\0\0'
	fi
}

# Nothing that is no file, for any option that takes one.
: >empty
: >secret && chmod 0 secret
mkfifo fifo
mkdir folder
truncate -s 5G huge
: >good-initrd && truncate -s 1M good-disk
for f in absent folder fifo /dev/null /dev/zero; do
	refused --kernel "$f"
	refused --bios "$f"
	refused --kernel "$kernel" --initrd "$f"
	refused --kernel "$kernel" --initrd good-initrd --symbols "$f"
	refused --kernel "$kernel" --initrd good-initrd --disk "$f"
done
for f in empty huge; do
	refused --kernel "$f" --initrd good-initrd
	refused --bios "$f"
	refused --kernel "$kernel" --initrd good-initrd --symbols "$f"
done
refused --kernel "$kernel" --initrd huge
refused --kernel "$kernel" --initrd good-initrd --disk empty
if [ "$(id -u)" -ne 0 ]; then
	refused --kernel secret
	refused --kernel "$kernel" --initrd good-initrd --disk secret
fi

# bzImage: cut off, zeroed, with fields that promise too much.
for size in 1 511 616 1024 4096 100000; do
	head -c "$size" "$kernel" >k
	refused --kernel k --initrd good-initrd
	refused --kernel k
done
for spoil in '510 \0\0' '514 XXXX' '518 \1\2' '529 \0' '500 \377\377\377\377' '497 \377' '513 \0' '566 \0\0'; do
	cp "$kernel" k
	put k "${spoil% *}" "${spoil#* }"
	refused --kernel k --initrd good-initrd
done
head -c 65536 /dev/zero >k # all zero
refused --kernel k --initrd good-initrd
truncate -s 200M big-initrd # larger than the memory
refused --kernel "$kernel" --initrd big-initrd

# ELF of both sizes: cut off, headers outside, segments outside, larger than memory, another machine's.
for class in 1 2; do
	[ "$class" -eq 2 ] && at='32 64 96' || at='28 52 68'
	elf k "$class" && starts --kernel k
	set -- $at # where the offset of the program headers, the first of them, and its size in the file are
	elf k "$class"
	head -c 40 k >short && refused --kernel short
	elf k "$class" && put k "$1" '\377\377\377\177' && refused --kernel k
	elf k "$class" && put k "$3" '\377\377\377\177' && refused --kernel k
	elf k "$class" && put k "$2" '\2' && refused --kernel k
	elf k "$class" && put k 18 '\050' && refused --kernel k
	elf k "$class" && put k 4 '\7' && refused --kernel k
	elf k "$class" && put k $((class == 2 ? 56 : 44)) '\377\377' && refused --kernel k
	elf k "$class" && put k $((class == 2 ? 104 : 72)) '\0\0\0\100' && refused --kernel k
done

# Multiboot: load addresses that make no sense, a video mode.
multiboot() { # multiboot FLAGS CHECKSUM ADDRESSES
	head -c 4096 /dev/zero >k
	put k 64 "\\002\\260\\255\\033$1$2$3"
}
multiboot '\0\0\1\0' '\376\117\121\344' '\100\0\020\0\0\0\020\0\0\0\0\0\0\0\0\0\0\0\020\0' && starts --kernel k
multiboot '\4\0\0\0' '\372\117\122\344' '' && refused --kernel k
multiboot '\0\0\1\0' '\376\117\121\344' '\100\0\020\0\0\0\360\177\0\0\0\0\0\0\0\0\0\0\020\0' && refused --kernel k
multiboot '\0\0\1\0' '\376\117\121\344' '\100\0\020\0\0\0\020\0\0\0\377\177\0\0\0\0\0\0\020\0' && refused --kernel k

# Firmware of sizes that no firmware has.
for size in 1000 65535 65537 20000000; do
	truncate -s "$size" firmware-$size
	refused --bios firmware-$size
done
echo "$n files refused"
