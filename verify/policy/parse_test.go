package policy

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/ztlaunch/ztlaunch/verify/form"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

const (
	ids    = "identities: {release: {key: keys/release.pub}}\n"
	image  = "images: [{match: registry.example/a, require: [{signature: {by: [release]}}]}]\n"
	github = "https://token.actions.githubusercontent.com"
)

// demanded is a policy with one demand.
func demanded(d string) string {
	return ids + "images: [{match: registry.example/a, require: [" + d + "]}]\n"
}

// floored is a policy with one floor.
func floored(f string) string {
	return ids + "images: [{match: registry.example/a, minimum: " + f + ", require: [{signature: {by: [release]}}]}]\n"
}

// keyless is a policy with one keyless identity.
func keyless(fields string) string {
	return "identities: {release: {keyless: {" + fields + "}}}\n" + image
}

// certified is a policy with one identity of a private authority.
func certified(fields string) string {
	return "identities: {release: {certificate: {" + fields + "}}}\n" + image
}

// TestParse reads good and bad policies; the name of a bad case ends in what is
// wrong about it, and the code's name begins with "policy-" or "yaml-".
func TestParse(t *testing.T) {
	const full = "issuer: " + github + ", repository: acme/agent, workflow: .github/workflows/release.yml, ref: refs/tags/v*"
	for _, c := range []struct {
		name, doc string
		want      reason.Code
		line      string
	}{
		{"ok-key", ids + image, "", ""},
		{"ok-key-inline", "identities: {release: {key: \"${release}\\n\"}}\n" + image, "", ""},
		{"ok-key-block", "identities:\n  release:\n" + keyBlock(cast()["release"].public, "    ") + image, "", ""},
		{"ok-key-window", "identities: {release: {key: keys/release.pub, from: 2026-01-01, until: 2027-01-01}}\n" + image, "", ""},
		{"ok-keyless", keyless(full + ", trigger: push, runner: github-hosted"), "", ""},
		{"ok-keyless-url", keyless("issuer: https://gitlab.example, repository: https://gitlab.example/a/b, workflow: /.gitlab-ci.yml, ref: refs/heads/main"), "", ""},
		{"ok-keyless-signer", keyless(full + ", signer: https://github.com/acme/ci/.github/workflows/sign.yml@refs/tags/v*"), "", ""},
		{"ok-keyless-signer-commit", keyless(full + ", signer: https://github.com/acme/ci/.github/workflows/sign.yml@0123456789abcdef0123456789abcdef01234567"), "", ""},
		{"ok-keyless-san", keyless("issuer: https://accounts.example, san: dev@acme.example"), "", ""},
		{"ok-keyless-san-pattern", keyless("issuer: https://a, san: \"*@acme.example\""), "", ""},
		{"ok-keyless-kind", keyless("issuer: https://a, kind: other, san: a@b"), "", ""},
		{"ok-keyless-patterns", keyless("issuer: " + github + ", repository: acme/*, workflow: .github/workflows/*.yml, ref: refs/tags/v*, trigger: \"p*\", runner: github-*"), "", ""},
		{"ok-logs", demanded("{signature: {by: [release], logs: 2}}"), "", ""},
		{"ok-version", "version: 1\n" + ids + image, "", ""},
		{"ok-empty-lists", ids + image + "models: []\nservers: []\ndeny: []\n", "", ""},
		{"ok-box", ids + image + "box: {integrity: loop, egress: [], exec: {mounts: [work, /out]}, devices: [/dev/kvm], privateAddresses: [10.0.0.7, 10.1.0.0/16, \"fd00::1\"], caps: [CHOWN], limits: {memory: 1GiB, cpus: 0.5, pids: 10, time: 90m}}\n", "", ""},

		{"empty", "", reason.FormSyntax, "1"},
		{"list", "[]", reason.FormValue, "1"},
		{"unknown-top", ids + image + "imagse: []\n", reason.FormUnknownKey, "3"},
		{"unknown-rule", ids + "images:\n  - match: registry.example/a\n    requires: []\n", reason.FormUnknownKey, "4"},
		{"unknown-demand", demanded("{signatures: {by: [release]}}"), reason.FormUnknownKey, "2"},
		{"unknown-in-demand", demanded("{signature: {by: [release], treshold: 1}}"), reason.FormUnknownKey, "2"},
		{"unknown-identity-field", keyless(full + ", sanRegex: x"), reason.FormUnknownKey, "1"},
		{"unknown-box", ids + image + "box: {network: host}\n", reason.FormUnknownKey, "3"},
		{"version-2", "version: 2\n" + ids + image, reason.FormValue, "1"},
		{"duplicate", ids + image + "images: []\n", reason.FormDuplicateKey, "3"},
		{"duplicate-identity", "identities:\n  a: {key: keys/release.pub}\n  a: {key: keys/other.pub}\n", reason.FormDuplicateKey, "3"},
		{"anchor", "identities: &x {release: {key: keys/release.pub}}\n" + image, reason.FormUnsupported, "1"},

		{"key-unreadable", "identities: {release: {key: keys/none.pub}}\n" + image, reason.PolicyKeyUnreadable, "1"},
		{"key-malformed", "identities: {release: {key: keys/broken.pub}}\n" + image, reason.PolicyKeyMalformed, "1"},
		{"key-malformed-inline", "identities: {release: {key: \"-----BEGIN PUBLIC KEY-----\\nAAAA\\n-----END PUBLIC KEY-----\\n\"}}\n" + image, reason.PolicyKeyMalformed, "1"},
		{"key-private", "identities: {release: {key: \"-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\\nAAAA\\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\\n\"}}\n" + image, reason.PolicyKeyMalformed, "1"},
		{"key-and-keyless", "identities: {release: {key: keys/release.pub, keyless: {issuer: https://a, san: b}}}\n" + image, reason.FormMissingKey, "1"},
		{"key-neither", "identities: {release: {}}\n" + image, reason.FormMissingKey, "1"},
		{"key-window-reversed", "identities: {release: {key: keys/release.pub, from: 2027-01-01, until: 2026-01-01}}\n" + image, reason.FormValue, "1"},
		{"keyless-window", "identities: {release: {keyless: {issuer: https://a, san: b}, until: 2026-01-01}}\n" + image, reason.FormUnknownKey, "1"},
		{"ok-certificate", certified("authority: keys/ca.pem, san: \"*@acme.example\""), "", ""},
		{"ok-certificate-kind", certified("authority: keys/ca.pem, kind: other, san: robot"), "", ""},
		{"authority-unreadable", certified("authority: keys/none.pem, san: a@b"), reason.PolicyAuthority, "1"},
		{"authority-malformed", certified("authority: keys/broken.pem, san: a@b"), reason.PolicyAuthority, "1"},
		{"authority-key", certified("authority: keys/release.pub, san: a@b"), reason.PolicyAuthority, "1"},
		{"authority-missing", certified("san: a@b"), reason.FormMissingKey, "1"},
		{"certificate-no-san", certified("authority: keys/ca.pem"), reason.FormMissingKey, "1"},
		{"certificate-issuer", certified("authority: keys/ca.pem, san: a@b, issuer: https://a"), reason.FormUnknownKey, "1"},
		{"certificate-window", "identities: {release: {certificate: {authority: keys/ca.pem, san: a@b}, until: 2026-01-01}}\n" + image, reason.FormUnknownKey, "1"},
		{"certificate-and-key", "identities: {release: {key: keys/release.pub, certificate: {authority: keys/ca.pem, san: a@b}}}\n" + image, reason.FormMissingKey, "1"},
		{"identity-name", "identities: {\"a b\": {key: keys/release.pub}}\n", reason.FormValue, "1"},

		{"keyless-no-issuer", keyless("san: dev@acme.example"), reason.FormMissingKey, "1"},
		{"keyless-issuer-only", keyless("issuer: " + github), reason.FormMissingKey, "1"},
		{"keyless-no-ref", keyless("issuer: " + github + ", repository: acme/agent, workflow: x.yml"), reason.FormMissingKey, "1"},
		{"keyless-no-workflow", keyless("issuer: " + github + ", repository: acme/agent, ref: refs/tags/v1"), reason.FormMissingKey, "1"},
		{"keyless-no-repository", keyless("issuer: " + github + ", workflow: x.yml, ref: refs/tags/v1"), reason.FormMissingKey, "1"},
		{"pattern-issuer-http", keyless("issuer: http://a, san: b"), reason.PolicyPattern, "1"},
		{"pattern-issuer-star", keyless("issuer: \"https://*\", san: b"), reason.PolicyPattern, "1"},
		{"pattern-san-star", keyless("issuer: https://a, san: \"*@acme.*\""), reason.PolicyPattern, "1"},
		{"pattern-workflow-empty", keyless("issuer: https://gitlab.example, repository: https://gitlab.example/a/b, workflow: '', ref: refs/tags/v1"), reason.PolicyPattern, "1"},
		{"pattern-ref-empty", keyless("issuer: " + githubIssuer + ", repository: a/b, workflow: .github/workflows/x.yml, ref: ''"), reason.PolicyPattern, "1"},
		{"pattern-repository-star", keyless("issuer: " + github + ", repository: \"*/agent\", workflow: .github/workflows/x.yml, ref: refs/tags/v1"), reason.PolicyPattern, "1"},
		{"pattern-repository-short", keyless("issuer: https://gitlab.example, repository: a/b, workflow: .github/workflows/x.yml, ref: refs/tags/v1"), reason.PolicyPattern, "1"},
		{"pattern-repository-deep", keyless("issuer: " + github + ", repository: a/b/c, workflow: .github/workflows/x.yml, ref: refs/tags/v1"), reason.PolicyPattern, "1"},
		{"pattern-repository-slash", keyless("issuer: " + github + ", repository: https://github.com/a/b/, workflow: .github/workflows/x.yml, ref: refs/tags/v1"), reason.PolicyPattern, "1"},
		{"keyless-kind-dns", keyless("issuer: https://a, kind: dns, san: a.b"), reason.FormValue, "1"},
		{"keyless-kind-alone", keyless(full + ", kind: uri"), reason.FormUnknownKey, "1"},
		{"pattern-kind-uri", keyless("issuer: https://a, kind: uri, san: a@b"), reason.PolicyPattern, "1"},
		{"pattern-workflow-elsewhere", keyless("issuer: " + github + ", repository: a/b, workflow: x.yml, ref: refs/tags/v1"), reason.PolicyPattern, "1"},
		{"pattern-workflow-star", keyless("issuer: " + github + ", repository: a/b, workflow: \"*.yml\", ref: refs/tags/v1"), reason.PolicyPattern, "1"},
		{"pattern-ref-open", keyless("issuer: " + github + ", repository: a/b, workflow: .github/workflows/x.yml, ref: \"*\""), reason.PolicyPattern, "1"},
		{"pattern-ref-refs", keyless("issuer: " + github + ", repository: a/b, workflow: .github/workflows/x.yml, ref: \"refs/*/v1\""), reason.PolicyPattern, "1"},
		{"pattern-ref-pull", keyless("issuer: " + github + ", repository: a/b, workflow: .github/workflows/x.yml, ref: refs/pull/1/merge"), reason.PolicyPattern, "1"},
		{"pattern-ref-short", keyless("issuer: " + github + ", repository: a/b, workflow: .github/workflows/x.yml, ref: main"), reason.PolicyPattern, "1"},
		{"pattern-ref-double-star", keyless("issuer: " + github + ", repository: a/b, workflow: .github/workflows/x.yml, ref: refs/heads/**"), reason.PolicyPattern, "1"},
		{"pattern-ref-regexp", keyless("issuer: " + github + ", repository: a/b, workflow: .github/workflows/x.yml, ref: \"refs/tags/v[0-9]\""), reason.PolicyPattern, "1"},
		{"pattern-signer-star", keyless(full + ", signer: \"https://github.com/acme/*/x.yml@refs/tags/v1\""), reason.PolicyPattern, "1"},
		{"pattern-signer-no-ref", keyless(full + ", signer: https://github.com/acme/ci/x.yml"), reason.PolicyPattern, "1"},
		{"pattern-signer-two-at", keyless(full + ", signer: https://github.com/acme/ci/x.yml@y@refs/tags/v1"), reason.PolicyPattern, "1"},
		{"signer-with-san", keyless("issuer: https://a, san: b, signer: https://c@refs/tags/v1"), reason.FormUnknownKey, "1"},

		{"pattern-match-short", ids + "images: [{match: alpine, require: [{signature: {by: [release]}}]}]\n", reason.PolicyPattern, "2"},
		{"pattern-match-tag", ids + "images: [{match: registry.example/a:1, require: [{signature: {by: [release]}}]}]\n", reason.PolicyPattern, "2"},
		{"pattern-match-digest", ids + "images: [{match: registry.example/a@sha256:1, require: [{signature: {by: [release]}}]}]\n", reason.PolicyPattern, "2"},
		{"pattern-match-empty", ids + "images: [{match: \"\", require: [{signature: {by: [release]}}]}]\n", reason.PolicyPattern, "2"},
		{"pattern-match-regexp", ids + "images: [{match: \"registry.example/(a|b)\", require: [{signature: {by: [release]}}]}]\n", reason.PolicyPattern, "2"},
		{"pattern-match-negation", ids + "images: [{match: \"!registry.example/a\", require: [{signature: {by: [release]}}]}]\n", reason.PolicyPattern, "2"},
		{"pattern-match-double-star", ids + "images: [{match: \"registry.example/a**\", require: [{signature: {by: [release]}}]}]\n", reason.PolicyPattern, "2"},
		{"pattern-match-slash", ids + "images: [{match: registry.example//a, require: [{signature: {by: [release]}}]}]\n", reason.PolicyPattern, "2"},
		{"match-missing", ids + "images: [{require: [{signature: {by: [release]}}]}]\n", reason.FormMissingKey, "2"},

		{"rule-empty", ids + "images: [{match: registry.example/a, require: []}]\n", reason.PolicyRuleEmpty, "2"},
		{"rule-empty-by", demanded("{signature: {by: []}}"), reason.PolicyRuleEmpty, "2"},
		{"rule-pin-alone", ids + "servers: [{match: mcp/a, require: [{pin: {by: [release]}}]}]\n", reason.PolicyRuleEmpty, "2"},
		{"demand-empty", demanded("{}"), reason.FormMissingKey, "2"},
		{"demand-two", demanded("{signature: {by: [release]}, pin: {by: [release]}}"), reason.FormUnknownKey, "2"},
		{"demand-two-kinds", demanded("{signature: {by: [release]}, sbom: {by: [release], covers: all}}"), reason.FormValue, "2"},
		{"demand-no-by", demanded("{signature: {}}"), reason.FormMissingKey, "2"},
		{"unused", "identities: {release: {key: keys/release.pub}, spare: {key: keys/other.pub}}\n" + image, reason.PolicyUnused, "1"},
		{"unused-builder", ids + image + "builders: {ci: {id: https://ci.example, by: [release], level: 1}}\n", reason.PolicyUnused, "3"},
		{"identity-unknown", ids + "images: [{match: registry.example/a, require: [{signature: {by: [realease]}}]}]\n", reason.PolicyIdentityUnknown, "2"},
		{"identity-twice", demanded("{signature: {by: [release, release]}}"), reason.FormValue, "2"},
		{"threshold", demanded("{signature: {by: [release], threshold: 2}}"), reason.PolicyThreshold, "2"},
		{"threshold-same-key", "identities: {release: {key: keys/release.pub}, again: {key: keys/release-copy.pub}}\nimages: [{match: registry.example/a, require: [{signature: {by: [release, again], threshold: 2}}]}]\n", reason.PolicyThreshold, "2"},
		{"threshold-zero", demanded("{signature: {by: [release], threshold: 0}}"), reason.FormValue, "2"},
		{"threshold-negative", demanded("{signature: {by: [release], threshold: -1}}"), reason.FormValue, "2"},
		{"max-age-key", demanded("{signature: {by: [release], maxAge: 72h}}"), reason.FormValue, "2"},
		{"max-age-key-test", demanded("{attestation: {by: [release], type: " + predicateTestResult + ", maxAge: 72h}}"), reason.FormValue, "2"},
		{"ok-max-age-vsa", demanded("{attestation: {by: [release], type: " + predicateVSA + ", maxAge: 72h}}"), "", ""},
		{"ok-max-age-sbom", demanded("{sbom: {by: [release], covers: all, maxAge: 72h}}"), "", ""},
		{"max-age-bare", demanded("{signature: {by: [release], maxAge: 72}}"), reason.FormValue, "2"},

		{"provenance-no-builder", demanded("{provenance: {by: [release], source: github.com/a/b}}"), reason.FormMissingKey, "2"},
		{"pattern-builder", demanded("{provenance: {by: [release], builder: somebody}}"), reason.PolicyPattern, "2"},
		{"pattern-builder-star", demanded("{provenance: {by: [release], builder: \"https://*\"}}"), reason.PolicyPattern, "2"},
		{"pattern-source-star", demanded("{provenance: {by: [release], builder: github-hosted, source: \"github.com/a/*\"}}"), reason.PolicyPattern, "2"},
		{"level", demanded("{provenance: {by: [release], builder: https://ci.example, level: 2}}"), reason.PolicyLevel, "2"},
		{"level-four", demanded("{provenance: {by: [release], builder: github-hosted, level: 4}}"), reason.FormValue, "2"},
		{"builder-reserved", "builders: {github-hosted: {id: https://x, by: [release], level: 3}}\n" + ids + image, reason.FormValue, "1"},
		{"builder-incomplete", "builders: {ci: {id: https://x}}\n" + ids + image, reason.FormMissingKey, "1"},
		{"sbom-no-covers", demanded("{sbom: {by: [release]}}"), reason.FormMissingKey, "2"},
		{"sbom-covers", demanded("{sbom: {by: [release], covers: some}}"), reason.FormValue, "2"},
		{"sbom-exception-glob", demanded("{sbom: {by: [release], covers: all, exceptions: [{path: \"/etc/*\", digest: \"${other}\"}]}}"), reason.FormValue, "2"},
		{"sbom-exception-dots", demanded("{sbom: {by: [release], covers: all, exceptions: [{path: /a/../etc/x, digest: \"${other}\"}]}}"), reason.FormValue, "2"},
		{"sbom-exception-no-digest", demanded("{sbom: {by: [release], covers: all, exceptions: [{path: /etc/x}]}}"), reason.FormMissingKey, "2"},
		{"sbom-exception-sha512", demanded("{sbom: {by: [release], covers: all, exceptions: [{path: /etc/x, digest: \"sha512:00\"}]}}"), reason.FormValue, "2"},
		{"vulnerabilities-no-age", demanded("{vulnerabilities: {by: [release], deny: [critical]}}"), reason.FormMissingKey, "2"},
		{"vulnerabilities-deny-nothing", demanded("{vulnerabilities: {by: [release], maxAge: 72h, deny: []}}"), reason.PolicyRuleEmpty, "2"},
		{"vulnerabilities-severity", demanded("{vulnerabilities: {by: [release], maxAge: 72h, deny: [severe]}}"), reason.FormValue, "2"},
		{"ok-provenance-parameters", demanded("{provenance: {by: [release], builder: https://ci.example, ref: refs/tags/v*, parameters: {debug: false, n: 3, inputs: {a: [x, 1]}}}}"), "", ""},
		{"ok-provenance-parameter-names", demanded("{provenance: {by: [release], builder: https://ci.example, ref: refs/heads/main, parameters: [a, b]}}"), "", ""},
		{"pattern-provenance-ref-open", demanded("{provenance: {by: [release], builder: https://ci.example, ref: \"*\"}}"), reason.PolicyPattern, "2"},
		{"pattern-provenance-ref-pull", demanded("{provenance: {by: [release], builder: https://ci.example, ref: refs/pull/1/merge}}"), reason.PolicyPattern, "2"},
		{"provenance-parameters-text", demanded("{provenance: {by: [release], builder: https://ci.example, parameters: all}}"), reason.FormValue, "2"},
		{"provenance-parameters-decimal", demanded("{provenance: {by: [release], builder: https://ci.example, parameters: {a: 0.5}}}"), reason.FormValue, "2"},
		{"provenance-parameters-twice", demanded("{provenance: {by: [release], builder: https://ci.example, parameters: {a: x, a: y}}}"), reason.FormDuplicateKey, "2"},
		{"attestation-version", demanded("{attestation: {by: [release], type: https://slsa.dev/verification_summary/v0.2}}"), reason.PolicyAttestationType, "2"},
		{"attestation-version-test", demanded("{attestation: {by: [release], type: https://in-toto.io/attestation/test-result/v0.2}}"), reason.PolicyAttestationType, "2"},
		{"attestation-version-none", demanded("{attestation: {by: [release], type: https://in-toto.io/attestation/svr}}"), reason.PolicyAttestationType, "2"},
		{"ok-attestation-vsa", demanded("{attestation: {by: [release], type: https://slsa.dev/verification_summary/v1}}"), "", ""},
		{"ok-attestation-near", demanded("{attestation: {by: [release], type: https://in-toto.io/attestation/svrx/v9}}"), "", ""},
		{"expression-signer-typo", demanded("{attestation: {by: [release], type: https://x/y, cel: \"signer.isuer == 'https://a'\"}}"), reason.PolicyExpression, "2"},
		{"expression-signer-type", demanded("{attestation: {by: [release], type: https://x/y, cel: \"signer.issuer == 1\"}}"), reason.PolicyExpression, "2"},
		{"attestation-no-type", demanded("{attestation: {by: [release]}}"), reason.FormMissingKey, "2"},
		{"pattern-attestation-type", demanded("{attestation: {by: [release], type: \"https://in-toto.io/*\"}}"), reason.PolicyPattern, "2"},
		{"expression", demanded("{attestation: {by: [release], type: https://x/y, cel: \"predicate.result ==\"}}"), reason.PolicyExpression, "2"},
		{"expression-type", demanded("{attestation: {by: [release], type: https://x/y, cel: \"'PASS'\"}}"), reason.PolicyExpression, "2"},
		{"expression-unknown", demanded("{attestation: {by: [release], type: https://x/y, cel: \"readFile('x') == 'y'\"}}"), reason.PolicyExpression, "2"},
		{"pin-in-images", demanded("{signature: {by: [release]}}, {pin: {by: [release]}}"), reason.FormUnknownKey, "2"},
		{"formats-in-images", ids + "images: [{match: registry.example/a, formats: [gguf], require: [{signature: {by: [release]}}]}]\n", reason.FormUnknownKey, "2"},
		{"layouts-in-models", ids + "models: [{match: a, layouts: [legacy-tags], require: [{signature: {by: [release]}}]}]\n", reason.FormUnknownKey, "2"},
		{"layouts-empty", ids + "images: [{match: registry.example/a, layouts: [], require: [{signature: {by: [release]}}]}]\n", reason.FormValue, "2"},
		{"layouts-other", ids + "images: [{match: registry.example/a, layouts: [legacy], require: [{signature: {by: [release]}}]}]\n", reason.FormValue, "2"},
		{"formats-empty", ids + "models: [{match: a, formats: [], require: [{signature: {by: [release]}}]}]\n", reason.FormValue, "2"},
		{"digests-empty", ids + "images: [{match: registry.example/a, digests: [], require: [{signature: {by: [release]}}]}]\n", reason.FormValue, "2"},
		{"digests-md5", ids + "images: [{match: registry.example/a, digests: [\"md5:00000000000000000000000000000000\"], require: [{signature: {by: [release]}}]}]\n", reason.FormValue, "2"},
		{"digests-path", ids + "images: [{match: registry.example/a, digests: [\"sha256:../../etc\"], require: [{signature: {by: [release]}}]}]\n", reason.FormValue, "2"},
		{"ok-feed", ids + image + "denyFeed: {file: deny.json, by: [release]}\n", "", ""},
		{"ok-feed-first", "denyFeed: {file: /etc/deny.json, by: [release], maxAge: 7d}\n" + ids + image, "", ""},
		{"ok-feed-signer-alone", "identities: {release: {key: keys/release.pub}, warden: {key: keys/security.pub}}\n" + image + "denyFeed: {file: deny.json, by: [warden]}\n", "", ""},
		{"feed-no-file", ids + image + "denyFeed: {by: [release]}\n", reason.FormMissingKey, "3"},
		{"feed-empty-file", ids + image + "denyFeed: {file: \"\", by: [release]}\n", reason.FormValue, "3"},
		{"feed-no-by", ids + image + "denyFeed: {file: deny.json}\n", reason.FormMissingKey, "3"},
		{"feed-by-nobody", ids + image + "denyFeed: {file: deny.json, by: []}\n", reason.PolicyRuleEmpty, "3"},
		{"feed-by-unknown", ids + image + "denyFeed: {file: deny.json, by: [warden]}\n", reason.PolicyIdentityUnknown, "3"},
		{"feed-url", ids + image + "denyFeed: {file: \"https://registry.example/deny.json\", by: [release]}\n", reason.FormValue, "3"},
		{"feed-unknown-key", ids + image + "denyFeed: {file: deny.json, by: [release], maxage: 7d}\n", reason.FormUnknownKey, "3"},
		{"feed-list", ids + image + "denyFeed: [deny.json]\n", reason.FormValue, "3"},
		{"ok-minimum", floored("{version: 1.4.0-rc.1, epoch: 3}"), "", ""},
		{"ok-minimum-ref", floored("{version: v2.0.0, of: ref}"), "", ""},
		{"ok-minimum-server", ids + "servers: [{match: mcp/a, minimum: {version: 1.4.0}, require: [{signature: {by: [release]}}]}]\n", "", ""},
		{"minimum-model", ids + "models: [{match: a, minimum: {version: 1.4.0}, require: [{signature: {by: [release]}}]}]\n", reason.FormUnknownKey, "2"},
		{"minimum-empty", floored("{}"), reason.FormMissingKey, "2"},
		{"minimum-short", floored("{version: \"1.4\"}"), reason.FormValue, "2"},
		{"minimum-number", floored("{version: 1.4}"), reason.FormValue, "2"},
		{"minimum-zero", floored("{version: 1.04.0}"), reason.FormValue, "2"},
		{"minimum-of-alone", floored("{epoch: 3, of: ref}"), reason.FormUnknownKey, "2"},
		{"minimum-of", floored("{version: 1.4.0, of: annotation}"), reason.FormValue, "2"},
		{"minimum-of-nobody", ids + "images: [{match: registry.example/a, minimum: {version: 1.4.0, of: ref}, require: [{sbom: {by: [release], covers: all}}]}]\n", reason.FormMissingKey, "2"},
		{"minimum-epoch-zero", floored("{epoch: 0}"), reason.FormValue, "2"},
		{"minimum-age-above", demanded("{signature: {by: [release], minimumAge: 7d, maxAge: 7d}}"), reason.FormValue, "2"},
		{"minimum-age-bare", demanded("{signature: {by: [release], minimumAge: 7}}"), reason.FormValue, "2"},
		{"ok-minimum-age", demanded("{vulnerabilities: {by: [release], minimumAge: 7d, maxAge: 1d, deny: [critical]}}"), "", ""},
		{"deny-short", ids + image + "deny: [sha256:abc]\n", reason.FormValue, "3"},

		{"box-integrity", ids + image + "box: {integrity: none}\n", reason.FormValue, "3"},
		{"box-egress-no-port", ids + image + "box: {egress: [api.example.com]}\n", reason.FormValue, "3"},
		{"box-egress-star", ids + image + "box: {egress: [\"*.example.com:443\"]}\n", reason.FormValue, "3"},
		{"box-egress-case", ids + image + "box: {egress: [API.example.com:443]}\n", reason.FormValue, "3"},
		{"box-egress-url", ids + image + "box: {egress: [\"https://api.example.com:443\"]}\n", reason.FormValue, "3"},
		{"box-device", ids + image + "box: {devices: [kvm]}\n", reason.FormValue, "3"},
		{"box-device-dots", ids + image + "box: {devices: [/dev/../etc/passwd]}\n", reason.FormValue, "3"},
		{"box-caps-all", ids + image + "box: {caps: [ALL]}\n", reason.FormValue, "3"},
		{"box-caps-prefix", ids + image + "box: {caps: [CAP_CHOWN]}\n", reason.FormValue, "3"},
		{"box-private", ids + image + "box: {privateAddresses: [10.0.0.7/8]}\n", reason.FormValue, "3"},
		{"box-memory", ids + image + "box: {limits: {memory: 2g}}\n", reason.FormValue, "3"},
		{"box-pids", ids + image + "box: {limits: {pids: 0}}\n", reason.FormValue, "3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := Parse([]byte(expand(t, c.doc, nil)), "conf/policy.yaml", keyFile)
			agrees(t, c.name, expand(t, c.doc, nil), c.want)
			if strings.HasPrefix(c.name, "ok-") {
				if err != nil || p.Zero() || p.Digest() == "" {
					t.Fatalf("refused: %v", err)
				}
				return
			}
			e, ok := reason.Of(err)
			if !ok || e.Code != c.want || !p.Zero() {
				t.Fatalf("error = %v, want %s", err, c.want)
			}
			if !strings.HasPrefix(e.What, "read conf/policy.yaml:"+c.line+":") {
				t.Errorf("reported at %q, want line %s", e.What, c.line)
			}
			if e.Code.Class() != reason.Usage || strings.Contains(e.Error(), "\n") {
				t.Errorf("class %v, text %q", e.Code.Class(), e.Error())
			}
		})
	}
}

// TestKeyPaths: a key file is named relative to the policy's folder.
func TestKeyPaths(t *testing.T) {
	for _, c := range []struct{ policy, key, want string }{
		{"/etc/ztlaunch/policy.yaml", "keys/release.pub", "/etc/ztlaunch/keys/release.pub"},
		{"policy.yaml", "release.pub", "release.pub"},
		{"conf/policy.yaml", "../release.pub", "release.pub"},
		{"conf/policy.yaml", "/keys/release.pub", "/keys/release.pub"},
	} {
		got := ""
		_, err := Parse([]byte("identities: {release: {key: "+c.key+"}}\n"+image), c.policy, func(name string) ([]byte, error) {
			got = name
			return keyFile("release.pub")
		})
		if err != nil || got != c.want {
			t.Errorf("%s in %s: read %q, %v; want %q", c.key, c.policy, got, err, c.want)
		}
	}
	if _, err := Parse([]byte(ids+image), "p", nil); err == nil {
		t.Error("a key file was read without a reader")
	}
}

// TestDigest: the digest covers the file and the keys that it names.
func TestDigest(t *testing.T) {
	parse := func(doc string, key string) string {
		p, err := Parse([]byte(doc), "p", func(string) ([]byte, error) { return keyFile(key) })
		if err != nil {
			t.Fatal(err)
		}
		if string(p.Text()) != doc {
			t.Errorf("text %q", p.Text())
		}
		return p.Digest().String()
	}
	seen := map[string]string{}
	for name, d := range map[string]string{
		"base":    parse(ids+image, "release.pub"),
		"key":     parse(ids+image, "other.pub"),
		"comment": parse(ids+image+"# x\n", "release.pub"),
		"window":  parse("identities: {release: {key: keys/release.pub, until: 2026-01-01}}\n"+image, "release.pub"),
	} {
		if was, twice := seen[d]; twice {
			t.Errorf("%s and %s have one digest", was, name)
		}
		seen[d] = name
	}
	if parse(ids+image, "release.pub") != parse(ids+image, "release.pub") {
		t.Error("one policy has two digests")
	}
}

// TestBox: absent and empty lists differ, and what is handed out is a copy.
func TestBox(t *testing.T) {
	p, err := Parse([]byte(ids+image+"box: {egress: [], caps: [CHOWN], limits: {cpus: 2}}\n"), "p", keyFile)
	if err != nil {
		t.Fatal(err)
	}
	b := p.Box()
	if b.Egress == nil || b.Devices != nil || len(b.Caps) != 1 || b.Limits.CPUs != 2 || b.Limits.Memory != 0 {
		t.Errorf("box %+v", b)
	}
	b.Caps[0] = "SYS_ADMIN"
	if p.Box().Caps[0] != "CHOWN" {
		t.Error("a caller changed the policy's box")
	}
}

// TestPattern compares names with patterns.
func TestPattern(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"registry.example/agents/coder", "registry.example/agents/coder", true},
		{"registry.example/agents/coder", "registry.example/agents/coder2", false},
		{"registry.example/agents/coder", "registry.example/agents/code", false},
		{"registry.example/agents/coder", "registry.example/agents/Coder", false},
		{"registry.example/agents/coder", "evil.example/registry.example/agents/coder", false},
		{"registry.example/agents/*", "registry.example/agents/coder", true},
		{"registry.example/agents/*", "registry.example/agents/a/b", false},
		{"registry.example/agents/*", "registry.example/agents", false},
		{"registry.example/agents/co*r", "registry.example/agents/coder", true},
		{"registry.example/agents/co*r", "registry.example/agents/cor", true},
		{"registry.example/agents/co*r", "registry.example/agents/co/r", false},
		{"registry.example/*/coder", "registry.example/agents/coder", true},
		{"registry.example/*/coder", "registry.example/a/b/coder", false},
		{"registry.example/agents/**", "registry.example/agents/coder", true},
		{"registry.example/agents/**", "registry.example/agents/a/b/c", true},
		{"registry.example/agents/**", "registry.example/agents", false},
		{"registry.example/agents/**", "registry.example/agentsevil/coder", false},
		{"registry.example/**/coder", "registry.example/a/b/coder", true},
		{"registry.example/**/coder", "registry.example/coder", false},
		{"registry.example/**/coder", "registry.example/a/coder/b", false},
		{"**", "registry.example/a/b", true},
		{"**/**", "a/b/c", true},
		{"**/**", "a", false},
		{"models/**", "models/small", true},
		{"registry.example/**", "", false},
		{"**", "", false},
		{"", "a", false},
		{"registry.example/a.b", "registry.example/axb", false},
		{"*.example/a", "evil.example/a", true},
		{"registry.example:5000/a", "registry.example:5000/a", true},
		{"registry.example:5000/a", "registry.example/a", false},
		{"a*a*a*a*a*a*a*a*b", strings.Repeat("a", 200), false},
	} {
		if got := pattern(c.pattern).matches(c.name); got != c.want {
			t.Errorf("%q matches %q = %v", c.pattern, c.name, got)
		}
	}
}

// FuzzParse: any bytes end in a policy or one error of the class Usage, and a policy
// decides the same when its file is written as JSON. It is never written again: its
// digest is that of the file.
func FuzzParse(f *testing.F) {
	full, err := os.ReadFile("testdata/full.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(expand(f, string(full), nil)))
	f.Add([]byte(ids + image))
	f.Add([]byte(keyless("issuer: " + github + ", repository: a/*, workflow: .github/workflows/x.yml, ref: refs/tags/v*, unsafeRegex: {trigger: p.+}")))
	f.Add([]byte(certified("authority: keys/ca.pem, kind: dns, san: \"*.ci.acme.example\"")))
	s := loadScene(f, "testdata/evaluate/ok-full.txtar")
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := Parse(raw, "p", keyFile)
		if err != nil {
			if e, ok := reason.Of(err); !ok || e.Code.Class() != reason.Usage || !p.Zero() {
				t.Fatalf("error %v", err)
			}
			return
		}
		for _, k := range kinds {
			if section(k) == "" {
				t.Fatal(k)
			}
		}
		in := s.in
		in.Feed.policy = p.sum // whatever feed it names, it believes this one
		d := Evaluate(p, in)
		if d.Allowed() && len(d.Proved()) == 0 {
			t.Fatalf("allowed without a signer by:\n%s", raw)
		}
		again := form.Parse("p", raw).Root().JSON()
		if again == nil {
			return // a number that JSON has no way to write
		}
		back, err := Parse(again, "p", keyFile)
		if err != nil {
			t.Fatalf("%v in\n%s", err, again)
		}
		in.Feed.policy = back.sum
		if b := Evaluate(back, in); !slices.Equal(decided(b), decided(d)) {
			t.Fatalf("%v, and as JSON %v:\n%s", decided(d), decided(b), again)
		}
	})
}

// FuzzGlob: matching never runs away, and a pattern without stars is equality.
func FuzzGlob(f *testing.F) {
	f.Add("refs/tags/v*", "refs/tags/v1")
	f.Add("*a*b", "xxaxb")
	f.Fuzz(func(t *testing.T, p, s string) {
		if got := glob(p, s); !strings.Contains(p, "*") && got != (p == s) {
			t.Fatalf("%q against %q: %v", p, s, got)
		}
		if globName(p, s) && !glob(p, s) {
			t.Fatalf("%q against %q: a name is wider than a part", p, s)
		}
		if glob(p, s) && strings.Count(p, "/") != strings.Count(s, "/") {
			t.Fatalf("%q against %q crosses a slash", p, s)
		}
	})
}

// decided is every finding of a decision, short of what it says about the file.
func decided(d Decision) (out []string) {
	for _, f := range d.Findings() {
		out = append(out, fmt.Sprint(f.Rule, f.Code, f.Pass, f.Skipped))
	}
	return out
}
