package policy

import (
	"os"
	"strings"
	"testing"

	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/verifytest"
)

// TestUnsafeRegex reads expressions, and refuses those that are none for a whole
// field.
func TestUnsafeRegex(t *testing.T) {
	const issuer = "issuer: https://accounts.example, "
	for name, c := range map[string]struct {
		fields string
		code   reason.Code
	}{
		"ok-san":         {issuer + "kind: email, unsafeRegex: {san: \"(a|b)@acme[.]example\"}", ""},
		"ok-workflow":    {issuer + "repository: https://git.example/a, unsafeRegex: {workflow: \"[.]ci/.+\", ref: refs/(heads|tags)/.+}", ""},
		"ok-all":         {issuer + "unsafeRegex: {repository: https://.+, workflow: .+, ref: .+, signer: .+, trigger: .+, runner: .+}", ""},
		"empty-match":    {issuer + "kind: email, unsafeRegex: {san: \".*\"}", reason.PolicyRegex},
		"empty":          {issuer + "kind: email, unsafeRegex: {san: \"\"}", reason.PolicyRegex},
		"optional":       {issuer + "kind: email, unsafeRegex: {san: \"(a@b)?\"}", reason.PolicyRegex},
		"broken":         {issuer + "kind: email, unsafeRegex: {san: \"(a\"}", reason.PolicyRegex},
		"escapes":        {issuer + "kind: email, unsafeRegex: {san: \"a)|(?:b\"}", reason.PolicyRegex},
		"backreference":  {issuer + "kind: email, unsafeRegex: {san: '(a)\\1'}", reason.PolicyRegex},
		"look-ahead":     {issuer + "kind: email, unsafeRegex: {san: \"(?!a)b\"}", reason.PolicyRegex},
		"too-long":       {issuer + "kind: email, unsafeRegex: {san: \"" + strings.Repeat("a", maxRegex+1) + "\"}", reason.PolicyRegex},
		"too-large":      {issuer + "kind: email, unsafeRegex: {san: \"((a{1000}){1000}){1000}\"}", reason.PolicyRegex},
		"nothing":        {issuer + "san: a@b, unsafeRegex: {}", reason.PolicyRuleEmpty},
		"issuer":         {"san: a@b, unsafeRegex: {issuer: https://.+}", reason.FormUnknownKey},
		"no-issuer":      {"kind: email, unsafeRegex: {san: a@b}", reason.FormMissingKey},
		"issuer-pattern": {"issuer: \"https://*\", kind: email, unsafeRegex: {san: a@b}", reason.PolicyPattern},
		"no-kind":        {issuer + "unsafeRegex: {san: a@b}", reason.FormMissingKey},
		"twice":          {issuer + "san: a@b, unsafeRegex: {san: a@b}", reason.FormValue},
		"unknown":        {issuer + "san: a@b, unsafeRegex: {subject: a@b}", reason.FormUnknownKey},
		"trigger-only":   {issuer + "unsafeRegex: {trigger: push}", reason.FormMissingKey},
		"workflow-only":  {issuer + "unsafeRegex: {workflow: .+}", reason.FormMissingKey},
		"signer-only":    {issuer + "unsafeRegex: {signer: .+}", reason.FormUnknownKey},
		"not-a-mapping":  {issuer + "san: a@b, unsafeRegex: a", reason.FormValue},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := Parse([]byte(keyless(c.fields)), "p", nil)
			if c.code != "" {
				if !coded(err, c.code) {
					t.Errorf("%v, want %s", err, c.code)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if id := p.Identities()[0]; len(id.Keyless().Unsafe()) == 0 || !strings.Contains(id.String(), "unsafeRegex") {
				t.Errorf("%s does not say that it is there", id)
			}
		})
	}
}

// An expression that only part of the field matches, or one of its lines, does
// not match: every one is for the whole field.
func TestN13UnanchoredExpression(t *testing.T) {
	s := newStage(t)
	for fields, bad := range map[string][]evidence.Signer{
		"unsafeRegex: {repository: https://github.com/acme/agent, workflow: '[.]github/workflows/release[.]yml', ref: 'refs/tags/v[0-9.]+'}": {
			at("https://github.com/acme/agent-evil", flow, tag), at("https://evil.example/https://github.com/acme/agent", flow, tag),
			at(agent, flow+"l", tag), at(agent, flow, tag+"-evil"), at(agent, flow, "refs/heads/main"), at(agent, "x/"+flow, tag),
		},
		"kind: uri, unsafeRegex: {san: 'https://github.com/acme/.+@refs/tags/v[0-9]+[.][0-9]+'}": {
			at("https://github.com/acme-evil/agent", flow, tag), at(agent, flow, tag+"x"), at(agent, flow, "refs/tags/v"),
		},
	} {
		fields = "issuer: " + github + ", " + fields
		if got := s.decidedFor(t, fields, release); got != "" {
			t.Errorf("%s: the release itself is denied: %s", fields, got)
		}
		for _, who := range bad {
			if got := s.decidedFor(t, fields, who); got != reason.SignatureWrongIdentity {
				t.Errorf("%s against %s: %q, want %s", fields, who.SAN, got, reason.SignatureWrongIdentity)
			}
		}
	}
}

// An expression that stands in the policy decides: each field of unsafeRegex alone
// denies what it does not match, and none is dropped beside others.
func TestN14ExpressionIsNotIgnored(t *testing.T) {
	s := newStage(t)
	base := map[string]string{"repository": ".+", "workflow": ".+", "ref": ".+", "signer": ".+", "trigger": ".+", "runner": ".+"}
	order := []string{"repository", "workflow", "ref", "signer", "trigger", "runner"}
	write := func(change, to string) string {
		var parts []string
		for _, name := range order {
			re := base[name]
			if name == change {
				re = to
			}
			parts = append(parts, name+": \""+re+"\"")
		}
		return "issuer: " + github + ", unsafeRegex: {" + strings.Join(parts, ", ") + "}"
	}
	if got := s.decidedFor(t, write("", ""), release); got != "" {
		t.Fatalf("denied: %s", got)
	}
	for _, name := range order {
		if got := s.decidedFor(t, write(name, "nobody"), release); got != reason.SignatureWrongIdentity {
			t.Errorf("unsafeRegex.%s is ignored: %q, want %s", name, got, reason.SignatureWrongIdentity)
		}
	}
	beside := "issuer: " + github + ", repository: acme/agent, workflow: " + flow + ", ref: refs/tags/v*, unsafeRegex: {trigger: nobody}"
	if got := s.decidedFor(t, beside, release); got != reason.SignatureWrongIdentity {
		t.Errorf("unsafeRegex beside patterns is ignored: %q", got)
	}
}

// TestPatternFields: each pattern alone denies what it does not match.
func TestPatternFields(t *testing.T) {
	s := newStage(t)
	base := "issuer: " + github + ", repository: \"acme/*\", workflow: \".github/workflows/rel*.yml\", ref: refs/tags/v*, trigger: \"pu*\", runner: \"github-*\""
	if got := s.decidedFor(t, base, release); got != "" {
		t.Fatalf("denied: %s", got)
	}
	for old, other := range map[string]string{"acme/*": "acme/b*", "rel*.yml": "t*.yml", "refs/tags/v*": "refs/tags/w*", "pu*": "pul*", "github-*": "github-h*x"} {
		if got := s.decidedFor(t, strings.Replace(base, old, other, 1), release); got != reason.SignatureWrongIdentity {
			t.Errorf("%s for %s: %q, want %s", other, old, got, reason.SignatureWrongIdentity)
		}
	}
	ci := signedBy("https://github.com/acme/ci/.github/workflows/sign.yml@refs/tags/v1")
	for signer, want := range map[string]reason.Code{
		"https://github.com/acme/ci/.github/workflows/*.yml@refs/tags/v*":  "",
		"https://github.com/acme/ci/.github/workflows/s*.yml@refs/tags/v1": "",
		"https://github.com/acme/ci/.github/workflows/x*.yml@refs/tags/v*": reason.SignatureWrongIdentity,
		"https://github.com/acme/ci/.github/workflows/*.yml@refs/heads/*":  reason.SignatureWrongIdentity,
	} {
		if got := s.decidedFor(t, base+", signer: \""+signer+"\"", ci); got != want {
			t.Errorf("signer %s: %q, want %q", signer, got, want)
		}
	}
}

// A pattern has no negation, no classes, no alternatives, and "*" stops at "/" in
// fields as in names: what other tools' globs read differently is refused, or
// means itself.
func TestN48PatternsHaveOneReading(t *testing.T) {
	const hub = "issuer: " + github + ", "
	for _, fields := range []string{
		hub + "repository: \"*/agent\", workflow: " + flow + ", ref: refs/tags/v1",
		hub + "repository: \"*\", workflow: " + flow + ", ref: refs/tags/v1",
		hub + "repository: \"https://*.com/acme/agent\", workflow: " + flow + ", ref: refs/tags/v1",
		hub + "repository: \"https://github.com/*/agent\", workflow: " + flow + ", ref: refs/tags/v1",
		hub + "repository: \"https://github.com/a*/agent\", workflow: " + flow + ", ref: refs/tags/v1",
		hub + "repository: \"https://evil.example/acme/agent\", workflow: " + flow + ", ref: refs/tags/v1",
		hub + "repository: acme/**, workflow: " + flow + ", ref: refs/tags/v1",
		hub + "repository: acme/agent, workflow: \"*.yml\", ref: refs/tags/v1",
		hub + "repository: acme/agent, workflow: \".github/*/release.yml\", ref: refs/tags/v1",
		hub + "repository: acme/agent, workflow: \"../release.yml\", ref: refs/tags/v1",
		hub + "repository: acme/agent, workflow: " + flow + ", ref: \"!refs/heads/main\"",
		hub + "repository: acme/agent, workflow: " + flow + ", ref: \"refs/tags/v[0-9]\"",
		hub + "repository: acme/agent, workflow: " + flow + ", ref: \"refs/tags/v?\"",
		hub + "repository: acme/agent, workflow: " + flow + ", ref: \"refs/*\"",
		hub + "repository: acme/agent, workflow: " + flow + ", ref: refs/tags/v1, trigger: \"*\"",
		hub + "repository: acme/agent, workflow: " + flow + ", ref: refs/tags/v1, runner: \"*-hosted\"",
		hub + "repository: acme/agent, workflow: " + flow + ", ref: refs/tags/v1, signer: \"https://github.com/*/ci/.github/workflows/x.yml@refs/tags/v1\"",
		hub + "repository: acme/agent, workflow: " + flow + ", ref: refs/tags/v1, signer: \"https://github.com/acme/*/.github/workflows/x.yml@refs/tags/v1\"",
		hub + "san: \"https://github.com/*\"",
		hub + "san: \"https://github.com/acme/*\"",
		hub + "san: \"https://github.com/*/agent/.github/workflows/release.yml@refs/tags/v1\"",
		hub + "san: \"https://github.com/acme/agent/*/workflows/release.yml@refs/tags/v1\"",
		hub + "san: \"https://github.com/acme/agent/.github/workflows/release.yml@*\"",
		hub + "san: \"https://github.com/acme/agent/.github/workflows/release.yml@refs/*\"",
		hub + "san: \"https://github.com/acme/agent/.github/workflows/a@b*.yml@refs/tags/v1\"",
		"issuer: https://a.example, san: \"https://*/x\"",
		"issuer: https://a.example, san: \"*://a.example/x\"",
		"issuer: https://a.example, san: \"https://a.example*\"",
		"issuer: https://a.example, san: \"https://u@a.example/*\"",
		"issuer: https://gitlab.com, san: \"https://gitlab.com/*/x\"",
		"issuer: https://gitlab.com, repository: \"https://GitLab.com/*/x\", workflow: a.yml, ref: refs/heads/main",
		"issuer: https://gitlab.com, repository: \"https://gitlab.com./*/x\", workflow: a.yml, ref: refs/heads/main",
		"issuer: https://a.example, san: \"*\"",
		"issuer: https://a.example, san: \"*\", kind: email",
		"issuer: https://a.example, san: \"dev@*\"",
		"issuer: https://a.example, san: \"dev@*.example\"",
		"issuer: https://a.example, san: \"*@*acme.example\"",
		"issuer: https://a.example, san: \"*@acme.example@\"",
		"issuer: https://a.example, san: \"dev*\", kind: other",
		"issuer: \"https://*.example\", san: dev@acme.example",
	} {
		if _, err := Parse([]byte(keyless(fields)), "p", nil); !coded(err, reason.PolicyPattern) {
			t.Errorf("%s: %v, want %s", fields, err, reason.PolicyPattern)
		}
	}
	for _, match := range []string{"!registry.example/a", "registry.example/{a,b}", "registry.example/[ab]", "registry.example/a?", "registry.example/a**", "registry.example/**b"} {
		if _, err := Parse([]byte(ids+"images: [{match: \""+match+"\", require: [{signature: {by: [release]}}]}]\n"), "p", keyFile); !coded(err, reason.PolicyPattern) {
			t.Errorf("match %s: %v, want %s", match, err, reason.PolicyPattern)
		}
	}
	private := scalar(string(verifytest.NewPrivate(t, verifytest.PrivateConfig{}).PEM()))
	for _, c := range []struct {
		fields string
		code   reason.Code
	}{
		{"kind: dns, san: \"*\"", reason.PolicyPattern}, {"kind: dns, san: \"*.example\"", reason.PolicyPattern}, {"kind: dns, san: \"a.*.example\"", reason.PolicyPattern},
		{"kind: dns, san: a..example", reason.PolicyPattern}, {"san: \"*@*\"", reason.PolicyPattern}, {"san: host.example", reason.FormMissingKey}, {"kind: ip, san: \"10.0.0.1\"", reason.FormValue},
	} {
		if _, err := Parse([]byte("identities: {release: {certificate: {authority: "+private+", "+c.fields+"}}}\n"+image), "p", nil); !coded(err, c.code) {
			t.Errorf("%s: %v, want %s", c.fields, err, c.code)
		}
	}
	// "*" in a field stops where it does in a name.
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{{"refs/tags/*", "refs/tags/a", true}, {"refs/tags/*", "refs/tags/a/b", false}, {"refs/tags/*", "refs/tags/a b", false}, {"refs/tags/*", "refs/tags/", true}, {"a*c", "abbc", true}, {"a*c", "ab", false}} {
		if glob(c.pattern, c.s) != c.want || globName(c.pattern, c.s) != c.want {
			t.Errorf("%q against %q is not %v", c.pattern, c.s, c.want)
		}
	}
}

// Without a policy that says otherwise nothing is admitted: an empty file, rules
// that demand nothing, and names that no rule matches all deny.
func TestN43NothingIsAdmittedByDefault(t *testing.T) {
	s := loadScene(t, "testdata/evaluate/ok-signature.txtar")
	for name, doc := range map[string]string{"version": "version: 1\n", "lists": "images: []\nmodels: []\nservers: []\n", "box": "box: {}\n", "other-kind": ids + strings.Replace(image, "images", "servers", 1), "other-name": ids + image} {
		p, err := Parse([]byte(doc), "p", keyFile)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if d := Evaluate(p, s.in); d.Allowed() || codes(d) != string(reason.PolicyNoMatch) {
			t.Errorf("%s: allowed %v, %q, want %s", name, d.Allowed(), codes(d), reason.PolicyNoMatch)
		}
	}
	for _, require := range []string{"", ", require: []"} {
		_, err := Parse([]byte("images: [{match: \"**\""+require+"}]\n"), "p", keyFile)
		if !coded(err, reason.PolicyRuleEmpty) && !coded(err, reason.FormMissingKey) {
			t.Errorf("%q: %v, want %s", require, err, reason.PolicyRuleEmpty)
		}
	}
	for _, key := range []string{"default: allow", "mode: warn", "unsafe: true"} {
		if _, err := Parse([]byte(ids+image+key+"\n"), "p", keyFile); !coded(err, reason.FormUnknownKey) {
			t.Errorf("%s: %v, want %s", key, err, reason.FormUnknownKey)
		}
	}
	if _, err := Parse(nil, "p", func(string) ([]byte, error) { return nil, os.ErrNotExist }); err == nil {
		t.Error("no text is a policy")
	}
	var zero Policy
	if d := Evaluate(zero, s.in); d.Allowed() || codes(d) != string(reason.DecisionInput) {
		t.Errorf("the zero policy: allowed %v, %q", d.Allowed(), codes(d))
	}
}
