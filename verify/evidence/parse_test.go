package evidence_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/trust"
)

func TestParse(t *testing.T) {
	s := newP256(t)
	raw := encode(t, seal(t, s, statement()))
	e := parse(t, raw)
	if e.Zero() || e.Digest() != digest.FromBytes(raw) || e.PredicateType() != evidence.PredicateCosignSign {
		t.Errorf("%s %s", e.Digest(), e.PredicateType())
	}
	p := e.Preview()
	if p.KeyHint != s.hint(t) || p.StatementType != evidence.StatementV1 || len(p.Subjects) != 1 || p.Subjects[0].SHA256 != image || p.Signer != (evidence.Signer{}) {
		t.Errorf("previews %+v", p)
	}
	for _, mediaType := range []string{
		"application/vnd.dev.sigstore.bundle+json;version=0.1",
		"application/vnd.dev.sigstore.bundle+json;version=0.2",
		"application/vnd.dev.sigstore.bundle+json;version=0.3",
	} {
		e := parse(t, set(seal(t, s, statement()), mediaType, "mediaType"))
		if _, err := evidence.Check(e, trust.Root{}.With(s.key(t)), []digest.Digest{image}, now); err != nil {
			t.Errorf("%s: %v", mediaType, err)
		}
	}
	if p := (evidence.Envelope{}).Preview(); p.MediaType != "" {
		t.Error("the zero envelope says something")
	}
	if e := parse(t, sealMessage(t, s, []byte("x"))); e.PredicateType() != "" || e.Preview().StatementType != "" {
		t.Error("a bare message has a predicate")
	}
}

func TestParseRefuses(t *testing.T) {
	s := newP256(t)
	good := func() object { return seal(t, s, statement()) }
	text := string(encode(t, good()))
	payload := string(encode(t, statement()))
	material := func(m object) object { return set(good(), m, "verificationMaterial") }
	entry := object{"logIndex": "1", "logId": object{"keyId": []byte("x")}, "kindVersion": object{"kind": "dsse", "version": "0.0.1"}, "integratedTime": "1", "canonicalizedBody": []byte("{}")}
	rekord := set(clone(entry), object{"signedEntryTimestamp": "AA=="}, "inclusionPromise")
	set(rekord, object{"kind": "rekord", "version": "0.0.1"}, "kindVersion")
	set(rekord, []byte(`{"apiVersion":"0.0.1","kind":"rekord","spec":{}}`), "canonicalizedBody")
	logged := func(mediaType string, e object) object {
		return set(material(object{"publicKey": object{}, "tlogEntries": []any{e}}), mediaType, "mediaType")
	}
	statementOf := func(raw string) object { return sealRaw(t, s, []byte(raw)) }
	many := func(n, digests int) object {
		subjects, st := make([]any, n), statement()
		sums := object{"sha256": image.Encoded()}
		for i := range digests - 1 {
			sums["x"+strings.Repeat("y", i)] = "00"
		}
		for i := range subjects {
			subjects[i] = object{"digest": sums}
		}
		st["subject"] = subjects
		return seal(t, s, st)
	}
	for name, c := range map[string]struct {
		raw  any
		code reason.Code
	}{
		"empty":          {[]byte{}, reason.EnvelopeMalformed},
		"no-version":     {set(good(), nil, "mediaType"), reason.EnvelopeUnknownVersion},
		"unknown-member": {set(good(), 1, "extra"), reason.EnvelopeMalformed},
		"not-utf8":       {append([]byte(`{"mediaType":"`), 0xff, '"', '}'), reason.EnvelopeMalformed},
		"deep":           {[]byte(strings.Repeat("[", 300) + strings.Repeat("]", 300)), reason.EnvelopeMalformed},
		"bad-base64":     {[]byte(strings.Replace(text, `"sig":"`, `"sig":"!`, 1)), reason.EnvelopeMalformed},
		"no-material":    {set(good(), nil, "verificationMaterial"), reason.EnvelopeMalformed},
		"empty-material": {material(object{}), reason.EnvelopeMalformed},
		"no-content":     {set(good(), nil, "dsseEnvelope"), reason.EnvelopeMalformed},
		"both-contents":  {set(good(), sealMessage(t, s, nil)["messageSignature"], "messageSignature"), reason.EnvelopeMalformed},
		"no-digest":      {set(sealMessage(t, s, nil), nil, "messageSignature", "messageDigest"), reason.EnvelopeMalformed},
		"too-large":      {append([]byte(text), bytes.Repeat([]byte(" "), evidence.MaxSize)...), reason.EnvelopeTooLarge},
		"certificate":    {material(object{"certificate": object{"rawBytes": []byte("x")}}), reason.EnvelopeCertificate},
		"empty-chain":    {material(object{"x509CertificateChain": object{}}), reason.EnvelopeCertificate},
		"proof-absent":   {logged(evidence.MediaType, entry), reason.LogProofAbsent},
		"promise-absent": {logged("application/vnd.dev.sigstore.bundle+json;version=0.1", entry), reason.LogProofAbsent},
		"entry":          {logged("application/vnd.dev.sigstore.bundle+json;version=0.1", set(clone(entry), object{"signedEntryTimestamp": "AA=="}, "inclusionPromise")), reason.LogEntryMalformed},
		"entry-kind":     {logged("application/vnd.dev.sigstore.bundle+json;version=0.1", rekord), reason.LogEntryMalformed},
		"entry-lies":     {logged("application/vnd.dev.sigstore.bundle+json;version=0.1", set(clone(rekord), object{"kind": "dsse", "version": "0.0.1"}, "kindVersion")), reason.LogEntryMalformed},
		"old-key-hinted": {material(object{"publicKey": object{"hint": "x", "rawBytes": s.key(t).PEM(), "keyDetails": "PKIX_ECDSA_P256_SHA_256"}}), reason.EnvelopeMalformed},
		"old-key-broken": {material(object{"publicKey": object{"rawBytes": []byte("x"), "keyDetails": "PKIX_ECDSA_P256_SHA_256"}}), reason.EnvelopeMalformed},

		"statement-deep":       {statementOf(strings.Replace(payload, `{"n":1}`, strings.Repeat("[", 300)+strings.Repeat("]", 300), 1)), reason.StatementMalformed},
		"statement-trailing":   {statementOf(payload + "{}"), reason.StatementMalformed},
		"statement-empty":      {statementOf(""), reason.StatementMalformed},
		"statement-null":       {statementOf("null"), reason.StatementMalformed},
		"statement-list":       {statementOf("[]"), reason.StatementMalformed},
		"statement-type":       {seal(t, s, set(statement(), "https://in-toto.io/Statement/v2", "_type")), reason.StatementType},
		"no-statement-type":    {seal(t, s, set(statement(), nil, "_type")), reason.StatementMalformed},
		"no-subject":           {seal(t, s, set(statement(), nil, "subject")), reason.StatementMalformed},
		"no-predicate-type":    {seal(t, s, set(statement(), nil, "predicateType")), reason.StatementMalformed},
		"empty-predicate-type": {seal(t, s, set(statement(), "", "predicateType")), reason.StatementMalformed},
		"subjects":             {many(1025, 1), reason.StatementMalformed},
		"digests":              {many(1, 33), reason.StatementMalformed},
		"short-digest":         {statementOf(strings.Replace(payload, image.Encoded(), "abcd", 1)), reason.StatementMalformed},
		"digest-not-hex":       {statementOf(strings.Replace(payload, `{"sha256"`, `{"dirHash":"h1:xyz","sha256"`, 1)), reason.StatementMalformed},
		"digest-not-text":      {statementOf(strings.Replace(payload, `"`+image.Encoded()+`"`, "1", 1)), reason.StatementMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			raw, ok := c.raw.([]byte)
			if !ok {
				raw = encode(t, c.raw)
			}
			e, err := evidence.Parse(raw)
			if code(err) != c.code || !e.Zero() {
				t.Errorf("%v, want %s", err, c.code)
			}
		})
	}
	parse(t, many(1024, 32)) // the limits themselves are fine
}

// A bare public key is smuggled in where a certificate belongs, in every place
// that can hold one: read leniently, it is a signer without an identity. A log
// entry by such a key is no certificate either.
func TestN15KeyInPlaceOfCertificate(t *testing.T) {
	s := newP256(t)
	material := func(m object) []byte { return encode(t, set(seal(t, s, statement()), m, "verificationMaterial")) }
	for name, raw := range map[string][]byte{
		"key":   material(object{"certificate": object{"rawBytes": spki(t, s)}}),
		"pem":   material(object{"certificate": object{"rawBytes": s.key(t).PEM()}}),
		"chain": material(object{"x509CertificateChain": object{"certificates": []any{object{"rawBytes": spki(t, s)}}}}),
	} {
		e, err := evidence.Parse(raw)
		if code(err) != reason.EnvelopeCertificateIsKey || !e.Zero() {
			t.Errorf("%s: %v, want %s", name, err, reason.EnvelopeCertificateIsKey)
		}
	}
	x := newStage(t)
	try(t, map[string]trial{
		"logged-key":  {bare(t, x.attest(t, options{})), x.root, reason.SignatureUnknownKey},
		"with-a-key":  {bare(t, x.attest(t, options{})), x.keys, reason.SignatureInvalid},
		"no-material": {set(x.attest(t, options{}), nil, "verificationMaterial", "certificate"), x.keys, reason.EnvelopeMalformed},
	})
}

// What an envelope says is printed; it must not speak to the terminal.
func TestBrief(t *testing.T) {
	s := newP256(t)
	e := seal(t, s, statement())
	e["dsseEnvelope"].(object)["signatures"].([]any)[0].(object)["sig"] = "\x1b[31m\n\u009b" + strings.Repeat("x", 1<<16)
	_, err := evidence.Parse(encode(t, e))
	if err == nil || len(err.Error()) > 500 || strings.ContainsAny(err.Error(), "\x1b\n\u009b") {
		t.Errorf("%d bytes: %.300q", len(err.Error()), err)
	}
}

// A predicate that is absent or null is no predicate, and one that is text is
// text: a rule that reads it decides.
func TestPredicate(t *testing.T) {
	s := newP256(t)
	for text, want := range map[string]string{`null`: "", `"SPDXVersion: SPDX-2.3"`: `"SPDXVersion: SPDX-2.3"`, `{ "a" : 1.0 }`: `{ "a" : 1.0 }`} {
		payload := strings.Replace(string(encode(t, statement())), `{"n":1}`, text, 1)
		e := parse(t, sealRaw(t, s, []byte(payload)))
		c, err := evidence.Check(e, trust.Root{}.With(s.key(t)), []digest.Digest{image}, now)
		if err != nil || string(c.Predicate()) != want {
			t.Errorf("%s: %q %v", text, c.Predicate(), err)
		}
		if p := c.Predicate(); len(p) > 0 {
			p[0] = 'x'
			if string(c.Predicate()) != want {
				t.Error("the caller can change a claim")
			}
		}
	}
}

// FuzzParse: whatever is read keeps the digest of its bytes, means the same in the
// form that Sigstore's own library writes, and is proved to nobody by a Root that
// believes nobody. The bytes are not written again: JSON has many forms, and it is the
// one that was found that is kept.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"publicKey":{"hint":"x"}},"dsseEnvelope":{"payload":"e30=","payloadType":"application/vnd.in-toto+json","signatures":[{"sig":"AA=="}]}}`))
	f.Add([]byte(`{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"publicKey":{"rawBytes":"AA==","keyDetails":"x"}},"messageSignature":{"messageDigest":{"algorithm":"SHA2_256","digest":"AA=="},"signature":"AA=="}}`))
	f.Add([]byte(`{"mediaType":"application/vnd.dev.sigstore.bundle+json;version=0.2","verificationMaterial":{"x509CertificateChain":{"certificates":[{"rawBytes":"AA=="}]},"tlogEntries":[{"logIndex":"1","inclusionProof":{}}]}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		e, err := evidence.Parse(raw)
		if err != nil {
			if e.Zero() && !strings.HasPrefix(string(code(err)), "no reason") {
				return
			}
			t.Fatalf("refused without a reason, or with an envelope: %v", err)
		}
		if e.Digest() != digest.FromBytes(raw) {
			t.Fatalf("%s is not the digest of what was read", e.Digest())
		}
		var b protobundle.Bundle
		if protojson.Unmarshal(raw, &b) == nil { // else a layer of cosign's: see FuzzLayer
			again, err := protojson.Marshal(&b)
			if err != nil {
				t.Fatal(err)
			}
			if back, err := evidence.Parse(again); err != nil || !reflect.DeepEqual(back.Preview(), e.Preview()) {
				t.Fatalf("%+v, and written again %+v, %v:\n%s", e.Preview(), back.Preview(), err, again)
			}
		}
		if c, err := evidence.Check(e, trust.Root{}, []digest.Digest{image}, now); err == nil || !c.Zero() {
			t.Fatal("proved to the Root that believes nobody")
		}
	})
}

// FuzzStatement signs arbitrary payloads: whatever is accepted must mean the
// same to a lenient decoder. A statement is never written again: its signature is
// over the bytes that were read.
func FuzzStatement(f *testing.F) {
	f.Add([]byte(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"a","digest":{"sha256":"6105d6cc76af400325e94d588ce511be5bfdbb73b437dc51eca43917d7a43e3d"}}],"predicateType":"t","predicate":{}}`))
	f.Add([]byte(`{"_type":"https://in-toto.io/Statement/v0.1","subject":[],"predicateType":"t"}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		raw, err := json.Marshal(object{
			"mediaType": evidence.MediaType, "verificationMaterial": object{"publicKey": object{}},
			"dsseEnvelope": object{"payload": payload, "payloadType": evidence.PayloadType, "signatures": []any{object{"sig": "AA=="}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		e, err := evidence.Parse(raw)
		if err != nil {
			return
		}
		var lenient struct {
			Type          string `json:"_type"`
			PredicateType string `json:"predicateType"`
			Subject       []struct {
				Digest map[string]string `json:"digest"`
			} `json:"subject"`
		}
		if err := json.Unmarshal(payload, &lenient); err != nil {
			t.Fatalf("accepted what a lenient decoder refuses: %v", err)
		}
		p := e.Preview()
		if p.StatementType != lenient.Type || p.PredicateType != lenient.PredicateType || len(p.Subjects) != len(lenient.Subject) {
			t.Fatalf("reads %+v, a lenient decoder reads %+v", p, lenient)
		}
		for i, s := range p.Subjects {
			if s.SHA256 != "" && !strings.EqualFold(s.SHA256.Encoded(), lenient.Subject[i].Digest["sha256"]) {
				t.Fatalf("subject %d is %s, a lenient decoder reads %v", i, s.SHA256, lenient.Subject[i])
			}
		}
	})
}
