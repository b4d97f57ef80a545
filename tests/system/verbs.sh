#!/bin/sh
# Help, manual pages and completion say the same: they come from the options' tables. Usage: verbs.sh NESTBOX BUILD-DIR SOURCE-DIR
set -eu
nestbox=$(realpath "$1")
pages=$2
source=$3
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
die() {
	echo "verbs.sh: $*"
	exit 1
}

"$nestbox" >"$tmp/help"
[ "$(wc -l <"$tmp/help")" -le 24 ] || die "the help is longer than a screen"
awk 'length > 110 { exit 1 }' "$tmp/help" || die "the help has long lines"
"$nestbox" --version | grep -q '^nestbox [0-9]' || die "no version"
for word in nset rnu reprot; do
	status=0
	"$nestbox" $word 2>"$tmp/err" || status=$?
	[ $status -eq 2 ] && grep -q 'do you mean' "$tmp/err" || die "$word: $(cat "$tmp/err")"
done
"$nestbox" xyzzy 2>"$tmp/err" && die "xyzzy is a verb"
grep -q 'nestbox --help' "$tmp/err" || die "xyzzy: $(cat "$tmp/err")"

"$nestbox" --list-options >"$tmp/verbs"
[ -s "$tmp/verbs" ] || die "no verbs"
while read -r verb; do
	"$nestbox" "$verb" --help >"$tmp/help" || die "$verb --help fails"
	grep -q "nestbox $verb" "$tmp/help" || die "$verb --help does not name it"
	page=$pages/nestbox-$verb.1
	[ "$verb" != disable ] || page=$pages/nestbox-enable.1
	[ -s "$page" ] || die "nestbox-$verb.1 is not there"
	grep -q "^\.It Cm .*\b$verb\b" "$pages/nestbox.1" || die "nestbox.1 does not name $verb"
	"$nestbox" --list-options "$verb" | cut -f1 | sort >"$tmp/options"
	[ -s "$tmp/options" ] || die "$verb has no options"
	sed -n 's/^  \(--[a-z0-9-]*\).*/\1/p' "$tmp/help" | sort >"$tmp/shown"
	cmp -s "$tmp/options" "$tmp/shown" || die "$verb: --help and --list-options differ"
	sed -n 's/^\.It Fl -\([a-z0-9-]*\).*/--\1/p' "$page" | sort -u >"$tmp/paged"
	if [ "$verb" = enable ] || [ "$verb" = disable ]; then
		[ -z "$(comm -23 "$tmp/options" "$tmp/paged")" ] || die "$page lacks $(comm -23 "$tmp/options" "$tmp/paged")"
	else
		cmp -s "$tmp/options" "$tmp/paged" || die "$verb: its page and --help differ: $(diff "$tmp/options" "$tmp/paged")"
	fi
	# an option that is spoken of in the text is one of some verb
	sed -n '/^\.Fl -/s/^\.Fl -\([a-z0-9-]*\).*/--\1/p' "$page" | while read -r option; do
		while read -r v; do "$nestbox" --list-options "$v"; done <"$tmp/verbs" | cut -f1 | grep -qx -- "$option" ||
			die "$page speaks of $option, which no verb has"
	done
done <"$tmp/verbs"

command -v bash >/dev/null || exit 0
complete() { # complete WORDS…: what bash would offer for the last one
	PATH="$(dirname "$nestbox"):$PATH" bash -c '. "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _nestbox; echo "${COMPREPLY[*]}"' \
		"$source/completion/nestbox" "$@"
}
offers() { # offers WANT WORDS…
	want=$1
	shift
	got=$(complete "$@")
	[ "$got" = "$want" ] || die "completion of '$*' offers '$got', not '$want'"
}
offers "nest" nestbox ne
offers "--vendor" nestbox nest --ven
offers "intel" nestbox nest --vendor i
offers "EPYC-Rome" nestbox run --cpu EPYC-R
offers "--no-redact" nestbox report --no-r
offers "$source/README.md" nestbox run --kernel "$source/READ"
offers "" nestbox nest --depth ""
echo good
