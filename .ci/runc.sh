#!/usr/bin/env bash
# runc.sh VERSION FILE: builds the static runc helper into FILE.
#
# runc is built from its own module, outside ours, so that go.mod needs no
# `replace` and the helper's dependencies are the ones its authors tested. It needs
# cgo and libseccomp's archive; without the seccomp tag runc refuses filters. The
# result depends only on what the key below names, is kept in .cache under it, and
# is the same to the byte when built twice: the launcher is pinned to its sha256.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
version=$1 file=$2

tags="seccomp netgo osusergo urfave_cli_no_docs runc_nocriu"
ldflags="-extldflags -static -s -w -buildid="
# Nothing of the caller's environment reaches the compiler but this.
env=(GOFLAGS= GOTOOLCHAIN=local CGO_ENABLED=1 CGO_CFLAGS= CGO_LDFLAGS= CGO_CPPFLAGS= GOWORK=off GO111MODULE=on)
key=$(printf '%s\n' "$version" "$tags" "$ldflags" "$(cd / && go env GOVERSION GOOS GOARCH GOAMD64 GOARM64)" \
	"$(gcc -dumpfullversion)" "$(pkg-config --modversion libseccomp)" "$(sha256sum <"$(gcc -print-file-name=libc.a)")" | sha256sum | cut -c1-16)
kept=.cache/runc/$key/ztlaunch-runc

if ! [ -x "$kept" ]; then
	echo "build runc $version (static, seccomp)" >&2
	work=$(mktemp -d)
	trap 'rm -rf "$work"' EXIT
	(cd "$work" && env "${env[@]}" GOBIN="$work" go install -trimpath -buildvcs=false -tags "$tags" \
		-ldflags "$ldflags" "github.com/opencontainers/runc@$version")
	mkdir -p "$(dirname "$kept")"
	install -m 755 "$work/runc" "$kept.new"
	features=$("$kept.new" features | tr -d ' \t\n')
	[[ $features == *'"seccomp":{"enabled":true'* ]] || { echo "runc $version: built without seccomp" >&2; exit 1; }
	mv "$kept.new" "$kept"
fi
mkdir -p "$(dirname "$file")"
cmp -s "$kept" "$file" || install -m 755 "$kept" "$file"
