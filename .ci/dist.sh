#!/usr/bin/env bash
# dist.sh VERSION RUNC: packs bin/ into dist/ztlaunch-VERSION-linux-ARCH.tar.gz beside a
# SHA256SUMS. The same programs give the same tarball to the byte: names sorted, one
# owner, one time (SOURCE_DATE_EPOCH), no time in the gzip header. Inside it lies as
# it is installed, with the licences of what is linked into the helper: its libseccomp
# is under the LGPL, so the text says how to build it against another.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
version=$1 runc=$2
if bin/ztlaunch version --json | grep -q onlyForm; then
	echo "dist: bin/ztlaunch is a test build" >&2
	exit 1
fi
name=ztlaunch-$version-linux-$(go env GOARCH)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

put() { install -D -m "$1" "$2" "$work/$name/$3"; }
put 755 bin/ztlaunch bin/ztlaunch
put 755 bin/ztlaunch-runc libexec/ztlaunch/ztlaunch-runc
put 755 bin/ztlaunch-keeper libexec/ztlaunch/ztlaunch-keeper
put 755 bin/ztlaunch-sbom libexec/ztlaunch/ztlaunch-sbom
put 644 LICENSE share/doc/ztlaunch/LICENSE
put 644 .github/CHANGELOG.md share/doc/ztlaunch/CHANGELOG.md
[ ! -e README.md ] || put 644 README.md share/doc/ztlaunch/README.md

source=$(cd / && go mod download -json "github.com/opencontainers/runc@$runc" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
put 644 "$source/LICENSE" share/doc/ztlaunch/ztlaunch-runc/LICENSE
put 644 "$source/NOTICE" share/doc/ztlaunch/ztlaunch-runc/NOTICE
cat >"$work/LINKED" <<TEXT
ztlaunch-runc is runc $runc (github.com/opencontainers/runc, Apache-2.0), unmodified, linked
statically with libseccomp $(pkg-config --modversion libseccomp) (LGPL-2.1) and the C library.
To link it with another libseccomp, install that one's static archive and run
.ci/runc.sh $runc FILE in this release's source, then make: ztlaunch is pinned to its sha256.
TEXT
put 644 "$work/LINKED" share/doc/ztlaunch/ztlaunch-runc/LINKED

mkdir -p dist
tar --directory "$work" --sort=name --owner=0 --group=0 --numeric-owner --mode=go-w --format=ustar \
	--mtime="@$SOURCE_DATE_EPOCH" -cf - "$name" | gzip -9n >"dist/$name.tar.gz"
(cd dist && sha256sum -- *.tar.gz >SHA256SUMS)
cat dist/SHA256SUMS
