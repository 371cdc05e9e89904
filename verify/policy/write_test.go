package policy

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/trust"
	"github.com/ztlaunch/ztlaunch/verify/verifytest"
)

func castKeys() []trust.Key {
	var out []trust.Key
	for _, a := range cast() {
		out = append(out, a.public)
	}
	return out
}

// TestInit writes policies from the claims of testdata/init, and decides by each
// on the same input.
func TestInit(t *testing.T) {
	refused := map[string]reason.Code{"nothing-unproved": reason.InitUnproved, "broken-unproved": reason.InitUnproved,
		"attested-only-unproved": reason.InitUnproved, "two-signers-choice": reason.InitChoice, "out-of-range-choice": reason.InitChoice}
	for _, file := range cases(t, "init", 8) {
		name := strings.TrimSuffix(filepath.Base(file), ".txtar")
		t.Run(name, func(t *testing.T) {
			s := loadScene(t, file)
			choice := 0
			if n := strings.TrimSpace(part(s.archive, "choice")); n != "" {
				fmt.Sscan(n, &choice)
				// Signers come sorted by key, which differs from run to run.
				for i, signer := range Signers(s.in) {
					if signer.Key == cast()["release"].public.ID() && choice > 0 && choice <= 2 {
						choice = i + 1
						break
					}
				}
			}
			text, err := Init(s.in, castKeys(), choice)
			if want, isRefused := refused[name]; isRefused || err != nil {
				e, ok := reason.Of(err)
				if !ok || e.Code != want || e.Expected == "" || e.Found == "" || e.Next == "" {
					t.Errorf("error = %v, want %s", err, want)
				}
				return
			}
			golden(t, file, s.archive, indented(mask(string(text))))
			again, err := Init(s.in, castKeys(), choice)
			if err != nil || string(again) != string(text) {
				t.Errorf("not the same again: %v", err)
			}
			p, err := Parse(text, "policy.yaml", nil)
			if err != nil {
				t.Fatal(err)
			}
			if d := Evaluate(p, s.in); !d.Allowed() {
				t.Errorf("the written policy denies what it was written for:\n%s", show(d))
			}
			s.in.Claims = nil
			if Evaluate(p, s.in).Allowed() {
				t.Error("the written policy admits without any claim")
			}
		})
	}
}

// indented puts the PEM's place holder back on one line of the golden text.
func indented(s string) string {
	var b strings.Builder
	pem := false
	for line := range strings.Lines(s) {
		switch {
		case strings.Contains(line, "-----BEGIN"):
			pem = true
			b.WriteString("      <PEM>\n")
		case strings.Contains(line, "-----END"):
			pem = false
		case !pem:
			b.WriteString(line)
		}
	}
	return b.String()
}

// TestInitKeyless writes exact fields, and refuses to choose.
func TestInitKeyless(t *testing.T) {
	s := newStage(t)
	s.sign(t, release, evidence.PredicateCosignSign, map[string]any{})
	s.sign(t, release, evidence.PredicateSLSAProvenanceV1, attested(release))
	text, err := Init(s.in, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"issuer: " + github, "repository: acme/agent", "workflow: " + flow, "ref: refs/tags/v1.4", "trigger: push",
		"source: github.com/acme/agent", "builder: github-hosted, level: 2"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(string(text), "*") || strings.Contains(string(text), "sbom") {
		t.Errorf("more than was proved in\n%s", text)
	}
	s.sign(t, verifytest.Email("dev@acme.example", "https://accounts.example"), evidence.PredicateCosignSign, map[string]any{})
	if _, err = Init(s.in, nil, 0); !coded(err, reason.InitChoice) {
		t.Errorf("two signers: %v", err)
	}
	for choice, want := range map[int]string{1: "dev@acme.example", 2: "refs/tags/v1.4"} {
		if text, err := Init(s.in, nil, choice); err != nil || !strings.Contains(string(text), want) {
			t.Errorf("choice %d: %v\n%s", choice, err, text)
		}
	}
	for _, choice := range []int{-1, 3} {
		if _, err := Init(s.in, nil, choice); !coded(err, reason.InitChoice) {
			t.Errorf("choice %d: %v", choice, err)
		}
	}
}

func coded(err error, code reason.Code) bool {
	e, ok := reason.Of(err)
	return ok && e.Code == code
}

// adoption is what the cases of testdata/adopt add.
func adoption() Adoption {
	return Adoption{Kind: artifact.Image, Name: "docker.io/library/mine", Digest: manifestSum, Key: cast()["release"].public, SBOM: true}
}

// TestAdopt adds to each file of testdata/adopt and compares the whole text: what
// was there stays as it is.
func TestAdopt(t *testing.T) {
	for _, file := range cases(t, "adopt", 12) {
		name := strings.TrimSuffix(filepath.Base(file), ".txtar")
		t.Run(name, func(t *testing.T) {
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			before := expand(t, part(a, "before"), nil)
			in := adoption()
			if strings.Contains(name, "until") {
				in.Until, in.Reason = time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC), "built \"here\", by me: #1"
			}
			after, err := Adopt([]byte(before), "conf/policy.yaml", keyFile, in)
			if err != nil {
				if e, ok := reason.Of(err); !ok || !strings.HasPrefix(name, "bad-") || e.Next == "" && e.Code.Class() != reason.Usage {
					t.Fatal(err)
				}
				golden(t, file, a, mask(err.Error())+"\n")
				return
			}
			if strings.HasPrefix(name, "bad-") {
				t.Fatalf("accepted:\n%s", after)
			}
			golden(t, file, a, mask(string(after)))
			p, err := Parse(after, "conf/policy.yaml", keyFile)
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(before) {
				if !strings.Contains(line, "library/mine") && !strings.Contains(line, "[") && !strings.Contains(line, "{") && !strings.Contains(string(after), line) {
					t.Errorf("the line %q is gone", line)
				}
			}
			s := loadScene(t, "testdata/evaluate/ok-adopted.txtar")
			s.in.Claims = append(s.in.Claims, loadScene(t, "testdata/evaluate/ok-sbom-uncovered-counted.txtar").in.Claims...)
			if d := Evaluate(p, s.in); !d.Allowed() {
				t.Errorf("the adopted image is denied:\n%s", show(d))
			}
			twice, err := Adopt(after, "conf/policy.yaml", keyFile, in)
			if err != nil || string(twice) != string(after) {
				t.Errorf("adopted again: %v\n%s", err, twice)
			}
			in.Digest = otherSum
			more, err := Adopt(after, "conf/policy.yaml", keyFile, in)
			if err != nil {
				t.Fatalf("adopting other bytes: %v", err)
			}
			if p, err = Parse(more, "conf/policy.yaml", keyFile); err != nil {
				t.Fatal(err)
			}
			if d := Evaluate(p, s.in); !d.Allowed() {
				t.Errorf("a second adoption took the first one away:\n%s", show(d))
			}
		})
	}
}

// TestAdoptRefuses what is not one exact thing.
func TestAdoptRefuses(t *testing.T) {
	for name, spoil := range map[string]func(a *Adoption){
		"no-name":    func(a *Adoption) { a.Name = "" },
		"short-name": func(a *Adoption) { a.Name = "mine" },
		"star":       func(a *Adoption) { a.Name = "docker.io/library/*" },
		"tag":        func(a *Adoption) { a.Name = "docker.io/library/mine:1" },
		"newline":    func(a *Adoption) { a.Name = "docker.io/library/mine\n" },
		"no-digest":  func(a *Adoption) { a.Digest = "" },
		"sha512":     func(a *Adoption) { a.Digest = digest.SHA512.FromString("x") },
		"no-key":     func(a *Adoption) { a.Key = trust.Key{} },
	} {
		a := adoption()
		spoil(&a)
		if out, err := Adopt(nil, "p", nil, a); !coded(err, reason.InitName) || out != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestOneRun: cosign's flags as a policy of one run.
func TestOneRun(t *testing.T) {
	s := loadScene(t, "testdata/evaluate/ok-signature.txtar")
	ref := s.in.Artifact.Ref()
	p, err := OneRun(Signer{Key: cast()["release"].public}, ref, ref)
	if err != nil {
		t.Fatal(err)
	}
	if d := Evaluate(p, s.in); !d.Allowed() {
		t.Errorf("denied:\n%s", show(d))
	}
	if p.Path() != "command line" || len(p.Keys()) != 1 || p.Keyless() {
		t.Errorf("path %q, %d keys", p.Path(), len(p.Keys()))
	}
	if q, err := Parse(p.Text(), "x", nil); err != nil || q.Digest() != p.Digest() {
		t.Errorf("read back: %v", err)
	}
	p, err = OneRun(Signer{Key: cast()["other"].public}, ref)
	if err != nil || Evaluate(p, s.in).Allowed() {
		t.Errorf("another key admits: %v", err)
	}
	old := loadScene(t, "testdata/evaluate/layout-not-named.txtar")
	p, err = OneRun(Signer{Key: cast()["release"].public}, ref)
	if err != nil {
		t.Fatal(err)
	}
	if f := Evaluate(p, old.in).Findings(); len(f) != 1 || f[0].Code != reason.LayoutNotNamed || !strings.HasPrefix(f[0].Next, "ztlaunch policy init ") {
		t.Errorf("legacy evidence by one run's signer: %+v", f)
	}
	elsewhere, err := artifact.Parse("registry.example/agents/coder-evil")
	if err != nil {
		t.Fatal(err)
	}
	if p, err = OneRun(Signer{Key: cast()["release"].public}, elsewhere); err != nil || codes(Evaluate(p, s.in)) != "policy-no-match" {
		t.Errorf("another name admits: %v", err)
	}
	layout, err := artifact.Parse("oci-layout:./x")
	if err != nil {
		t.Fatal(err)
	}
	if _, err = OneRun(Signer{Key: cast()["release"].public}, layout); !coded(err, reason.InitName) {
		t.Errorf("no name: %v", err)
	}
	if _, err = OneRun(Signer{}, ref); err == nil {
		t.Error("nobody is a signer")
	}
	if _, err = OneRun(Signer{Issuer: "https://accounts.example", SAN: "*"}, ref); !coded(err, reason.PolicyPattern) {
		t.Errorf("a pattern for a name: %v", err)
	}

	k := newStage(t)
	k.sign(t, release, evidence.PredicateCosignSign, map[string]any{})
	p, err = OneRun(Signer{Issuer: github, SAN: release.SAN}, ref, layout.Named("mine"), ref.As(artifact.MCP))
	if err != nil {
		t.Fatal(err)
	}
	if d := Evaluate(p, k.in); !d.Allowed() || !p.Keyless() {
		t.Errorf("denied:\n%s", show(d))
	}
	for _, by := range []Signer{{Issuer: github, SAN: release.SAN + "x"}, {Issuer: "https://accounts.example", SAN: release.SAN}} {
		if p, err = OneRun(by, ref); err != nil || codes(Evaluate(p, k.in)) != "signature-wrong-identity" {
			t.Errorf("%+v admits: %v", by, err)
		}
	}
}

// FuzzScalar: whatever is written as YAML is read back the same.
func FuzzScalar(f *testing.F) {
	for _, s := range []string{"plain", "true", "1.0", "a: b", "#x", "- x", "é\n\t\"\\", "{a}", "null", "~", "0x1", "@x", "a:", ".5", "<<", "=", "2026-01-01"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		doc := "images: [{match: registry.example/a, reason: " + scalar(s) + ", require: [{signature: {by: [release]}}]}]\n"
		p, err := Parse([]byte(ids+doc), "p", keyFile)
		if err != nil {
			if strings.ToValidUTF8(s, "") != s || strings.ContainsFunc(s, func(r rune) bool { return r >= 0x7f && r < 0xa0 || r == 0xfeff }) {
				return // a policy file cannot hold it
			}
			t.Fatalf("%q is written as %s: %v", s, scalar(s), err)
		}
		if got := p.rules[0].reason; got != s && strings.ToValidUTF8(s, "\ufffd") == s {
			t.Fatalf("%q is written as %s and read as %q", s, scalar(s), got)
		}
	})
}

// TestLines: what decides differently is written differently, the certificates
// between an authority's root and its signers too.
func TestLines(t *testing.T) {
	private := verifytest.NewPrivate(t, verifytest.PrivateConfig{})
	lines := func(text string, raw []byte) string {
		p, err := Parse([]byte(text), "p", func(string) ([]byte, error) { return raw, nil })
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(p.lines(), "\n")
	}
	seen := map[string]string{}
	both := "identities: {release: {key: a.pub}, security: {key: b.pub}}\nimages: [{match: registry.example/a, require: [{signature: {by: "
	keys := func(by string) string {
		p, err := Parse([]byte(strings.NewReplacer("a.pub", "keys/release.pub", "b.pub", "keys/security.pub").Replace(both)+by+"}}]}]\n"), "p", keyFile)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(p.lines(), "\n")
	}
	hub := "issuer: " + github + ", repository: acme/agent, workflow: " + flow + ", ref: refs/tags/v*"
	for name, text := range map[string]string{
		"whole":    lines(certified("authority: ca.pem, san: a@b"), private.PEM()),
		"root":     lines(certified("authority: ca.pem, san: a@b"), private.RootPEM()),
		"kind":     lines(certified("authority: ca.pem, san: a@b, kind: other"), private.PEM()),
		"any":      keys("{any: [release, security]}"),
		"all":      keys("{all: [release, security]}"),
		"logs":     keys("{any: [release, security]}, logs: 2"),
		"keyless":  lines(keyless(hub), nil),
		"regex":    lines(keyless(hub+", unsafeRegex: {trigger: push}"), nil),
		"trigger":  lines(keyless(hub+", trigger: push"), nil),
		"san":      lines(keyless("issuer: https://a, san: a@b"), nil),
		"san-kind": lines(keyless("issuer: https://a, san: a@b, kind: other"), nil),
	} {
		if was, twice := seen[text]; twice {
			t.Errorf("%s and %s are written alike: %s", was, name, text)
		}
		seen[text] = name
	}
}

// TestAdoptProves: whatever the editing did, a file that lost something, or
// gained more than the adoption, is refused.
func TestAdoptProves(t *testing.T) {
	a := adoption()
	before := ids + "images:\n  - {match: registry.example/a, require: [{signature: {by: [release]}}]}\n  - {match: registry.example/b, require: [{signature: {by: [release]}}]}\ndeny: [\"" + manifestSum.String() + "\"]\n"
	old, err := Parse([]byte(before), "p", keyFile)
	if err != nil {
		t.Fatal(err)
	}
	mine := "  - " + a.rule("release") + "\n"
	good := strings.Replace(before, "deny:", mine+"deny:", 1)
	if err := a.prove(old, []byte(good), "p", keyFile); err != nil {
		t.Fatalf("good: %v", err)
	}
	for name, text := range map[string]string{
		"nothing-added": before,
		"rule-lost":     strings.Replace(good, "  - {match: registry.example/b, require: [{signature: {by: [release]}}]}\n", "", 1),
		"rule-widened":  strings.Replace(good, "registry.example/b", "registry.example/**", 1),
		"rule-added":    strings.Replace(good, "deny:", "  - {match: \"**\", require: [{signature: {by: [release]}}]}\ndeny:", 1),
		"deny-lost":     strings.Split(good, "deny:")[0],
		"key-swapped":   strings.Replace(good, "keys/release.pub", "keys/other.pub", 1),
		"box-added":     good + "box: {egress: [\"x.example:443\"]}\n",
		"broken":        good + "{",
	} {
		if err := a.prove(old, []byte(text), "p", keyFile); !coded(err, reason.AdoptLayout) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
