#!/usr/bin/env bash
# Makes the Debian userland that tests and the demo run: minbase and python3 from the
# system's own package sources and keys, about 30 s, kept in .cache/debian as
#
#   rootfs.tar   the userland, without anything of this machine (no host name, machine
#                id, resolver, package lists or sources)
#   layout       the same as an OCI layout, with the Python agent on top
#
# It is made once; remove .cache/debian to make it again. Exits with 3, and says why,
# where it cannot be made here.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
dir=.cache/debian images=.cache/testbin/images agent=testdata/agents/pyagent/agent.py

cannot() {
	printf 'debian image: %s; tests that need it skip\n' "$*" >&2
	exit 3
}

mkdir -p "$dir"
exec 9>"$dir/lock"
flock 9

if ! [ -e "$dir/rootfs.tar" ]; then
	command -v mmdebstrap >/dev/null || cannot "mmdebstrap is missing (apt-get install mmdebstrap)"
	command -v apt-get >/dev/null || cannot "this system has no apt"
	# What apt itself would use, keys included: a mirror or a proxy set up for the
	# machine works here too, and its name is written nowhere.
	sources() {
		apt-get indextargets --format '$(CREATED_BY)|$(ORIGIN)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)' |
			awk -F '|' '$1 == "Packages" && ($2 == "Debian" || $2 == "Ubuntu") {print "deb " $3 " " $4 " " $5}' | sort -u
	}
	list=$(sources)
	if [ -z "$list" ] && [ "$(id -u)" = 0 ]; then
		apt-get update >/dev/null 2>&1 || cannot "apt-get update fails"
		list=$(sources)
	fi
	[ -n "$list" ] || cannot "apt has no package lists (apt-get update)"
	suite=$(. /etc/os-release && echo "$VERSION_CODENAME")

	echo "debian image: mmdebstrap $suite (minbase, python3), once" >&2
	start=$SECONDS
	if ! env -u SOURCE_DATE_EPOCH mmdebstrap --variant=minbase --include=python3 --format=tar --skip=output/dev \
		--aptopt='Acquire::Languages "none"' \
		--dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
		--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
		--customize-hook='echo "# none" >"$1/etc/apt/sources.list"; rm -rf "$1"/etc/apt/sources.list.d/* "$1"/etc/apt/apt.conf.d/99mmdebstrap' \
		--customize-hook='echo debian >"$1/etc/hostname"; : >"$1/etc/resolv.conf"; : >"$1/etc/machine-id"' \
		--customize-hook='rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/* "$1"/var/cache/debconf/*-old "$1"/var/log/* "$1"/tmp/* "$1"/run/*' \
		--customize-hook='rm -f "$1"/etc/dpkg/dpkg.cfg.d/99mmdebstrap "$1"/var/cache/ldconfig/aux-cache "$1"/etc/apt/apt.conf.d/*proxy*' \
		"$suite" "$dir/rootfs.new" - <<<"$list" 2>"$dir/log"; then
		tail -n 20 "$dir/log" >&2
		cannot "mmdebstrap fails (whole log: $dir/log)"
	fi
	# No word of where the packages came from may stay behind.
	for host in $(sed -E 's#^deb [a-z+]*://([^/]*).*#\1#' <<<"$list" | sort -u); do
		found=$(tar --to-stdout -xf "$dir/rootfs.new" --wildcards './etc/*' './var/lib/apt/*' './var/log/*' './root/*' 2>/dev/null | grep -acF "$host" || true)
		[ "$found" = 0 ] || cannot "the userland still names its package source ($found lines)"
	done
	mv "$dir/rootfs.new" "$dir/rootfs.tar"
	printf 'debian image: %d MB in %d s\n' "$(($(stat -c %s "$dir/rootfs.tar") / 1000000))" "$((SECONDS - start))" >&2
fi

key=$(cat "$dir/rootfs.tar" "$agent" "$images" | sha256sum)
if [ "$key" != "$(cat "$dir/key" 2>/dev/null)" ]; then
	rm -f "$dir/key"
	# No entrypoint, so that any program of the userland can be named on the command line.
	"$images" build -out "$dir/layout.new" -base "$dir/rootfs.tar" -add "$agent=/agent/agent.py:755" \
		-cmd python3 -cmd /agent/agent.py \
		-env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin -env LANG=C.UTF-8 \
		-label org.opencontainers.image.title=pyagent >/dev/null
	rm -rf "$dir/layout"
	mv "$dir/layout.new" "$dir/layout"
	echo "$key" >"$dir/key"
fi
