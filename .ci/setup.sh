#!/usr/bin/env bash
# Installs what a build (`setup.sh build`) or a test run (`setup.sh test`) needs
# and the machine lacks, and nothing else:
#
#   - system packages, through apt, as root; without root, or without apt, it says
#     which are missing and how to get them. Only what a build needs is fatal: a
#     test whose tool is missing skips, loudly.
#   - a Go toolchain, as the Go module golang.org/toolchain, where `go` is older
#     than go.mod's directive. It lands in .cache/gomod, .cache/go links to it, and
#     its checksum is held against the one below as well as against the checksum
#     database. Go before 1.21 cannot switch by itself, and 1.21 and later only do
#     so when GOTOOLCHAIN allows it: here both take the same road.
#
# Where everything is there already it changes nothing and takes about 50 ms.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
what=${1:-build}
# The system's own go is the question, not one that was fetched before.
PATH=${PATH//"$PWD/.cache/go/bin:"/}

toolchain=1.26.8
declare -A sums=(
	[amd64]="h1:ZOmGe1OnfREDMIdb1Qi4G9JSuDPBLGExZMQ4nis1RXM="
	[arm64]="h1:sYL/O6MqS68ML0kjsQ36WoYIpJqkw60TxizWUYUKQMc="
)

say() { printf 'setup: %s\n' "$*" >&2; }

# install REQUIRED PACKAGE...: through apt where we may, else says what is missing.
install() {
	local required=$1
	shift
	if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
		say "installing $*"
		apt() { DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -y "$@" >>.cache/apt.log 2>&1; }
		: >.cache/apt.log
		# A fresh machine has no package lists, or old ones.
		if apt install --no-install-recommends "$@" || { apt update && apt install --no-install-recommends "$@"; }; then
			return 0
		fi
		say "apt-get could not install $*:"
		tail -n 15 .cache/apt.log >&2
	elif command -v apt-get >/dev/null; then
		say "missing: $*; as root: apt-get install --no-install-recommends $*"
	else
		say "missing what Debian calls: $*; install them with this system's package manager"
	fi
	[ "$required" = optional ] && { say "going on without: tests that need them skip"; return; }
	exit 1
}

# Static linking wants archives, not only headers.
archive() { gcc -print-file-name="$1" 2>/dev/null | grep -q /; }

mkdir -p .cache
exec 9>.cache/setup.lock
flock 9

missing=()
command -v gcc >/dev/null || missing+=(gcc)
command -v pkg-config >/dev/null || missing+=(pkg-config)
archive libc.a || missing+=(libc6-dev)
{ pkg-config --exists libseccomp 2>/dev/null && archive libseccomp.a; } || missing+=(libseccomp-dev)
command -v go >/dev/null || [ -x .cache/go/bin/go ] || missing+=(golang-go)
[ -e /etc/ssl/certs/ca-certificates.crt ] || [ -e /etc/pki/tls/certs/ca-bundle.crt ] || missing+=(ca-certificates)
[ ${#missing[@]} = 0 ] || install required "${missing[@]}"

if [ "$what" = test ]; then
	missing=()
	command -v mmdebstrap >/dev/null || missing+=(mmdebstrap)
	command -v newuidmap >/dev/null || missing+=(uidmap)
	command -v fsck.erofs >/dev/null || missing+=(erofs-utils)
	[ ${#missing[@]} = 0 ] || install optional "${missing[@]}"
fi

# older A B: version A is older than version B.
older() { [ "$1" != "$2" ] && [ "$(printf '%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; }
# Asked outside the module: an old go refuses to read a newer go.mod.
version() { (cd / && GOTOOLCHAIN=local GOFLAGS= "$1" env GOVERSION | sed 's/^go//; s/[^0-9.].*//'); }

want=$(sed -n 's/^go //p' go.mod)
if command -v go >/dev/null && ! older "$(version go)" "$want"; then
	rm -f .cache/go
elif ! [ -x .cache/go/bin/go ] || older "$(version "$PWD/.cache/go/bin/go")" "$want"; then
	case $(uname -m) in
	x86_64) arch=amd64 ;;
	aarch64) arch=arm64 ;;
	*)
		say "go $(version go) is older than go.mod's $want, and no toolchain is pinned for $(uname -m): install Go $want or newer"
		exit 1
		;;
	esac
	module=golang.org/toolchain@v0.0.1-go$toolchain.linux-$arch
	say "go $(version go) is older than $want: fetching $module"
	cache=$PWD/.cache/gomod
	if ! answer=$(cd / && GOTOOLCHAIN=local GO111MODULE=on GOFLAGS=-modcacherw GOMODCACHE=$cache go mod download -json "$module"); then
		printf '%s\n' "$answer" >&2
		say "download $module: see above"
		exit 1
	fi
	field() { printf '%s\n' "$answer" | sed -n "s/^[[:space:]]*\"$1\": \"\(.*\)\",\{0,1\}$/\1/p"; }
	if [ "$(field Sum)" != "${sums[$arch]}" ]; then
		say "$module: checksum mismatch (expected ${sums[$arch]}, found $(field Sum))"
		exit 1
	fi
	dir=$(field Dir)
	# A module's zip file keeps no execute bits, and no go.mod but its own: a
	# toolchain's are there as _go.mod. Go 1.21 and later see to both themselves.
	find "$dir/bin" "$dir/pkg/tool" -type f -exec chmod +x {} +
	find "$dir" -name _go.mod -execdir mv _go.mod go.mod \;
	ln -sfn "$dir" .cache/go
fi
