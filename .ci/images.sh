#!/usr/bin/env bash
# Builds what tests, the demo and the bench run:
#
#   .cache/testbin/{goagent,notes,images}   the programs
#   .cache/images/goagent    FROM scratch, entrypoint /agent
#   .cache/images/tools      FROM scratch, no entrypoint, /bin full of links to /agent
#   .cache/images/notes      FROM scratch, an MCP server on stdio
#   .cache/images/multi      an image index: tools for two platforms
#   .cache/images/model      a model folder
#   .cache/debian/layout     Debian with python3 and the Python agent
#
# All are OCI layouts with one tag, latest. Where the Debian image cannot be made it
# goes on without, unless ZTLAUNCH_E2E=require.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bin=.cache/testbin out=.cache/images images=$PWD/.cache/testbin/images

export CGO_ENABLED=0
static=(go build -trimpath -buildvcs=false -ldflags '-s -w -buildid=') # the images are the same wherever they are built
"${static[@]}" -o $bin/goagent ./testdata/agents/goagent
"${static[@]}" -o $bin/notes ./testdata/servers/notes
# An index needs a second platform; nothing ever runs it.
other=arm64
[ "$(go env GOARCH)" != arm64 ] || other=amd64
GOARCH=$other "${static[@]}" -o $bin/goagent-other ./testdata/agents/goagent

exec 8>.cache/images.lock
flock 8
key=$(cat $bin/images $bin/goagent $bin/goagent-other $bin/notes "${BASH_SOURCE[0]}" | sha256sum)
if [ "$key" != "$(cat $out/key 2>/dev/null)" ]; then
	rm -rf $out.new
	mkdir -p $out.new
	platform=linux/$(go env GOARCH)
	users=(
		-text '/etc/passwd=root:x:0:0:root:/root:/bin/false
agent:x:1000:1000:agent:/home/agent:/bin/false
' -text '/etc/group=root:x:0:
agent:x:1000:
'
	)
	links=()
	for tool in true false exit echo cat env args sleep stderr tty signals; do links+=(-link "/bin/$tool=/agent"); done

	"$images" build -out $out.new/goagent -platform "$platform" -add $bin/goagent=/agent "${users[@]}" -entrypoint /agent \
		-label org.opencontainers.image.title=goagent >/dev/null
	"$images" build -out $out.new/tools -platform "$platform" -add $bin/goagent=/agent "${links[@]}" "${users[@]}" \
		-env PATH=/bin -env FROM_IMAGE=yes -cmd args >/dev/null
	"$images" build -out $out.new/notes -platform "$platform" -add $bin/notes=/notes -entrypoint /notes -user 1000:1000 \
		-label org.opencontainers.image.title=notes >/dev/null
	"$images" build -out $out.new/other -platform "linux/$other" -add $bin/goagent-other=/agent "${links[@]}" "${users[@]}" \
		-env PATH=/bin -env FROM_IMAGE=yes -cmd args >/dev/null
	"$images" index -out $out.new/multi $out.new/tools $out.new/other >/dev/null
	rm -rf $out.new/other
	"$images" model -out $out.new/model
	echo "$key" >$out.new/key
	rm -rf $out
	mv $out.new $out
fi

if ! .ci/debian-image.sh; then
	[ "${ZTLAUNCH_E2E:-}" != require ] || { echo 'images: ZTLAUNCH_E2E=require, and no Debian image' >&2; exit 1; }
fi
