package evidence_test

import (
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/trust"
)

// unread demands that a bundle is refused as it is read.
func unread(t *testing.T, v any, want reason.Code) {
	t.Helper()
	raw, ok := v.([]byte)
	if !ok {
		raw = encode(t, v)
	}
	e, err := evidence.Parse(raw)
	if code(err) != want || !e.Zero() {
		t.Errorf("%v, want %s", err, want)
	}
}

// about is a statement with one subject of these digests; nil is a null subject set.
func about(digests any) object {
	return set(statement(), []any{object{"name": "x", "digest": digests}}, "subject")
}

// TestN23PayloadTypeChanged: the payload type of an envelope is not that of an
// in-toto statement, be it nearly. What is signed says another.
func TestN23PayloadTypeChanged(t *testing.T) {
	s := newP256(t)
	for _, payloadType := range []string{"", "application/json", "application/vnd.in-toto+JSON", "application/vnd.in-toto+json ", "application/vnd.in-toto+json; v=1", "text/plain"} {
		unread(t, set(seal(t, s, statement()), payloadType, "dsseEnvelope", "payloadType"), reason.PayloadTypeWrong)
	}
}

// TestN23SignedWithoutPAE: the signature covers the payload alone, or the payload
// under another type, and not the pre-authentication encoding (DSSE protocol v1.0.2).
func TestN23SignedWithoutPAE(t *testing.T) {
	s := newP256(t)
	payload := encode(t, statement())
	for name, message := range map[string][]byte{
		"payload":        payload,
		"other type":     pae("application/json", payload),
		"other version":  []byte(strings.Replace(string(pae(evidence.PayloadType, payload)), "DSSEv1", "DSSEv2", 1)),
		"without length": []byte("DSSEv1 " + evidence.PayloadType + " " + string(payload)),
	} {
		t.Run(name, func(t *testing.T) {
			b := sealRaw(t, s, payload)
			b["dsseEnvelope"].(object)["signatures"] = []any{object{"sig": s.sign(t, message)}}
			c, err := evidence.Check(parse(t, b), trust.Root{}.With(s.key(t)), []digest.Digest{image}, now)
			refused(t, c, err, reason.SignatureInvalid)
		})
	}
}

// TestN24SignatureCount: a DSSE envelope without a signature, or with two good
// ones: which of them was meant is nobody's to choose.
func TestN24SignatureCount(t *testing.T) {
	s := newP256(t)
	for name, n := range map[string]int{"none": 0, "two": 2, "many": 50} {
		t.Run(name, func(t *testing.T) {
			b := seal(t, s, statement())
			one := b["dsseEnvelope"].(object)["signatures"].([]any)[0]
			all := make([]any, n)
			for i := range all {
				all[i] = one
			}
			unread(t, set(b, all, "dsseEnvelope", "signatures"), reason.EnvelopeSignatureCount)
		})
	}
	unread(t, set(seal(t, s, statement()), nil, "dsseEnvelope", "signatures"), reason.EnvelopeSignatureCount)
}

// TestN27BundleAmbiguous: a bundle that two parsers could read differently: cut
// short, followed by more, with a member twice or in another spelling, or of a
// version that is not known.
func TestN27BundleAmbiguous(t *testing.T) {
	s := newP256(t)
	good := func() object { return seal(t, s, statement()) }
	text := string(encode(t, good()))
	edit := func(old, new string) []byte { return []byte(strings.Replace(text, old, new, 1)) }
	for name, c := range map[string]struct {
		raw  any
		code reason.Code
	}{
		"truncated":      {[]byte(text[:len(text)-2]), reason.EnvelopeMalformed},
		"trailing":       {[]byte(text + "{}"), reason.EnvelopeMalformed},
		"duplicate":      {edit(`"mediaType"`, `"mediaType":"x","mediaType"`), reason.EnvelopeDuplicateMember},
		"duplicate-deep": {edit(`"payloadType"`, `"payloadType":"x","payloadType"`), reason.EnvelopeDuplicateMember},
		"escaped":        {edit(`"mediaType"`, `"media\u0054ype":"x","mediaType"`), reason.EnvelopeDuplicateMember},
		"snake":          {edit(`"mediaType"`, `"media_type":"x","mediaType"`), reason.EnvelopeMalformed},
		"case":           {edit(`"mediaType"`, `"MediaType"`), reason.EnvelopeMalformed},
		"version":        {set(good(), "application/vnd.dev.sigstore.bundle.v0.4+json", "mediaType"), reason.EnvelopeUnknownVersion},
		"version-near":   {set(good(), "application/vnd.dev.sigstore.bundle.v0.3.1+json", "mediaType"), reason.EnvelopeUnknownVersion},
	} {
		t.Run(name, func(t *testing.T) { unread(t, c.raw, c.code) })
	}
	for cut := 1; cut < len(text); cut += 7 { // wherever it ends too early
		unread(t, []byte(text[:cut]), reason.EnvelopeMalformed)
	}
}

// TestN27StatementAmbiguous: the same for the statement that was signed, at any
// depth, and for the names of its digests.
func TestN27StatementAmbiguous(t *testing.T) {
	s := newP256(t)
	payload := string(encode(t, statement()))
	for name, change := range map[string][2]string{
		"statement-duplicate":  {`"subject"`, `"subject":[],"subject"`},
		"predicate-duplicate":  {`{"n":1}`, `{"a":{"n":1,"n":2}}`},
		"type-duplicate":       {`"predicateType"`, `"predicateType":"x","predicateType"`},
		"statement-case":       {`"subject"`, `"Subject":[],"subject"`},
		"statement-only-case":  {`"subject"`, `"Subject"`},
		"digest-case":          {`"sha256"`, `"SHA256"`},
		"digests-case":         {`"digest"`, `"Digest"`},
		"digests-case-besides": {`"digest"`, `"DIGEST":{"sha256":"` + strings.Repeat("0", 64) + `"},"digest"`},
		"name-case":            {`"name"`, `"Name"`},
		"trailing":             {"", "{}"},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(payload, change[0], change[1], 1)
			if name == "trailing" {
				text = payload + change[1]
			}
			if text == payload {
				t.Fatal("nothing was changed")
			}
			unread(t, sealRaw(t, s, []byte(text)), reason.StatementMalformed)
		})
	}
}

// TestN28OtherSubject: the right signature, of another image: alone, and one of
// many of them.
func TestN28OtherSubject(t *testing.T) {
	s := newP256(t)
	root := trust.Root{}.With(s.key(t))
	one := object{"sha256": digest.FromString("other").Encoded()}
	several := statement()
	several["subject"] = []any{object{"digest": one}, object{"name": image.String(), "digest": object{"sha256": digest.FromString("third").Encoded()}}}
	for name, st := range map[string]object{"one": about(one), "several": several} {
		t.Run(name, func(t *testing.T) {
			c, err := evidence.Check(parse(t, seal(t, s, st)), root, []digest.Digest{image}, now)
			refused(t, c, err, reason.SubjectMismatch)
		})
	}
}

// TestN30NoSHA256: a subject is named by sha512 or git alone, or by nothing, or
// there is none: no digest that an image has.
func TestN30NoSHA256(t *testing.T) {
	s := newP256(t)
	root := trust.Root{}.With(s.key(t))
	for name, st := range map[string]object{
		"sha512":      about(object{"sha512": strings.Repeat("ab", 64)}),
		"sha512-lies": about(object{"sha512": image.Encoded()}),
		"git":         about(object{"gitCommit": strings.Repeat("0a", 20)}),
		"empty":       about(object{}),
		"null":        about(nil),
		"null-member": set(statement(), []any{nil}, "subject"),
		"none":        set(statement(), []any{}, "subject"),
	} {
		t.Run(name, func(t *testing.T) {
			c, err := evidence.Check(parse(t, seal(t, s, st)), root, []digest.Digest{image}, now)
			refused(t, c, err, reason.SubjectUnusable)
		})
	}
}
