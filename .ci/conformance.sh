#!/usr/bin/env bash
# conformance.sh SUM VECTORS: holds the verifier against test vectors that nobody here
# wrote, and says of each set how many of its cases end as they must. SUM is testsum;
# VECTORS is the folder that holds the sets. A set without cases fails.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
sum=$1 failed=0
export ZTLAUNCH_VECTORS=$2

# set_of NAME TEST PACKAGE... runs one set.
set_of() {
	local name=$1 test=$2 out passed bad
	shift 2
	if ! out=$(go test -json -count=1 -run "$test" "$@" | "$sum"); then
		failed=1
		printf '%s\n' "$out" >&2
	fi
	read -r passed bad < <(sed -nE 's/^([0-9]+) passed, ([0-9]+) failed$/\1 \2/p' <<<"$out" | tail -n 1) || passed=0 bad=0
	printf '%-24s %d of %d\n' "$name" "$passed" $((passed + bad))
	[ "$passed" -gt 0 ] || failed=1
}

set_of sigstore-bundle-verify '^TestSigstoreVectors$' ./verify/evidence
set_of model-signing '^(TestModelVectors|TestModelVector|TestVectors)$' ./verify/evidence ./verify/model ./verify/sign
set_of in-toto '^(TestInTotoVectors|TestInTotoKeys)$' ./verify/steps
exit "$failed"
