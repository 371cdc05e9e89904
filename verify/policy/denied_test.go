package policy

import (
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/trust"
	"github.com/ztlaunch/ztlaunch/verify/verifytest"
)

// TestDeniedLogTellsNoTime: what a log says that the feed names is no time for a rule's
// own key, and none for its expression.
func TestDeniedLogTellsNoTime(t *testing.T) {
	s := verifytest.New(t)
	root, err := trust.FromJSON(s.Root())
	if err != nil {
		t.Fatal(err)
	}
	root = root.With(cast()["release"].public)
	const kind = "https://acme.example/review/v1"
	late := verifytest.Epoch().Add(30 * 24 * time.Hour)
	raw := s.AttestKey(t, cast()["release"].private, verifytest.Statement(t, kind, map[string]any{"ok": true}, manifestSum.Encoded()),
		verifytest.Options{Also: []verifytest.Version{verifytest.RekorV2}, StampAt: late})
	e, err := evidence.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	c, err := evidence.Check(e, root, []digest.Digest{manifestSum}, late.Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	early := ""
	for _, w := range c.Witnesses() {
		if w.Log != "" && !w.At.IsZero() {
			early = w.Log
		}
	}
	for _, denied := range []string{early, strings.Repeat("0", 64)} {
		for _, term := range []string{"minimumAge: 72h", "cel: \"now - signedAt > duration('72h')\""} {
			sc := newScene(t, txtar.Parse([]byte("-- policy.yaml --\nidentities: {release: {key: keys/release.pub}, security: {key: keys/security.pub}}\n"+
				"images: [{match: registry.example/agents/**, require: [{attestation: {by: [release], type: "+kind+", "+term+"}}]}]\n"+
				"denyFeed: {file: deny.json, by: [security]}\n-- deny.json --\n"+
				`{"schema": "ztlaunch.deny/v1", "serial": 7, "issued": "2026-01-01T00:00:00Z", "until": "2027-07-01T00:00:00Z", "logs": [{"id": "`+denied+`", "reason": "lies"}]}`+
				"\n-- input --\nfeed-by: security\n")))
			sc.in.Claims, sc.in.Now, sc.in.Root = []evidence.Claim{c}, late.Add(time.Minute), root.Digest()
			if d := Evaluate(sc.policy, sc.in); d.Allowed() != (denied != early) {
				t.Errorf("%s, log denied: %v: %s", term, denied == early, show(d))
			}
		}
	}
}

// TestFeedSignerInWindow: who signs a feed must be one who may sign now, by the name
// that the policy gives the feed's signer.
func TestFeedSignerInWindow(t *testing.T) {
	const doc = "identities: {release: {key: keys/release.pub}, warden: {key: keys/security.pub, until: %}, audit: {key: keys/security.pub}}\n" +
		"images: [{match: registry.example/a, require: [{signature: {by: {any: [release, audit]}}}]}]\ndenyFeed: {file: deny.json, by: [warden]}\n"
	raw := []byte(feedText(""))
	for until, want := range map[string]reason.Code{"2026-01-01": reason.DenyFeedWrongIdentity, "2027-01-01": ""} {
		p, err := Parse([]byte(strings.Replace(doc, "%", until, 1)), "policy.yaml", keyFile)
		if err != nil {
			t.Fatal(err)
		}
		e, err := evidence.Parse(cast()["security"].private.SignBlob(t, raw))
		if err != nil {
			t.Fatal(err)
		}
		c, err := evidence.CheckBlob(e, trust.Root{}.With(p.Keys()...), raw, now)
		if err != nil {
			t.Fatal(err)
		}
		_, err = p.Feed(raw, c, now)
		if e, ok := reason.Of(err); (want != "") != ok || ok && e.Code != want {
			t.Errorf("until %s: %v, want %q", until, err, want)
		}
	}
}

// TestDeniedSignerIs: a feed's entry names somebody by a key, or by the name that one
// issuer or one private authority certified, and nobody else.
func TestDeniedSignerIs(t *testing.T) {
	a, b := "sha256:"+strings.Repeat("a", 64), "sha256:"+strings.Repeat("b", 64)
	for _, c := range []struct {
		name string
		d    deniedSigner
		s    evidence.Signer
		want bool
	}{
		{"key", deniedSigner{key: a}, evidence.Signer{Key: a}, true},
		{"other-key", deniedSigner{key: a}, evidence.Signer{Key: b}, false},
		{"key-of-a-certificate", deniedSigner{key: a}, evidence.Signer{Issuer: "https://i", SAN: "x"}, false},
		{"issuer", deniedSigner{issuer: "https://i", san: "x"}, evidence.Signer{Issuer: "https://i", SAN: "x"}, true},
		{"other-issuer", deniedSigner{issuer: "https://i", san: "x"}, evidence.Signer{Issuer: "https://j", SAN: "x"}, false},
		{"issuer-of-an-authority", deniedSigner{issuer: "https://i", san: "x"}, evidence.Signer{Authority: a, SAN: "x"}, false},
		{"authority", deniedSigner{authority: a, san: "x"}, evidence.Signer{Authority: a, SAN: "x"}, true},
		{"authority-pattern", deniedSigner{authority: a, san: "*@acme.example"}, evidence.Signer{Authority: a, SAN: "dev@acme.example"}, true},
		{"authority-pattern-other", deniedSigner{authority: a, san: "*@acme.example"}, evidence.Signer{Authority: b, SAN: "dev@acme.example"}, false},
		{"authority-pattern-not", deniedSigner{authority: a, san: "*@acme.example"}, evidence.Signer{Authority: a, SAN: "dev@acme.example.org"}, false},
		{"authority-other-name", deniedSigner{authority: a, san: "x"}, evidence.Signer{Authority: a, SAN: "y"}, false},
		{"authority-of-an-issuer", deniedSigner{authority: a, san: "x"}, evidence.Signer{Issuer: "https://i", SAN: "x"}, false},
	} {
		if got := c.d.is(c.s); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
