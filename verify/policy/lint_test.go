package policy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// TestLint finds each mistake where it stands, and none in what is near to it.
func TestLint(t *testing.T) {
	const (
		two      = "identities: {release: {key: keys/release.pub}, security: {key: keys/security.pub}}\n"
		flow     = "identities: {release: {keyless: {issuer: " + github + ", repository: acme/agent, workflow: .github/workflows/x.yml, ref: refs/tags/v*}}}\n"
		mail     = "identities: {release: {keyless: {issuer: https://accounts.example, san: dev@acme.example}}}\n"
		signed   = ", require: [{signature: {by: [release]}}]}]\n"
		built    = ", require: [{signature: {by: [release]}}, {provenance: {by: [release], source: github.com/acme/agent, builder: github-hosted}}]}]\n"
		anywhere = "images: [{match: \"**\""
	)
	for _, c := range []struct {
		name, doc string
		want      reason.Code
		at, next  string // part of it
	}{
		{"ok", ids + image, "", "", ""},
		{"ok-local", ids + "images: [{match: localhost/*" + signed, "", "", ""},
		{"ok-subdomain", ids + "images: [{match: \"*.registry.example/**\"" + signed, "", "", ""},
		{"ok-open-source", ids + anywhere + built, "", "", ""},
		{"ok-open-workflow", flow + anywhere + signed, "", "", ""},
		{"ok-open-digests", ids + "images: [{match: \"**\", digests: [\"${manifest}\"]" + signed, "", "", ""},
		{"open", ids + anywhere + signed, reason.PolicyOpen, "2:11", "match: REGISTRY/**"},
		{"open-mail", mail + anywhere + signed, reason.PolicyOpen, "2:11", ""},
		{"open-star", ids + "images: [{match: \"*/agents/coder\"" + signed, reason.PolicyOpen, "2:11", ""},
		{"open-suffix", ids + "images: [{match: \"registry.example*/agents/coder\"" + signed, reason.PolicyOpen, "2:11", ""},
		{"open-prefix", ids + "images: [{match: \"*registry.example/agents/coder\"" + signed, reason.PolicyOpen, "2:11", ""},
		{"open-top-domain", ids + "images: [{match: \"*.example/agents/coder\"" + signed, reason.PolicyOpen, "2:11", ""},
		{"open-model", ids + "models: [{match: \"**\"" + signed, reason.PolicyOpen, "2:11", "match: models/**"},
		{"open-server", ids + "servers: [{match: \"**\"" + signed, reason.PolicyOpen, "2:12", ""},
		{"open-no-source", ids + anywhere + ", require: [{provenance: {by: [release], builder: github-hosted}}]}]\n", reason.PolicyOpen, "2:11", ""},

		{"never-matches", ids + "images: [{match: registry.example/Agents/coder" + signed, reason.PolicyNeverMatches, "2:11", "match: registry.example/agents/coder"},
		{"never-matches-hub", ids + "images: [{match: docker.io/alpine" + signed, reason.PolicyNeverMatches, "2:11", "match: docker.io/library/alpine"},
		{"never-matches-hub-star", ids + "images: [{match: docker.io/*" + signed, reason.PolicyNeverMatches, "2:11", "match: docker.io/library/*"},
		{"never-matches-index", ids + "images: [{match: index.docker.io/acme/agent" + signed, reason.PolicyNeverMatches, "2:11", "match: docker.io/acme/agent"},
		{"never-matches-port", ids + "images: [{match: registry.example:99999/a" + signed, reason.PolicyNeverMatches, "2:11", "ztlaunch tree"},
		{"never-matches-dot", ids + "images: [{match: registry.example/.hidden" + signed, reason.PolicyNeverMatches, "2:11", ""},
		{"never-matches-model", ids + "models: [{match: \"models/a:b\"" + signed, reason.PolicyNeverMatches, "2:11", ""},
		{"ok-hub-deep", ids + "images: [{match: docker.io/**" + signed, "", "", ""},
		{"ok-hub-star", ids + "images: [{match: docker.io/*/alpine" + signed, "", "", ""},
		{"open-port", ids + "images: [{match: \"*:5000/a\"" + signed, reason.PolicyOpen, "2:11", ""},
		{"ok-port-star", ids + "images: [{match: \"registry.example:50*/a-*\"" + signed, "", "", ""},
		{"ok-model-case", ids + "models: [{match: models/Small" + signed, "", "", ""},
		{"ok-server-word", ids + "servers: [{match: mcp/files" + signed, "", "", ""},

		{"rule-twice", two + "images:\n  - {match: registry.example/a, require: [{signature: {by: [release]}}, {signature: {by: [security]}}]}\n" +
			"  - {match: registry.example/a, require: [{signature: {by: [release]}}]}\n", reason.PolicyRuleTwice, "4:5", "remove"},
		{"rule-twice-reversed", two + "images:\n  - {match: registry.example/a, require: [{signature: {by: [release]}}]}\n" +
			"  - {match: registry.example/a, require: [{signature: {by: [release]}}, {signature: {by: [security]}}]}\n", reason.PolicyRuleTwice, "4:5", "remove"},
		{"ok-rule-floor", ids + "images:\n  - {match: registry.example/a, require: [{signature: {by: [release]}}, {sbom: {by: [release], covers: all}}]}\n" +
			"  - {match: registry.example/a, minimum: {version: 1.4.0}, require: [{signature: {by: [release]}}]}\n", "", "", ""},
		{"rule-twice-floor", ids + "images:\n  - {match: registry.example/a, require: [{signature: {by: [release]}}]}\n" +
			"  - {match: registry.example/a, minimum: {version: 1.4.0}, require: [{signature: {by: [release]}}]}\n", reason.PolicyRuleTwice, "4:5", "remove"},
		{"rule-twice-legacy", ids + "images:\n  - {match: registry.example/a, layouts: [legacy-tags], require: [{signature: {by: [release]}}]}\n" +
			"  - {match: registry.example/a, require: [{signature: {by: [release]}}]}\n", reason.PolicyRuleTwice, "4:5", "remove"},
		{"ok-rule-legacy", two + "images:\n  - {match: registry.example/a, layouts: [legacy-tags], require: [{signature: {by: [release]}}, {signature: {by: [security]}}]}\n" +
			"  - {match: registry.example/a, require: [{signature: {by: [release]}}]}\n", "", "", ""},
		{"ok-rule-more", two + "images:\n  - {match: registry.example/a, require: [{signature: {by: [release]}}]}\n" +
			"  - {match: registry.example/a, require: [{signature: {by: [security]}}]}\n", "", "", ""},
		{"ok-rule-digests", ids + "images:\n  - {match: registry.example/a, digests: [\"${manifest}\"], require: [{signature: {by: [release]}}]}\n" +
			"  - {match: registry.example/a, digests: [\"${index}\"], require: [{signature: {by: [release]}}]}\n", "", "", ""},
		{"ok-rule-until", ids + "images:\n  - {match: registry.example/a, until: 2026-07-01, require: [{signature: {by: [release]}}]}\n" +
			"  - {match: registry.example/a, until: 2026-08-01, require: [{signature: {by: [release]}}]}\n", "", "", ""},
		{"never-matches-model-name", ids + "models: [{match: models/-small, require: [{signature: {by: [release]}}]}]\n", reason.PolicyNeverMatches, "2:11", "--as"},
		{"demand-twice", ids + "images:\n  - match: registry.example/a\n    require:\n      - {signature: {by: [release]}}\n      - {signature: {by: [release], threshold: 1}}\n", reason.PolicyDemandTwice, "6:10", "remove"},
		{"ok-demand-other", two + "images: [{match: registry.example/a, require: [{signature: {by: [release]}}, {signature: {by: [security]}}]}]\n", "", "", ""},
		{"identity-twice", "identities:\n  again: {key: keys/release-copy.pub}\n  release.key: {key: keys/release.pub}\n" +
			"images: [{match: registry.example/a, require: [{signature: {by: {any: [release.key, again]}}}]}]\n", reason.PolicyIdentityTwice, "3:3", "again"},
		{"identity-twice-keyless", "identities:\n  a: {keyless: {issuer: https://i.example, san: x@acme.example}}\n  b: {keyless: {issuer: https://i.example, san: x@acme.example}}\n" +
			"images: [{match: registry.example/a, require: [{signature: {by: {any: [a, b]}}}]}]\n", reason.PolicyIdentityTwice, "3:3", ""},
		{"until-past", ids + "images: [{match: registry.example/a, until: 2026-06-01" + signed, reason.PolicyUntilPast, "2:38", "until: 2026-07-01"},
		{"ok-until", ids + "images: [{match: registry.example/a, until: 2026-06-02" + signed, "", "", ""},
		{"level-above-builder", ids + "builders: {ci: {id: https://ci.example, by: [release], level: 2}}\nimages: [{match: registry.example/a, require: [{provenance: {by: [release], builder: ci, level: 3}}]}]\n",
			reason.PolicyLevel, "3:90", "level: 2"},
		{"ok-level", ids + "builders: {ci: {id: https://ci.example, by: [release], level: 2}}\nimages: [{match: registry.example/a, require: [{provenance: {by: [release], builder: ci, level: 2}}]}]\n", "", "", ""},
		{"denies-adopted", ids + "images: [{match: registry.example/a, digests: [\"${index}\", \"${manifest}\"]" + signed + "deny: [\"${manifest}\"]\n", reason.PolicyDeniesAdopted, "2:123", "deny:"},
		{"ok-deny", ids + "images: [{match: registry.example/a, digests: [\"${index}\"]" + signed + "deny: [\"${manifest}\"]\n", "", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := Parse([]byte(expand(t, c.doc, nil)), "policy.yaml", keyFile)
			if err != nil {
				t.Fatal(err)
			}
			found := Lint(p, now)
			if c.want == "" {
				if len(found) > 0 {
					t.Errorf("found %v", found)
				}
				return
			}
			if len(found) != 1 || found[0].Code != c.want {
				t.Fatalf("found %v, want %s alone", found, c.want)
			}
			e := found[0]
			if e.What != "check policy.yaml:"+c.at || !strings.Contains(e.Next, c.next) || e.Next == "" || e.Expected == "" || e.Found == "" || e.Code.Class() != reason.Usage {
				t.Errorf("%q, next %q; want %s, %q", e.What, e.Next, c.at, c.next)
			}
		})
	}
}

// TestLintFindsAll: one mistake does not hide another.
func TestLintFindsAll(t *testing.T) {
	doc := "identities:\n  a: {key: keys/release.pub}\n  b: {key: keys/release.pub}\nimages:\n" +
		"  - {match: \"**\", until: 2020-01-01, require: [{signature: {by: {any: [a, b]}}}, {signature: {by: {any: [a, b]}}}]}\n" +
		"  - {match: docker.io/alpine, require: [{signature: {by: [a]}}]}\n"
	p, err := Parse([]byte(doc), "policy.yaml", keyFile)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range Lint(p, now) {
		got = append(got, string(e.Code))
	}
	want := fmt.Sprint([]reason.Code{reason.PolicyIdentityTwice, reason.PolicyOpen, reason.PolicyUntilPast, reason.PolicyDemandTwice, reason.PolicyNeverMatches})
	if fmt.Sprint(got) != want {
		t.Errorf("found %v, want %v", got, want)
	}
}

// TestNeverMatches: a name that a pattern matches is never called impossible.
func TestNeverMatches(t *testing.T) {
	for _, pattern := range []pattern{"**", "*/a", "**/a", "a.b/**/c", "localhost/*", "*.b.c/x*y", "[::1]:5000/a"} {
		if pattern.fault(artifact.Image) == "" && !pattern.possible(artifact.Image) {
			t.Errorf("%q is called impossible", pattern)
		}
	}
}
