package policy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/trust"
	"github.com/ztlaunch/ztlaunch/verify/verifytest"
)

const three = "identities: {release: {key: keys/release.pub}, security: {key: keys/security.pub}, other: {key: keys/other.pub}}\n"

// TestBy reads by: in each form, and says what it means by who must sign.
func TestBy(t *testing.T) {
	claims := func(names ...string) Input {
		s := loadScene(t, "testdata/evaluate/ok-signature.txtar")
		root := trust.Root{}
		for _, a := range cast() {
			root = root.With(a.public)
		}
		s.in.Claims = nil
		for _, n := range names {
			s.claim(t, n+" sign manifest", root, nil, false)
		}
		return s.in
	}
	for _, c := range []struct {
		name, by string
		code     reason.Code // of the file
		next     string
		meet     string // signers that are enough, by "+"; alternatives by space
		miss     string
	}{
		{"one", "by: [release]", "", "", "release", "security"},
		{"one-any", "by: {any: [release]}", "", "", "release", "security"},
		{"one-all", "by: {all: [release]}", "", "", "release", "security"},
		{"any", "by: {any: [release, security]}", "", "", "release security", "other"},
		{"all", "by: {all: [release, security]}", "", "", "release+security", "release security+other release+other"},
		{"two-of-three", "by: {any: [release, security, other]}, threshold: 2", "", "", "release+other security+other", "release other"},
		{"list-and-threshold", "by: [release, security], threshold: 2", "", "", "release+security", "release security"},
		{"list-and-one", "by: [release, security], threshold: 1", "", "", "release security", "other"},

		{"list-of-two", "by: [release, security]", reason.PolicyByUnclear, "by: {any: [release, security]} or by: {all: [release, security]}", "", ""},
		{"list-of-three", "by: [release, security, other]", reason.PolicyByUnclear, "{all: [release, security, other]}", "", ""},
		{"empty", "by: []", reason.PolicyRuleEmpty, "", "", ""},
		{"empty-any", "by: {any: []}", reason.PolicyRuleEmpty, "", "", ""},
		{"neither", "by: {}", reason.FormMissingKey, "", "", ""},
		{"both", "by: {any: [release], all: [security]}", reason.FormMissingKey, "", "", ""},
		{"unknown", "by: {none: [release]}", reason.FormUnknownKey, "", "", ""},
		{"text", "by: release", reason.FormValue, "", "", ""},
		{"twice", "by: {all: [release, release]}", reason.FormValue, "", "", ""},
		{"nobody", "by: {any: [somebody]}", reason.PolicyIdentityUnknown, "", "", ""},
		{"all-and-threshold", "by: {all: [release, security]}, threshold: 1", reason.PolicyThreshold, "", "", ""},
		{"too-many", "by: {any: [release, security]}, threshold: 3", reason.PolicyThreshold, "", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			ids := three
			for _, n := range []string{"release", "security", "other"} { // no identity may be unused
				if !strings.Contains(c.by, n) {
					ids = strings.Replace(strings.Replace(ids, n+": {key: keys/"+n+".pub}", "", 1), ", }", "}", 1)
				}
			}
			ids = strings.NewReplacer("{, ", "{", ", , ", ", ").Replace(ids)
			if ids == "identities: {}\n" {
				ids = ""
			}
			p, err := Parse([]byte(ids+"images: [{match: registry.example/agents/coder, require: [{signature: {"+c.by+"}}]}]\n"), "p", keyFile)
			if c.code != "" {
				if e, ok := reason.Of(err); !ok || e.Code != c.code || !strings.Contains(e.Next, c.next) {
					t.Errorf("%v, want %s and %q", err, c.code, c.next)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, who := range strings.Fields(c.meet) {
				if d := Evaluate(p, claims(strings.Split(who, "+")...)); !d.Allowed() || len(d.Proved()) != max(1, len(strings.Split(who, "+"))) {
					t.Errorf("signed by %s:\n%s", who, show(d))
				}
			}
			for _, who := range strings.Fields(c.miss) {
				if d := Evaluate(p, claims(strings.Split(who, "+")...)); d.Allowed() {
					t.Errorf("signed by %s alone is enough", who)
				}
			}
			if Evaluate(p, claims()).Allowed() {
				t.Error("signed by nobody is enough")
			}
		})
	}
}

// TestByForEachDemand: each demand counts its own signers; one that is met lends
// nobody to another.
func TestByForEachDemand(t *testing.T) {
	s := newStage(t)
	ops := verifytest.Email("ops@acme.example", "https://accounts.example")
	s.sign(t, release, evidence.PredicateCosignSign, map[string]any{})
	s.sign(t, ops, evidence.PredicateCosignSign, map[string]any{})
	s.sign(t, ops, "https://example.com/t", map[string]any{})
	ids := strings.TrimSuffix(trusted, "}\n") + ", ops: {keyless: {issuer: https://accounts.example, san: ops@acme.example}}}\n"
	rule := func(by string) string {
		return ids + "images: [{match: registry.example/agents/coder, require: [{signature: {by: {all: [release, ops]}}}, {attestation: {type: https://example.com/t, by: " + by + "}}]}]\n"
	}
	if d := s.decide(t, rule("{any: [release, ops]}")); !d.Allowed() {
		t.Errorf("any:\n%s", show(d))
	}
	if d := s.decide(t, rule("{all: [release, ops]}")); codes(d) != string(reason.ThresholdUnmet) {
		t.Errorf("all:\n%s", show(d))
	}
}

// A key that is listed under two names counts once, in any form of by; so do a
// bare key and a certificate for it, and one certificate name under two
// identities.
func TestN18OneSignerUnderTwoNames(t *testing.T) {
	copies := "identities: {release: {key: keys/release.pub}, again: {key: keys/release-copy.pub}}\n"
	for _, by := range []string{"{any: [release, again]}, threshold: 2", "{all: [release, again]}", "[release, again], threshold: 2"} {
		_, err := Parse([]byte(copies+"images: [{match: registry.example/a, require: [{signature: {by: "+by+"}}]}]\n"), "p", keyFile)
		if !coded(err, reason.PolicyThreshold) {
			t.Errorf("%s: %v, want %s", by, err, reason.PolicyThreshold)
		}
	}

	s := newStage(t)
	private, k := verifytest.NewPrivate(t, verifytest.PrivateConfig{}), verifytest.NewKey(t)
	key, err := trust.ParseKey(k.Public(t))
	if err != nil {
		t.Fatal(err)
	}
	authority, err := trust.ParseAuthority(private.PEM())
	if err != nil {
		t.Fatal(err)
	}
	s.root = s.root.With(key).WithAuthorities(authority)
	st := verifytest.Statement(t, evidence.PredicateCosignSign, map[string]any{}, manifestSum.Encoded())
	dev := evidence.Signer{SAN: "dev@acme.example", SANType: "email"}
	by := "images: [{match: registry.example/agents/coder, require: [{signature: {by: {all: [first, second]}}}]}]\n"
	certified := "{certificate: {authority: " + scalar(string(private.PEM())) + ", san: dev@acme.example}}"
	keyed := "{key: " + scalar(string(key.PEM())) + "}"
	s.add(t, k.Attest(t, st))
	s.add(t, private.Attest(t, dev, st, verifytest.PrivateOptions{Key: &k}))
	if d := s.decide(t, "identities: {first: "+keyed+", second: "+certified+"}\n"+by); codes(d) != string(reason.ThresholdUnmet) {
		t.Errorf("a key and its certificate:\n%s", show(d))
	}
	s.add(t, private.Attest(t, dev, st, verifytest.PrivateOptions{}))
	if d := s.decide(t, "identities: {first: "+keyed+", second: "+certified+"}\n"+by); codes(d) != string(reason.ThresholdUnmet) {
		t.Errorf("one name with two keys, one of which signs alone:\n%s", show(d)) // the name is the key's
	}
	open := "{certificate: {authority: " + scalar(string(private.PEM())) + ", san: \"*@acme.example\"}}"
	if d := s.decide(t, "identities: {first: "+open+", second: "+certified+"}\n"+by); codes(d) != string(reason.ThresholdUnmet) {
		t.Errorf("one name under two identities:\n%s", show(d))
	}
	s.add(t, private.Attest(t, evidence.Signer{SAN: "ops@acme.example", SANType: "email"}, st, verifytest.PrivateOptions{}))
	if d := s.decide(t, "identities: {first: "+open+", second: "+certified+"}\n"+by); !d.Allowed() {
		t.Errorf("two names under two identities:\n%s", show(d))
	}
}

// A threshold of 0, or a negative one, would admit what nobody signed.
func TestN19ThresholdBelowOne(t *testing.T) {
	for _, n := range []string{"0", "-1", "65", "1.5", "\"1\""} {
		_, err := Parse([]byte(demanded("{signature: {by: [release], threshold: "+n+"}}")), "p", keyFile)
		if !coded(err, reason.FormValue) {
			t.Errorf("threshold %s: %v, want %s", n, err, reason.FormValue)
		}
	}
}

// A demand for two logs is not met by two entries of one, for whoever signed; the
// default is one for keyless signatures and none for others.
func TestN04LogsOfADemand(t *testing.T) {
	s := newStage(t)
	k, private := verifytest.NewKey(t), verifytest.NewPrivate(t, verifytest.PrivateConfig{})
	key, err := trust.ParseKey(k.Public(t))
	if err != nil {
		t.Fatal(err)
	}
	authority, err := trust.ParseAuthority(private.PEM())
	if err != nil {
		t.Fatal(err)
	}
	s.root = s.root.With(key).WithAuthorities(authority)
	st := verifytest.Statement(t, evidence.PredicateCosignSign, map[string]any{}, manifestSum.Encoded())
	dev := evidence.Signer{SAN: "dev@acme.example", SANType: "email"}
	one, two := verifytest.RekorV1, verifytest.RekorV2
	same, both := verifytest.Options{Also: []verifytest.Version{one}}, verifytest.Options{Also: []verifytest.Version{two}}
	for name, c := range map[string]struct {
		identity       string
		plain          []byte // in as few logs as may be
		again, another []byte
		least          int
	}{
		"keyless": {strings.TrimSuffix(strings.TrimPrefix(trusted, "identities: {release: "), "}\n"),
			s.sigstore.Attest(t, release, st, verifytest.Options{}), s.sigstore.Attest(t, release, st, same), s.sigstore.Attest(t, release, st, both), 1},
		"key": {"{key: " + scalar(string(key.PEM())) + "}", k.Attest(t, st), s.sigstore.AttestKey(t, k, st, same), s.sigstore.AttestKey(t, k, st, both), 0},
		"certificate": {"{certificate: {authority: " + scalar(string(private.PEM())) + ", san: dev@acme.example}}", private.Attest(t, dev, st, verifytest.PrivateOptions{}),
			private.Attest(t, dev, st, verifytest.PrivateOptions{Witness: s.sigstore, Witnessed: same}), private.Attest(t, dev, st, verifytest.PrivateOptions{Witness: s.sigstore, Witnessed: both}), 0},
	} {
		for held, raw := range [][]byte{c.plain, c.again, c.another} {
			s.in.Claims = nil
			s.add(t, raw)
			held = max(held, c.least)
			for want := range 4 {
				logs := fmt.Sprintf(", logs: %d", want)
				if want == 3 {
					logs, want = "", c.least
				}
				d := s.decide(t, "identities: {release: "+c.identity+"}\nimages: [{match: registry.example/agents/coder, require: [{signature: {by: [release]"+logs+"}}]}]\n")
				if d.Allowed() != (held >= want) || !d.Allowed() && codes(d) != string(reason.LogsUnmet) {
					t.Errorf("%s in %d logs, %q:\n%s", name, held, logs, show(d))
				}
				if d.Allowed() && len(d.Proved()[0].Logs) != held {
					t.Errorf("%s: proved in %v, want %d", name, d.Proved()[0].Logs, held)
				}
			}
		}
	}
	for _, n := range []string{"9", "-1"} {
		if _, err := Parse([]byte(demanded("{signature: {by: [release], logs: "+n+"}}")), "p", keyFile); !coded(err, reason.FormValue) {
			t.Errorf("logs %s: %v", n, err)
		}
	}
	p, err := Parse([]byte(demanded("{signature: {by: [release], logs: 1}}")), "p", keyFile)
	if err != nil || !p.Keyless() {
		t.Errorf("a demand for logs needs no Sigstore root: %v", err)
	}
}

// TestCertificateDemand: a private authority's certificate meets a demand of its
// own sort and no other, and a denial shows the fields that differ.
func TestCertificateDemand(t *testing.T) {
	s := newStage(t)
	private, stranger := verifytest.NewPrivate(t, verifytest.PrivateConfig{}), verifytest.NewPrivate(t, verifytest.PrivateConfig{})
	p, err := Parse([]byte("identities: {release: {certificate: {authority: keys/ca.pem, san: dev@acme.example}}}\n"+image), "conf/p", func(name string) ([]byte, error) {
		if name != "conf/keys/ca.pem" {
			t.Errorf("read %s", name)
		}
		return append(stranger.PEM(), private.PEM()...), nil
	})
	if err != nil || len(p.Authorities()) != 1 || len(p.Authorities()[0].IDs()) != 2 || p.Keyless() {
		t.Fatalf("%v: %d authorities, keyless %v", err, len(p.Authorities()), p.Keyless())
	}
	for name, raw := range map[string][]byte{"fewer": private.PEM(), "other": stranger.PEM()} {
		q, err := Parse(p.Text(), "conf/p", func(string) ([]byte, error) { return raw, nil })
		if err != nil || q.Digest() == p.Digest() {
			t.Errorf("%s certificates give the same digest: %v", name, err)
		}
	}

	var all []trust.Authority
	for _, raw := range [][]byte{private.PEM(), stranger.PEM()} {
		a, err := trust.ParseAuthority(raw)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, a)
	}
	s.root = s.root.WithAuthorities(all...)
	st := verifytest.Statement(t, evidence.PredicateCosignSign, map[string]any{}, manifestSum.Encoded())
	dev := evidence.Signer{SAN: "dev@acme.example", SANType: "email"}
	rule := "images: [{match: registry.example/agents/coder, require: [{signature: {by: [release]}}]}]\n"
	own := "identities: {release: {certificate: {authority: " + scalar(string(private.PEM())) + ", san: dev@acme.example}}}\n"
	keyless := "identities: {release: {keyless: {issuer: https://accounts.example, san: dev@acme.example}}}\n"
	ours, theirs := private.Attest(t, dev, st, verifytest.PrivateOptions{}), stranger.Attest(t, dev, st, verifytest.PrivateOptions{})
	issued := s.sigstore.Attest(t, verifytest.Email(dev.SAN, "https://accounts.example"), st, verifytest.Options{})
	for _, c := range []struct {
		name, ids, field string
		raw              []byte
	}{
		{"ours", own, "", ours}, {"theirs", own, "authority", theirs}, {"keyless-for-private", own, "a certificate of authority", issued},
		{"keyless", keyless, "", issued}, {"private-for-keyless", keyless, "a certificate with issuer", ours},
	} {
		s.in.Claims = nil
		s.add(t, c.raw)
		d := s.decide(t, c.ids+rule)
		if d.Allowed() != (c.field == "") {
			t.Errorf("%s:\n%s", c.name, show(d))
		}
		if f := d.Findings()[0]; !d.Allowed() && (f.Code != reason.SignatureWrongIdentity || !strings.Contains(f.Expected, c.field) || f.Next == "") {
			t.Errorf("%s: %+v", c.name, f)
		}
	}
	s.in.Claims = nil
	s.add(t, ours)
	if _, err := Init(s.in, nil, 0); !coded(err, reason.InitUnproved) {
		t.Errorf("a policy was written without the authority: %v", err)
	}

	one, err := OneRun(Signer{Authority: all[0], SAN: dev.SAN}, s.in.Artifact.Ref())
	if err != nil || !Evaluate(one, s.in).Allowed() {
		t.Errorf("for one run: %v", err)
	}
	if one, err = OneRun(Signer{Authority: all[1], SAN: dev.SAN}, s.in.Artifact.Ref()); err != nil || codes(Evaluate(one, s.in)) != string(reason.SignatureWrongIdentity) {
		t.Errorf("for one run, another authority: %v", err)
	}
	for _, san := range []string{"*@acme.example", "", "dev@acme.example "} {
		if _, err = OneRun(Signer{Authority: all[0], SAN: san}, s.in.Artifact.Ref()); err == nil {
			t.Errorf("%q is a name", san)
		}
	}
	host := evidence.Signer{SAN: "ci.acme.example", SANType: "dns"}
	s.in.Claims = nil
	s.add(t, private.Attest(t, host, st, verifytest.PrivateOptions{}))
	if one, err = OneRun(Signer{Authority: all[0], SAN: host.SAN}, s.in.Artifact.Ref()); err != nil || !Evaluate(one, s.in).Allowed() {
		t.Errorf("for one run, a host: %v", err)
	}
}

// TestReusableIsShown: where a reusable workflow signs, what is said of it names
// the workflow that was started too, allowed or not.
func TestReusableIsShown(t *testing.T) {
	s := newStage(t)
	s.in.Now = verifytest.Epoch().Add(time.Hour)
	ci := signedBy("https://github.com/acme/ci/.github/workflows/sign.yml@refs/tags/v1")
	s.sign(t, ci, evidence.PredicateCosignSign, map[string]any{})
	rule := "images: [{match: registry.example/agents/coder, require: [{signature: {by: [release]}}]}]\n"
	f := s.decide(t, trusted+rule).Findings()[0]
	for _, want := range []string{"started as " + release.BuildConfigURI, "signed by " + ci.BuildSignerURI} {
		if f.Pass || !strings.Contains(f.Found, want) {
			t.Errorf("no %q in %q", want, f.Found)
		}
	}
	d := s.decide(t, strings.Replace(trusted, "ref: refs/tags/v*", "ref: refs/tags/v*, signer: https://github.com/acme/ci/.github/workflows/sign.yml@refs/tags/v*", 1)+rule)
	if f := d.Findings()[0]; !f.Pass || !strings.Contains(f.Found, ci.SAN) || !strings.Contains(f.Found, "called by "+release.BuildConfigURI) {
		t.Errorf("found %q", f.Found)
	}
}
