#!/usr/bin/env bash
# test.sh PROGRAM [FLAG...]: every test in the tree, with go test's FLAGs; what
# go test -json says goes to PROGRAM (testsum), which prints and counts it.
#
# Packages whose tests act on the host (boxes, mounts, cgroups, sweeps of what was left
# behind) say ZTLAUNCH_E2E in their tests. They come last and one at a time, so that one
# package never sees another's boxes as its own leavings; all the rest run in parallel.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
sum=$1
shift

folders() { xargs -r -n 1 dirname | sed 's|^\./||; s|^|./|' | sort -u; }
# Folders that ./... leaves out, but for the fixtures of single packages.
extra=$(find testdata .ci -name '*.go' | folders)
host=$(grep -rlE --include='*_test.go' --exclude-dir=.cache --exclude-dir=.git 'ZTLAUNCH_E2E|runctest' . | folders)
rest=$({ go list -f '{{.Dir}}' ./... | sed "s|^$PWD|.|"; printf '%s\n' "$extra"; } | sort -u | grep -vxF "$host")

# Words are split on purpose: no folder here has a space in its name.
# shellcheck disable=SC2086
{
	status=0
	go test -json -timeout 15m "$@" $rest || status=$?
	go test -json -timeout 15m -p 1 "$@" $host || status=$?
	exit $status
} | "$sum"
