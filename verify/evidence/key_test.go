package evidence_test

import (
	"crypto"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/trust"
	"github.com/ztlaunch/ztlaunch/verify/verifytest"
)

// signers are every kind of key, in each way in which it is used.
func signers(t *testing.T) map[string]signer {
	t.Helper()
	return map[string]signer{
		"p256": newP256(t), "p384": newEC(t, elliptic.P384(), crypto.SHA384), "p521": newEC(t, elliptic.P521(), crypto.SHA512),
		"p384-sha256": newEC(t, elliptic.P384(), crypto.SHA256), "p521-sha256": newEC(t, elliptic.P521(), crypto.SHA256),
		"ed25519": newEd(t, 0), "ed25519ph": newEd(t, crypto.SHA512),
		"rsa-2048": newRSA(t), "rsa-4096": readRSA(t, "rsa-4096"), "rsa-8192": readRSA(t, "rsa-8192"),
	}
}

// TestKeys proves with every kind of key, and refuses every other one of the same
// kind; as a bare key, and certified by a private authority.
func TestKeys(t *testing.T) {
	p := verifytest.NewPrivate(t, verifytest.PrivateConfig{})
	all, others := signers(t), signers(t)
	others["rsa-4096"], others["rsa-8192"] = all["rsa-8192"], all["rsa-4096"]
	for name, s := range all {
		t.Run(name, func(t *testing.T) {
			e := parse(t, seal(t, s, statement()))
			c, err := evidence.Check(e, trust.Root{}.With(s.key(t)), []digest.Digest{image}, now)
			if err != nil {
				t.Fatal(err)
			}
			if got := c.Signer(); got != (evidence.Signer{Key: s.key(t).ID()}) || got.Keyless() || got.Certified() || c.Key() != got.Key {
				t.Errorf("signed by %+v", got)
			}
			if c.Subject() != image || c.PredicateType() != evidence.PredicateCosignSign || string(c.Predicate()) != `{"n":1}` {
				t.Errorf("claims %s %s of %s", c.PredicateType(), c.Predicate(), c.Subject())
			}
			if at, source := c.Time(); !at.IsZero() || source != evidence.TimeNone || c.Logged() {
				t.Errorf("an unlogged signature has time %v from %v, logged %v", at, source, c.Logged())
			}
			if c.Envelope() != e.Digest() || c.Zero() || c.StatementType() != evidence.StatementV1 {
				t.Error("the claim does not name its envelope or statement type")
			}
			other := others[name]
			for what, wrong := range map[string]trust.Root{"same kind": trust.Root{}.With(other.key(t)), "another kind": trust.Root{}.With(newP256(t).key(t))} {
				c, err = evidence.Check(e, wrong, []digest.Digest{image}, now)
				t.Log(what)
				refused(t, c, err, reason.SignatureUnknownKey)
			}
			unnamed := parse(t, set(seal(t, s, statement()), nil, "verificationMaterial", "publicKey", "hint"))
			c, err = evidence.Check(unnamed, trust.Root{}.With(other.key(t)), []digest.Digest{image}, now)
			refused(t, c, err, reason.SignatureInvalid)

			certified := func(by, of signer) object {
				der := p.Certify(t, dev, of.Public(), verifytest.PrivateOptions{})
				return set(seal(t, by, statement()), object{"certificate": object{"rawBytes": der}}, "verificationMaterial")
			}
			root := believes(t, p.PEM())
			c, err = evidence.Check(parse(t, certified(s, s)), root, []digest.Digest{image}, now)
			if err != nil || c.Signer().SAN != dev.SAN || c.Key() != s.key(t).ID() {
				t.Errorf("certified: %v: %v", c.Signer(), err)
			}
			c, err = evidence.Check(parse(t, certified(s, other)), root, []digest.Digest{image}, now)
			refused(t, c, err, reason.SignatureInvalid)
		})
	}
}

func TestManyKeys(t *testing.T) {
	s := newP256(t)
	root := trust.Root{}.With(newP256(t).key(t), newEd(t, 0).key(t), s.key(t), newRSA(t).key(t))
	for name, hint := range map[string]any{"hint": s.hint(t), "label": "release", "none": nil} {
		t.Run(name, func(t *testing.T) {
			e := parse(t, set(seal(t, s, statement()), hint, "verificationMaterial", "publicKey", "hint"))
			c, err := evidence.Check(e, root, []digest.Digest{image}, now)
			if err != nil || c.Signer().Key != s.key(t).ID() {
				t.Errorf("signed by %v: %v", c.Signer(), err)
			}
			blob := []byte("policy")
			e = parse(t, set(sealMessage(t, s, blob), hint, "verificationMaterial", "publicKey", "hint"))
			c, err = evidence.CheckBlob(e, root, blob, now)
			if err != nil || c.Signer().Key != s.key(t).ID() || c.PredicateType() != "" || c.Subject() != digest.FromBytes(blob) {
				t.Errorf("signed by %v: %v", c.Signer(), err)
			}
		})
	}
}

func TestHint(t *testing.T) {
	s, other := newP256(t), newP256(t)
	hexOf := func(k trust.Key) string { sum := sha256.Sum256(k.PEM()); return hex.EncodeToString(sum[:]) }
	for name, c := range map[string]struct {
		hint any
		code reason.Code // with the right key
		bad  reason.Code // with a broken signature
	}{
		"cosign":       {s.hint(t), "", reason.SignatureInvalid},
		"model":        {hexOf(s.key(t)), "", reason.SignatureInvalid},
		"none":         {nil, "", reason.SignatureInvalid},
		"label":        {"release", "", reason.SignatureInvalid},
		"other":        {other.hint(t), reason.SignatureUnknownKey, reason.SignatureUnknownKey},
		"other-model":  {hexOf(other.key(t)), reason.SignatureUnknownKey, reason.SignatureUnknownKey},
		"not-a-digest": {base64.StdEncoding.EncodeToString([]byte("short")), "", reason.SignatureInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			b := set(seal(t, s, statement()), c.hint, "verificationMaterial", "publicKey", "hint")
			root := trust.Root{}.With(s.key(t))
			claim, err := evidence.Check(parse(t, b), root, []digest.Digest{image}, now)
			if code(err) != c.code {
				t.Errorf("%v, want %q", err, c.code)
			}
			if e, ok := reason.Of(err); ok && !strings.HasPrefix(e.Found, "a key with the hint sha256:") { // a name of ours it is not
				t.Errorf("found %q", e.Found)
			}
			if c.code == "" && claim.Zero() {
				t.Error("no claim")
			}
			sig := b["dsseEnvelope"].(object)["signatures"].([]any)[0].(object)
			sig["sig"] = flip(sig["sig"].([]byte))
			claim, err = evidence.Check(parse(t, b), root, []digest.Digest{image}, now)
			refused(t, claim, err, c.bad)
		})
	}
}

// A key ID inside the DSSE envelope collides with that of another key: it is
// unsigned text, and no value of it makes a good signature bad or a bad one good.
func TestN18KeyIDCollision(t *testing.T) {
	s, other := newP256(t), newP256(t)
	for _, id := range []string{"", "SHA256:" + s.hint(t), other.hint(t), "anything"} {
		b := seal(t, s, statement())
		b["dsseEnvelope"].(object)["signatures"].([]any)[0].(object)["keyid"] = id
		if _, err := evidence.Check(parse(t, b), trust.Root{}.With(s.key(t)), []digest.Digest{image}, now); err != nil {
			t.Errorf("key ID %q: %v", id, err)
		}
		c, err := evidence.Check(parse(t, b), trust.Root{}.With(other.key(t)), []digest.Digest{image}, now)
		refused(t, c, err, reason.SignatureUnknownKey)
	}
}

// A key needs no log; but what a log of the Root says must be right, and then
// it is the log's time that counts.
func TestLoggedKey(t *testing.T) {
	x := newStage(t)
	only := trust.Root{}.With(x.key)
	for name, c := range map[string]struct {
		bundle any
		root   trust.Root
		logged bool
		source evidence.TimeSource
	}{
		"logged":        {x.keyed(t, options{}), x.keys, true, evidence.TimeLog},
		"logged-v2":     {x.keyed(t, v2), x.keys, true, evidence.TimeTSA},
		"unstamped-v2":  {x.keyed(t, options{Log: verifytest.RekorV2, Stamp: verifytest.StampNone}), x.keys, true, evidence.TimeNone},
		"key-only-root": {x.keyed(t, options{}), only, false, evidence.TimeNone},
		"unknown-log":   {x.keyed(t, options{}), rootOf(t, x.stranger.Root()).With(x.key), false, evidence.TimeNone},
		"unknown-tsa":   {x.keyed(t, options{Log: verifytest.RekorV2, StampedBy: x.stranger}), x.keys, true, evidence.TimeNone},
	} {
		t.Run(name, func(t *testing.T) {
			claim, err := evidence.Check(parse(t, c.bundle), c.root, []digest.Digest{image}, epoch.Add(8*time.Hour))
			at, source := claim.Time()
			if err != nil || claim.Signer().Key != x.key.ID() || claim.Key() != x.key.ID() || claim.Logged() != c.logged || source != c.source || at.IsZero() != (source == evidence.TimeNone) {
				t.Errorf("signed by %v, logged %v, at %v from %v: %v", claim.Signer(), claim.Logged(), at, source, err)
			}
		})
	}
}

func TestTwoWindows(t *testing.T) {
	s := newP256(t)
	e := parse(t, seal(t, s, statement()))
	past, present := s.key(t).Within(time.Time{}, now.AddDate(-1, 0, 0)), s.key(t).Within(now.AddDate(0, -1, 0), time.Time{})
	if _, err := evidence.Check(e, trust.Root{}.With(past, present), []digest.Digest{image}, now); err != nil {
		t.Error(err)
	}
	c, err := evidence.Check(e, trust.Root{}.With(past, newP256(t).key(t)), []digest.Digest{image}, now)
	refused(t, c, err, reason.KeyOutsideWindow)
	if e, _ := reason.Of(err); strings.Contains(e.Next, "--key") { // the key is known
		t.Errorf("next %q", e.Next)
	}
}

func TestNoKeys(t *testing.T) {
	s := newP256(t)
	for name, root := range map[string]trust.Root{"zero": {}, "sigstore": trust.Embedded()} {
		c, err := evidence.Check(parse(t, seal(t, s, statement())), root, []digest.Digest{image}, now)
		t.Log(name)
		refused(t, c, err, reason.SignatureUnknownKey)
	}
}

func TestCheckRefuses(t *testing.T) {
	s := newP256(t)
	root := trust.Root{}.With(s.key(t))
	subject := func(set object) object {
		st := statement()
		st["subject"] = []any{object{"name": "x", "digest": set}}
		return st
	}

	for name, c := range map[string]struct {
		bundle any
		code   reason.Code
	}{
		"message":      {sealMessage(t, s, []byte("image")), reason.EnvelopeNotDSSE},
		"other-key":    {seal(t, newP256(t), statement()), reason.SignatureUnknownKey},
		"wrong-prefix": {seal(t, s, subject(object{"sha512": image.Encoded()})), reason.SubjectUnusable},
	} {
		t.Run(name, func(t *testing.T) {
			claim, err := evidence.Check(parse(t, c.bundle), root, []digest.Digest{image}, now)
			refused(t, claim, err, c.code)
		})
	}
	t.Run("zero", func(t *testing.T) {
		claim, err := evidence.Check(evidence.Envelope{}, root, []digest.Digest{image}, now)
		refused(t, claim, err, reason.EnvelopeMalformed)
		claim, err = evidence.CheckBlob(evidence.Envelope{}, root, nil, now)
		refused(t, claim, err, reason.EnvelopeMalformed)
	})
	t.Run("no subject wanted", func(t *testing.T) {
		st := statement()
		st["subject"] = append(st["subject"].([]any), object{"digest": object{"gitCommit": "0a"}})
		for _, wanted := range [][]digest.Digest{nil, {""}, {"sha256:"}, {"nonsense"}} {
			claim, err := evidence.Check(parse(t, seal(t, s, st)), root, wanted, now)
			refused(t, claim, err, reason.SubjectMismatch)
		}
	})
}

func TestSubjects(t *testing.T) {
	s := newP256(t)
	root := trust.Root{}.With(s.key(t))
	index := digest.FromString("index")
	st := statement()
	st["subject"] = []any{
		object{"name": "other", "digest": object{"sha256": digest.FromString("other").Encoded()}},
		object{"name": "git", "digest": object{"gitCommit": strings.Repeat("0a", 20)}},
		object{"name": "index", "digest": object{"sha256": strings.ToUpper(index.Encoded()), "sha512": strings.Repeat("ab", 64)}},
		object{"name": "image", "digest": object{"sha256": image.Encoded()}},
	}
	e := parse(t, seal(t, s, st))
	for _, c := range []struct {
		wanted []digest.Digest
		want   digest.Digest
	}{
		{[]digest.Digest{image, index}, image}, // the caller's order, not the statement's
		{[]digest.Digest{index, image}, index},
		{[]digest.Digest{digest.FromString("absent"), index}, index},
	} {
		claim, err := evidence.Check(e, root, c.wanted, now)
		if err != nil || claim.Subject() != c.want {
			t.Errorf("%v: %s %v, want %s", c.wanted, claim.Subject(), err, c.want)
		}
		// That it speaks of others too must be visible.
		if got := claim.Subjects(); len(got) != 4 || got[0].Name != "other" || got[1].SHA256 != "" || got[2].SHA256 != index {
			t.Errorf("subjects %v", got)
		}
	}
}

// cosign v3 writes attestations as Statement v0.1.
func TestStatementV01(t *testing.T) {
	s := newP256(t)
	e := parse(t, seal(t, s, set(statement(), evidence.StatementV01, "_type")))
	c, err := evidence.Check(e, trust.Root{}.With(s.key(t)), []digest.Digest{image}, now)
	if err != nil || c.StatementType() != evidence.StatementV01 {
		t.Errorf("%q: %v", c.StatementType(), err)
	}
}

func TestCheckBlobRefuses(t *testing.T) {
	s := newP256(t)
	blob := []byte("image")
	root := trust.Root{}.With(s.key(t))
	lied := sealMessage(t, s, blob)
	lied["messageSignature"].(object)["messageDigest"].(object)["digest"] = make([]byte, 32)
	for name, c := range map[string]struct {
		bundle any
		blob   string
		code   reason.Code
	}{
		"other bytes":     {sealMessage(t, s, blob), "imagE", reason.SubjectMismatch},
		"digest lies":     {lied, "image", reason.SubjectMismatch},
		"other key":       {sealMessage(t, newP256(t), blob), "image", reason.SignatureUnknownKey},
		"statement":       {seal(t, s, statement()), "imagE", reason.SubjectMismatch},
		"right statement": {seal(t, s, statement()), "image", ""},
		"empty message":   {sealMessage(t, s, nil), "", ""},
		"right message":   {sealMessage(t, s, blob), "image", ""},
	} {
		t.Run(name, func(t *testing.T) {
			claim, err := evidence.CheckBlob(parse(t, c.bundle), root, []byte(c.blob), now)
			if code(err) != c.code || (err == nil) == claim.Zero() {
				t.Errorf("%v, want %q", err, c.code)
			}
		})
	}
}

// One Envelope and one Root serve several checks at once; the embedded root is
// parsed by whoever needs it first.
func TestConcurrentChecks(t *testing.T) {
	s, k := verifytest.New(t), newP256(t)
	st := encode(t, statement())
	key, cert := parse(t, seal(t, k, statement())), parse(t, s.Attest(t, workflow, st, verifytest.Options{}))
	root, embedded := rootOf(t, s.Root()).With(k.key(t)), trust.Embedded()
	done := make(chan error)
	for range 4 {
		go func() {
			_, err := evidence.Check(key, root, []digest.Digest{image}, now)
			done <- err
		}()
		go func() {
			_, err := evidence.Check(cert, root, []digest.Digest{image}, now)
			done <- err
		}()
		go func() {
			if _, err := evidence.Check(cert, embedded, []digest.Digest{image}, now); code(err) != reason.LogUnknown {
				done <- err
				return
			}
			done <- nil
		}()
	}
	for range 12 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
