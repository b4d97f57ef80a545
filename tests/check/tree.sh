# Sourced: unpack NAME DIR makes the folder of a tree in $trees (check.sh says what a tree is).
unpack() { # unpack NAME DIR
	sed -n 's/^+ //p' "$trees/$1.tree" | while read -r base; do unpack "$base" "$2"; done
	awk -v dir="$2" '
		function parent(path) { sub(/\/[^\/]*$/, "", path); return path }
		function quoted(path) { return "'\''" path "'\''" }
		/^- \// { system("rm -rf " quoted(dir substr($0, 3))); next }
		/^@ / {
			if (file) close(file)
			path = substr($0, 3); target = ""; file = ""
			if ((at = index(path, " -> "))) { target = substr(path, at + 4); path = substr(path, 1, at - 1) }
			system("mkdir -p " quoted(parent(dir path)))
			if (target) system("ln -sfn " quoted(target) " " quoted(dir path))
			else if (path ~ /\/$/) system("mkdir -p " quoted(dir path))
			else { file = dir path; printf "" >file }
			next
		}
		file { print >file }' "$trees/$1.tree"
}
