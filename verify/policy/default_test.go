package policy

import (
	"strings"
	"testing"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// TestN43NoRuleDenies: a policy that says nothing about a name admits nothing by it,
// whatever was signed: no policy, an empty one, one without rules, one with rules for
// other names, kinds or digests. No rule can be written that demands nothing.
func TestN43NoRuleDenies(t *testing.T) {
	s := loadScene(t, "testdata/evaluate/ok-full.txtar")
	if !Evaluate(s.policy, s.in).Allowed() {
		t.Fatal("the claims are not enough for a policy that asks for them")
	}
	const signed = ", require: [{signature: {by: [release]}}]}]\n"
	for _, c := range []struct {
		name, doc string
		want      reason.Code
	}{
		{"version-alone", "version: 1\n", reason.PolicyNoMatch},
		{"no-lists", "{}\n", reason.PolicyNoMatch},
		{"empty-lists", "images: []\nmodels: []\nservers: []\n", reason.PolicyNoMatch},
		{"deny-alone", "deny: [\"${other}\"]\n", reason.PolicyNoMatch},
		{"box-alone", "box: {integrity: extracted}\n", reason.PolicyNoMatch},
		{"other-name", ids + "images: [{match: registry.example/agents/coder2" + signed, reason.PolicyNoMatch},
		{"other-registry", ids + "images: [{match: registry.example.evil/**" + signed, reason.PolicyNoMatch},
		{"other-kind", ids + "servers: [{match: \"**\"" + signed, reason.PolicyNoMatch},
		{"other-digest", ids + "images: [{match: \"**\", digests: [\"${other}\"]" + signed, reason.DigestNotAdopted},
	} {
		p, err := Parse([]byte(expand(t, c.doc, nil)), "policy.yaml", keyFile)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		d := Evaluate(p, s.in)
		failed := 0
		for _, f := range d.Findings() {
			if !f.Pass && f.Code == c.want {
				failed++
			}
		}
		if d.Allowed() || d.Exit() != reason.Denied.Exit() || failed != 1 || d.Proved() != nil {
			t.Errorf("%s: %s", c.name, show(d))
		}
	}
	if d := Evaluate(Policy{}, s.in); d.Allowed() || d.Exit() == 0 || d.Findings()[0].Code != reason.DecisionInput {
		t.Errorf("no policy: %s", show(d))
	}
	for doc, want := range map[string]reason.Code{
		"": reason.FormSyntax, "# nothing\n": reason.FormSyntax, "images:\n": reason.FormValue,
		"images: [{match: \"**\"}]\n":                                   reason.FormMissingKey,
		"images: [{match: \"**\", require: []}]\n":                      reason.PolicyRuleEmpty,
		"images: [{match: \"**\", require: [{}]}]\n":                    reason.FormMissingKey,
		ids + "images: [{require: [{signature: {by: [release]}}]}]\n":   reason.FormMissingKey,
		"images: [{match: \"**\", require: [{signature: {by: []}}]}]\n": reason.PolicyRuleEmpty,
		"no-match: warn\n":          reason.FormUnknownKey,
		"default: {action: pass}\n": reason.FormUnknownKey,
	} {
		p, err := Parse([]byte(doc), "policy.yaml", keyFile)
		if e, ok := reason.Of(err); !ok || e.Code != want || Evaluate(p, s.in).Allowed() {
			t.Errorf("%q: %v, want %s", doc, err, want)
		}
	}
}

// TestN48PatternsNegateNothing: a match has no negation, class, choice or escape, and
// what other tools would read as one is refused; a path is compared whole, component by
// component, and in one way only.
func TestN48PatternsNegateNothing(t *testing.T) {
	for _, p := range []string{
		"!registry.example/a", "registry.example/!(a)", "^registry.example/a$", "registry.example/[!a]*", "registry.example/[^a]",
		"registry.example/[a-z]*", "registry.example/{a,b}", "registry.example/a|b", "registry.example/a?", "registry.example/a+",
		`registry.example/\*`, "registry.example/.*(a)", "registry.example/a**", "registry.example/**a", "registry.example/***",
		"registry.example//a", "/registry.example/a", "registry.example/a/", "registry.example/a b", "registry.example/\u0430", "*", "registry.example",
	} {
		_, err := Parse([]byte(ids+"images: [{match: "+scalar(p)+", require: [{signature: {by: [release]}}]}]\n"), "policy.yaml", keyFile)
		if e, ok := reason.Of(err); !ok || e.Code != reason.PolicyPattern || !strings.HasPrefix(e.What, "read policy.yaml:2:") {
			t.Errorf("match %q: %v", p, err)
		}
	}
	s := loadScene(t, "testdata/evaluate/ok-signature.txtar")
	for _, c := range []struct {
		match, name string
		want        bool
	}{
		{"registry.example/agents/*", "registry.example/agents/coder", true},
		{"registry.example/agents/*", "registry.example/agents/team/coder", false},
		{"registry.example/*", "registry.example/agents/coder", false},
		{"registry.example/**", "registry.example/agents/coder", true},
		{"registry.example/agents/**", "registry.example/agents", false},
		{"registry.example/**/coder", "registry.example/coder", false},
		{"registry.example/**/coder", "registry.example/agents/team/coder", true},
		{"registry.example/agents", "registry.example/agents/coder", false},
		{"registry.example/agents/coder", "registry.example:5000/agents/coder", false},
		{"registry.example/agents/cod", "registry.example/agents/coder", false},
		{"registry.example/agents/coder", "registry.example/agents/coder@sha256:" + strings.Repeat("0", 64), true},
		{"registry.example/agents/coder", "registry.example/agents/coder:1.4", true},
		{"registry.example/agents/coder", "REGISTRY.example/agents/coder", true}, // hosts have no case: the name is the same
		{"docker.io/library/alpine", "alpine:3", true},
		{"docker.io/library/alpine", "index.docker.io/alpine", true},
		{"docker.io/library/*", "acme/alpine", false},
		{"docker.io/**", "evil.example/docker.io/library/alpine", false},
	} {
		p, err := Parse([]byte(ids+"images: [{match: "+scalar(c.match)+", require: [{signature: {by: [release]}}]}]\n"), "policy.yaml", keyFile)
		if err != nil {
			t.Fatal(err)
		}
		ref, err := artifact.Parse(c.name)
		if err != nil {
			t.Fatal(err)
		}
		in := s.in
		pinned := artifact.Pinned{Ref: ref, Manifest: manifestSum, ConfigDigest: configSum, Platform: artifact.Platform{OS: "linux", Architecture: "amd64"}}
		if in.Artifact, err = artifact.Pin(pinned); err != nil {
			t.Fatal(err)
		}
		d := Evaluate(p, in)
		if d.Allowed() != c.want || !c.want && d.Findings()[0].Code != reason.PolicyNoMatch {
			t.Errorf("%q for %q: %s", c.match, c.name, show(d))
		}
	}
}
