#!/usr/bin/env bash
# fuzz.sh TIME: runs every Fuzz function in the tree for TIME, one after the other.
# It finds them by name, so that a new parser's target runs without being listed.
# New inputs are made smaller in at most 100 tries: a minute each, Go's default, would
# be most of the time. A target that fails leaves its input in the package's testdata/fuzz.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
time=$1 count=0 failed=()

while IFS=: read -r file line; do
	target=$(sed -E 's/^func (Fuzz[A-Za-z0-9_]*)\(.*/\1/' <<<"$line")
	package=./$(dirname "$file")
	count=$((count + 1))
	printf 'fuzz %s %s\n' "$package" "$target"
	go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 100x "$package" </dev/null || failed+=("$package $target")
done < <(git grep --untracked -E '^func Fuzz[A-Za-z0-9_]*\(' -- '*_test.go')

[ "$count" -gt 0 ] || { echo 'fuzz: no target found' >&2; exit 1; }
for target in "${failed[@]}"; do printf 'FAIL: fuzz %s\n' "$target"; done
printf 'fuzz: %d targets, %d failed\n' "$count" "${#failed[@]}"
[ ${#failed[@]} = 0 ]
