#!/usr/bin/env bash
# The main job on an embedded default, then five attacks. It only calls what was
# built, prints each command before it runs it, and believes nothing but exit
# statuses and machine output. KEEP=1 keeps its folder.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

bin=${ZTLAUNCH_BIN:-$PWD/bin}
tests=$PWD/.cache/testbin
W=$(mktemp -d /tmp/ztlaunch-demo.XXXXXX)
chmod 755 "$W"
export PATH=$bin:$PATH COSIGN_PASSWORD=
cd "$W"

cleanup() {
	status=$?
	"$bin/ztlaunch" --root "$W/zt" store prune >/dev/null 2>&1 || true
	if [ "${KEEP:-}" = 1 ]; then echo "demo: kept $W"; else rm -rf "$W"; fi
	exit $status
}
trap cleanup EXIT

step() { printf '\n\033[1m%s\033[0m\n' "$*"; }
show() { printf '$ %s\n' "$*"; }
fail() { printf 'demo: FAILED: %s\n' "$*" >&2; exit 1; }

# do CMD...: print and run; it must succeed.
do_() { show "$@"; "$@" || fail "exit status $? from: $*"; }

# denied LETTER TEXT CODE CMD...: the command must exit 1 and name the code.
denied() {
	local letter=$1 text=$2 code=$3 status=0
	shift 3
	show "$@"
	"$@" >"$W/out.json" 2>"$W/err" || status=$?
	[ $status = 1 ] || { cat "$W/out.json" "$W/err" >&2; fail "($letter) exit status $status, want 1"; }
	grep -q "\"code\": *\"$code\"" "$W/out.json" || { cat "$W/out.json" >&2; fail "($letter) no code $code"; }
	printf '  (%s) %-44s refused: %s\n' "$letter" "$text" "$code"
}

# contained TEXT CMD...: the probe inside the box must run, and must not get through.
contained() {
	local text=$1 status=0
	shift
	show ztlaunch run --rm "$agent" "$@"
	z run --rm --result "$W/result.json" "$agent" "$@" >"$W/probe.json" 2>"$W/err" || status=$?
	grep -q '"started": *' "$W/result.json" || { cat "$W/err" >&2; fail "(e) the probe did not start"; }
	[ $status = 1 ] && grep -q "\"outcome\":\"refused\"" "$W/probe.json" || { cat "$W/probe.json" "$W/err" >&2; fail "(e) $text got through"; }
	printf '  (e) %-44s contained: %s\n' "$text" "$(sed -n 's/.*"errno":"\([^"]*\)".*/\1/p' "$W/probe.json")"
}

z() { ztlaunch --root "$W/zt" "$@"; }

step "1. Make a real agent image, a model and an MCP server"
images() { "$tests/images" "$@"; }
show images build -out agent -add goagent=/agent -entrypoint /agent
images build -out agent -add "$tests/goagent=/agent" -entrypoint /agent -workdir /work \
	-text '/etc/passwd=root:x:0:0:root:/root:/bin/false
' >/dev/null
show images build -out notes -add notes=/notes -entrypoint /notes
images build -out notes -add "$tests/notes=/notes" -entrypoint /notes -user 1000:1000 >/dev/null
do_ "$tests/images" model -out models/small
agent=oci-layout:./agent

step "2. Sign them, and say what is in them and where they came from"
do_ ztlaunch key generate --output-key-prefix release
do_ ztlaunch key generate --output-key-prefix stranger
cat >provenance.json <<'JSON'
{"buildDefinition": {"buildType": "https://registry.example/buildtypes/make/v1",
  "externalParameters": {"source": "git+https://registry.example/acme/agent@refs/tags/v1"},
  "resolvedDependencies": [{"uri": "git+https://registry.example/acme/agent@refs/tags/v1", "digest": {"gitCommit": "8f2b1c4d5e6f708192a3b4c5d6e7f8091a2b3c4d"}}]},
 "runDetails": {"builder": {"id": "https://registry.example/builders/demo"}}}
JSON
for image in agent notes; do
	do_ ztlaunch --root zt sign --key release.key oci-layout:./$image
	show "ztlaunch-sbom --format spdx-json oci-layout:./$image > $image.spdx.json"
	ztlaunch-sbom --format spdx-json oci-layout:./$image >$image.spdx.json || fail "no SBOM"
	do_ ztlaunch --root zt attest --key release.key --type spdxjson --predicate $image.spdx.json oci-layout:./$image
	do_ ztlaunch --root zt attest --key release.key --type slsaprovenance1 --predicate provenance.json oci-layout:./$image
done
do_ ztlaunch --root zt sign --key release.key model:./models/small

step "3. Say whom to believe"
cat >policy.yaml <<'YAML'
identities:
  release: {key: release.pub}
builders:
  demo: {id: https://registry.example/builders/demo, by: [release], level: 2}
images:
  - match: localhost/*
    require:
      - {signature: {by: [release]}}
      - {provenance: {by: [release], source: registry.example/acme/agent, builder: demo, level: 2, parameters: [source]}}
      - {sbom: {by: [release], covers: all}}
servers:
  - match: localhost/*
    require:
      - {signature: {by: [release]}}
      - {sbom: {by: [release], covers: all}}
models:
  - match: models/*
    require: [{signature: {by: [release]}}]
box: {limits: {memory: 512MiB, cpus: 1, pids: 64, time: 1m}}
YAML
cat policy.yaml
mkdir -p zt/config
cp policy.yaml release.pub zt/config/

step "4. Verify: the decision, without running"
show "ztlaunch verify --json $agent"
z verify --json "$agent" >verdict.json || { cat verdict.json; fail "the good image was denied"; }
grep -q '"result": *"allowed"' verdict.json || fail "the verdict does not say so"
echo "  admitted: $(sed -n 's/.*"digest": "\(sha256:[0-9a-f]*\)".*/\1/p' verdict.json | head -n 1)"

launchable() { z doctor --json | grep -q '"launch": *true'; }
if launchable; then
	step "5. Run it in its box, with the model and the server, on one task"
	mkdir -p task/work/in
	printf 'the quick brown fox\n' >task/work/in/a.txt
	printf 'jumps over\nthe lazy dog\n' >task/work/in/b.txt
	chown -R 1234:1234 task/work 2>/dev/null || true
	cp -r models task/
	cat >task/agent.yaml <<YAML
image: oci-layout:$W/agent
models: {main: models/small}
servers: {notes: "oci-layout:$W/notes"}
mounts: [{source: work, target: /work, class: work}]
limits: {time: 50s}
YAML
	cat task/agent.yaml
	show ztlaunch run --task task/agent.yaml
	z run --task task/agent.yaml --result result.json || { cat result.json; fail "the task ended with $?"; }
	[ -s task/work/out/report.json ] || fail "the task wrote no report"
	cat task/work/out/report.json
	echo
	[ "$(stat -c %u task/work/out/report.json)" = "$(stat -c %u task/work)" ] || fail "the report does not belong to the folder's owner"
fi

step "6. Attacks"
images build -out unsigned -add "$tests/goagent=/agent" -entrypoint /agent -workdir /work \
	-text '/etc/passwd=root:x:0:0:root:/root:/bin/false
' >/dev/null
cp -r unsigned foreign
denied a "the same image, unsigned" signature-absent ztlaunch --root zt verify --json oci-layout:./unsigned
cp -r agent flipped
images corrupt -blob "linux-$(uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/')/layer0" flipped >/dev/null
denied b "one byte of a layer changed" digest-mismatch-layer ztlaunch --root zt2 verify --policy policy.yaml --json oci-layout:./flipped
show ztlaunch sign --key stranger.key oci-layout:./foreign
z sign --key stranger.key oci-layout:./foreign 2>/dev/null
denied c "signed by somebody else" signature-unproved ztlaunch --root zt verify --json oci-layout:./foreign
images add -out extra -text /opt/implant.sh='#!/bin/sh' unsigned >/dev/null
z sign --key release.key oci-layout:./extra 2>/dev/null
z attest --key release.key --type spdxjson --predicate agent.spdx.json oci-layout:./extra 2>/dev/null
z attest --key release.key --type slsaprovenance1 --predicate provenance.json oci-layout:./extra 2>/dev/null
denied d "a file that the SBOM does not list" sbom-file-unlisted ztlaunch --root zt verify --json oci-layout:./extra

if ! launchable; then
	z doctor || true
	z doctor --json >doctor.json || true
	said() { sed -n "s/.*\"$1\": \"\(.*\)\".*/\1/p" doctor.json | tail -n 1; }
	echo
	echo "demo: verified only: $(said code)"
	echo "fix: $(said next)"
	exit 1
fi
contained "reaching for the network" probe net 192.0.2.1:443
contained "reaching for the host's files" probe file /etc/shadow
contained "writing to the verified root" probe write /agent
contained "a forbidden syscall (mount)" probe syscall mount
contained "a forbidden syscall (unshare)" probe syscall unshare-user
contained "running what it just wrote" probe drop /tmp
do_ ztlaunch --root zt audit verify

step "Next"
cat <<'NEXT'
  ztlaunch policy init --write REF                            # your image is signed
  ztlaunch adopt docker-archive:./agent.tar --as agent:dev      # you built it yourself
  ztlaunch run -i --rm -v ./repo:/work agent:dev              # and then run it
NEXT
