#!/bin/sh
# `nestbox check --root` over recorded and written hosts. Usage: check.sh NESTBOX TREES
#
# A tree is a text: its head says what is expected, then files.
#   # words                  a comment
#   + NAME                   begins with that tree's files
#   nesting WORD EXIT        the verdict
#   depth LEAST MOST       of the level
#   NAME[.PART] SEVERITY     a finding that is not "ok": all of them must be listed, sorted
#   says TEXT                a line of the JSON holds this
#   peer VALUE               given as --peer; a tree's name stands for its folder
#   @ /path                  a file, until the next @ line;  @ /path/ a folder;  @ /path -> target;  - /path  takes one away
set -eu
nestbox=$1
trees=$2
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
failed=0

. "$(dirname "$0")/tree.sh"
flatten() { # the findings of the JSON that are not ok, as NAME[.PART] SEVERITY
	awk -F'"' '
		$2 == "name" { name = $4 }
		$2 == "part" { part = $4 ? "." $4 : "" }
		$2 == "severity" && $4 != "ok" { print name part, $4 }'
}
bad() {
	echo "$name: $*"
	failed=1
}

for f in "$trees"/*.tree; do
	name=$(basename "$f" .tree)
	head=$(sed '/^@/,$d' "$f")
	echo "$head" | grep -q '^nesting ' || continue # only a base
	unpack "$name" "$tmp/$name"
	peer=$(echo "$head" | sed -n 's/^peer //p')
	if [ -n "$peer" ] && [ -f "$trees/$peer.tree" ]; then
		unpack "$peer" "$tmp/$name.peer"
		peer=$tmp/$name.peer
	fi
	status=0
	"$nestbox" check --root "$tmp/$name" ${peer:+--peer "$peer"} --json >"$tmp/json" 2>"$tmp/err" || status=$?
	[ ! -s "$tmp/err" ] || bad "stderr: $(cat "$tmp/err")"
	set -- $(echo "$head" | sed -n 's/^nesting //p')
	grep -q "^ \"nesting\": \"$1\"" "$tmp/json" || bad "nesting is not $1: $(grep '^ "nesting"' "$tmp/json")"
	[ "$status" -eq "$2" ] || bad "exit status $status, not $2"
	set -- $(echo "$head" | sed -n 's/^depth //p')
	[ "$(sed -n 's/^  "least": \(.*\),/\1/p' "$tmp/json") $(sed -n 's/^  "most": \(.*\),/\1/p' "$tmp/json")" = "$*" ] || bad "level is not $*"
	flatten <"$tmp/json" | sort >"$tmp/got"
	echo "$head" | grep -v '^\(#\|+\|-\|nesting\|depth\|says\|peer\|$\)' | sort >"$tmp/want" || true
	diff "$tmp/want" "$tmp/got" >"$tmp/diff" || bad "findings: $(cat "$tmp/diff")"
	echo "$head" | sed -n 's/^says //p' | while read -r words; do
		grep -qF -- "$words" "$tmp/json" || echo "$name: does not say: $words"
	done >"$tmp/unsaid"
	[ ! -s "$tmp/unsaid" ] || bad "$(cat "$tmp/unsaid")"
	# as text: 80 columns but for commands, and what is recorded of a recorded host is that host
	"$nestbox" check --root "$tmp/$name" --verbose --record "$tmp/$name.again" >"$tmp/text" || [ $? -eq 1 ] || bad "no text"
	awk '!/^ +do / && length($0) > 80 { exit 1 }' "$tmp/text" || bad "a line is longer than 80 columns"
	"$nestbox" check --root "$tmp/$name.again" --verbose >"$tmp/text2" || [ $? -eq 1 ] || bad "its record cannot be read"
	diff "$tmp/text" "$tmp/text2" >"$tmp/diff" || bad "its record is judged otherwise: $(cat "$tmp/diff")"
	cat "$tmp/got" >>"$tmp/all"
done
# every question has a tree in which its answer is not plainly good
for check in $(sed -n 's/^CHECK(\([a-z]*\),.*/\1/p' "$trees/../../../cmd/check.def"); do
	grep -q "^$check[. ]" "$tmp/all" || { echo "no tree for $check"; failed=1; }
done
exit $failed
