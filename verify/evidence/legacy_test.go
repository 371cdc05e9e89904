package evidence_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/trust"
	"github.com/ztlaunch/ztlaunch/verify/verifytest"
)

const (
	signatureNote   = "dev.cosignproject.cosign/signature"
	certificateNote = "dev.sigstore.cosign/certificate"
	chainNote       = "dev.sigstore.cosign/chain"
	rekorNote       = "dev.sigstore.cosign/bundle"
	timestampNote   = "dev.sigstore.cosign/rfc3161timestamp"
)

// layerOf is the layer as the envelope that the store keeps.
func layerOf(t testing.TB, l evidence.Layer) []byte {
	t.Helper()
	raw, err := l.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// noted is a copy of a layer with an annotation changed.
func noted(l evidence.Layer, key, value string) evidence.Layer {
	l.Annotations = maps.Clone(l.Annotations)
	l.Annotations[key] = value
	return l
}

// saying is a copy of a layer with another payload.
func saying(l evidence.Layer, payload string) evidence.Layer {
	l.Payload = []byte(payload)
	return l
}

// TestLegacy proves what cosign 2 keeps: signatures and attestations, by
// certificate and by key, logged or not.
func TestLegacy(t *testing.T) {
	s, k := verifytest.New(t), verifytest.NewKey(t)
	key, err := trust.ParseKey(k.Public(t))
	if err != nil {
		t.Fatal(err)
	}
	payload := verifytest.Simple(t, image, map[string]any{"digest": "sha256:of-another", "critical": 1})
	spdx := verifytest.Statement(t, evidence.PredicateSPDX, object{"n": 1}, image.Encoded())
	keyless, keyed := rootOf(t, s.Root()), rootOf(t, s.Root()).With(key)
	byKey := evidence.Signer{Key: key.ID()}
	for name, c := range map[string]struct {
		layer     evidence.Layer
		root      trust.Root
		signer    evidence.Signer
		predicate string
		source    evidence.TimeSource
	}{
		"sig":            {s.Sign2(t, workflow, image, payload, verifytest.Options{}), keyless, workflow, evidence.PredicateCosignSign, evidence.TimeLog},
		"sig key logged": {s.SignKey2(t, k, image, payload, verifytest.Options{}), keyed, byKey, evidence.PredicateCosignSign, evidence.TimeLog},
		"sig key":        {k.Sign2(t, image, payload), trust.Root{}.With(key), byKey, evidence.PredicateCosignSign, evidence.TimeNone},
		"att":            {s.Attest2(t, workflow, image, spdx, verifytest.Options{}), keyless, workflow, evidence.PredicateSPDX, evidence.TimeLog},
		"att key":        {k.Attest2(t, image, spdx), trust.Root{}.With(key), byKey, evidence.PredicateSPDX, evidence.TimeNone},
	} {
		t.Run(name, func(t *testing.T) {
			raw := layerOf(t, c.layer)
			if !bytes.Equal(raw, layerOf(t, c.layer)) {
				t.Error("one layer gives two texts")
			}
			e := parse(t, raw)
			if p := e.Preview(); p.PredicateType != c.predicate || len(p.Subjects) != 1 || p.Subjects[0].SHA256 != image || c.signer.Keyless() && p.Signer != c.signer {
				t.Errorf("previews %+v", p)
			}
			claim, err := evidence.Check(e, c.root, []digest.Digest{other, image}, verifytest.Epoch().Add(time.Hour))
			if err != nil {
				t.Fatal(err)
			}
			at, source := claim.Time()
			if claim.Signer() != c.signer || claim.PredicateType() != c.predicate || claim.Subject() != image || !claim.Legacy() || claim.Envelope() != digest.FromBytes(raw) {
				t.Errorf("proves %+v", claim)
			}
			if source != c.source || source == evidence.TimeLog && !at.Equal(verifytest.Epoch()) || claim.Logged() != (source == evidence.TimeLog) {
				t.Errorf("at %v by %v", at, source)
			}
			if simple := c.predicate == evidence.PredicateCosignSign; simple != (claim.Predicate() == nil) || simple != (claim.StatementType() == "") {
				t.Errorf("says %s %q", claim.Predicate(), claim.StatementType())
			}
		})
	}
	if c, err := evidence.Check(parse(t, encode(t, seal(t, newP256(t), statement()))), trust.Root{}, []digest.Digest{image}, now); err == nil || c.Legacy() {
		t.Error("a bundle is a layer")
	}
}

var other = digest.FromString("other")

// TestLegacyRefuses spoils a layer of cosign 2 in each way.
func TestLegacyRefuses(t *testing.T) {
	s, stranger, k := verifytest.New(t), verifytest.New(t), verifytest.NewKey(t)
	key, err := trust.ParseKey(k.Public(t))
	if err != nil {
		t.Fatal(err)
	}
	payload := verifytest.Simple(t, image, nil)
	text := string(payload)
	good := s.Sign2(t, workflow, image, payload, verifytest.Options{})
	att := s.Attest2(t, workflow, image, verifytest.Statement(t, evidence.PredicateSPDX, nil, image.Encoded()), verifytest.Options{})
	signed := func(payload string) evidence.Layer {
		return s.Sign2(t, workflow, image, []byte(payload), verifytest.Options{})
	}
	rekor := func(l evidence.Layer, change func(set, entry object)) evidence.Layer {
		set := decode(t, []byte(l.Annotations[rekorNote]))
		change(set, set["Payload"].(object))
		return noted(l, rekorNote, string(encode(t, set)))
	}
	keyPEM := string(k.Public(t))
	wrap := func(change func(l object)) []byte {
		l := decode(t, layerOf(t, good))
		change(l)
		return encode(t, l)
	}
	for name, c := range map[string]struct {
		raw  []byte
		code reason.Code
	}{
		"unknown-member":   {wrap(func(l object) { l["extra"] = 1 }), reason.EnvelopeMalformed},
		"no-subject":       {wrap(func(l object) { delete(l, "subject") }), reason.EnvelopeMalformed},
		"traversal":        {wrap(func(l object) { l["subject"] = "sha256:../../x" }), reason.EnvelopeMalformed},
		"no-signature":     {layerOf(t, noted(good, signatureNote, "")), reason.LegacyLayerMalformed},
		"signature-base64": {layerOf(t, noted(good, signatureNote, "!")), reason.LegacyLayerMalformed},
		"other-layer":      {wrap(func(l object) { l["layerType"] = "application/spdx+json" }), reason.LegacyLayerMalformed},
		"att-no-dsse":      {layerOf(t, saying(att, text)), reason.LegacyLayerMalformed},
		"att-duplicate":    {layerOf(t, saying(att, strings.Replace(string(att.Payload), `{`, `{"payload":"e30=",`, 1))), reason.LegacyLayerMalformed},
		"att-two":          {layerOf(t, saying(att, strings.Replace(string(att.Payload), `"signatures":[`, `"signatures":[{"sig":"AA=="},`, 1))), reason.EnvelopeSignatureCount},
		"att-payload-type": {layerOf(t, saying(att, strings.Replace(string(att.Payload), evidence.PayloadType, "text/plain", 1))), reason.PayloadTypeWrong},

		"payload-duplicate": {layerOf(t, signed(strings.Replace(text, `"type"`, `"type":"x","type"`, 1))), reason.LegacyPayloadMalformed},
		"payload-case":      {layerOf(t, signed(strings.Replace(text, `"critical"`, `"Critical"`, 1))), reason.LegacyPayloadMalformed},
		"payload-trailing":  {layerOf(t, signed(text+"{}")), reason.LegacyPayloadMalformed},
		"payload-member":    {layerOf(t, signed(strings.Replace(text, `"type"`, `"also":1,"type"`, 1))), reason.LegacyPayloadMalformed},
		"payload-null":      {layerOf(t, signed(strings.Replace(text, `"`+string(image)+`"`, "null", 1))), reason.LegacyPayloadMalformed},
		"payload-statement": {layerOf(t, signed(string(encode(t, statement())))), reason.LegacyPayloadMalformed},
		"payload-type":      {layerOf(t, signed(strings.Replace(text, "cosign container", "atomic container", 1))), reason.LegacyPayloadType},
		"payload-sha512":    {layerOf(t, signed(strings.Replace(text, string(image), "sha512:00", 1))), reason.SubjectUnusable},
		"payload-changed":   {layerOf(t, saying(good, strings.Replace(text, "registry.example", "registry.evil", 1))), reason.LogMismatch},

		"certificate-none": {layerOf(t, noted(good, certificateNote, "-----BEGIN CERTIFICATE-----")), reason.EnvelopeCertificate},
		"certificate-two":  {layerOf(t, noted(good, certificateNote, strings.Repeat(good.Annotations[certificateNote], 2))), reason.EnvelopeCertificate},
		"certificate-text": {layerOf(t, noted(good, certificateNote, "text\n"+good.Annotations[certificateNote])), reason.EnvelopeCertificate},
		"certificate-der":  {layerOf(t, noted(good, certificateNote, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})))), reason.EnvelopeCertificate},
		"certificate-key":  {layerOf(t, noted(good, certificateNote, keyPEM)), reason.EnvelopeCertificateIsKey},
		"chain-key":        {layerOf(t, noted(good, chainNote, keyPEM)), reason.EnvelopeCertificateIsKey},
		"chain-text":       {layerOf(t, noted(good, chainNote, "text")), reason.EnvelopeCertificate},
		"other-certificate": {layerOf(t, noted(good, certificateNote, stranger.Sign2(t, workflow, image, payload, verifytest.Options{}).Annotations[certificateNote])),
			reason.LogMismatch},
		"other-sigstore": {layerOf(t, stranger.Sign2(t, workflow, image, payload, verifytest.Options{})), reason.LogUnknown},
		"expired":        {layerOf(t, s.Sign2(t, workflow, image, payload, verifytest.Options{IssuedAt: verifytest.Epoch().Add(-time.Hour)})), reason.CertificateExpired},

		"rekor-none":      {layerOf(t, noted(good, rekorNote, "")), reason.LogAbsent},
		"rekor-text":      {layerOf(t, noted(good, rekorNote, "x")), reason.LegacyLayerMalformed},
		"rekor-member":    {layerOf(t, rekor(good, func(set, _ object) { set["Verified"] = true })), reason.LegacyLayerMalformed},
		"rekor-duplicate": {layerOf(t, noted(good, rekorNote, strings.Replace(good.Annotations[rekorNote], `"body"`, `"body":"e30=","body"`, 1))), reason.LegacyLayerMalformed},
		"rekor-unsigned":  {layerOf(t, rekor(good, func(set, _ object) { delete(set, "SignedEntryTimestamp") })), reason.LegacyLayerMalformed},
		"rekor-id":        {layerOf(t, rekor(good, func(_, e object) { e["logID"] = "x" })), reason.LegacyLayerMalformed},
		"rekor-body":      {layerOf(t, rekor(good, func(_, e object) { e["body"] = []byte("x") })), reason.LegacyLayerMalformed},
		"rekor-kind":      {layerOf(t, rekor(good, func(_, e object) { e["body"] = []byte(`{"apiVersion":"0.0.1","kind":"rekord","spec":{}}`) })), reason.LogEntryMalformed},
		"rekor-intoto-1":  {layerOf(t, rekor(att, func(_, e object) { e["body"] = []byte(`{"apiVersion":"0.0.1","kind":"intoto","spec":{}}`) })), reason.LogEntryMalformed},
		"stamp-text":      {layerOf(t, noted(good, timestampNote, "x")), reason.LegacyLayerMalformed},
		"stamp-empty":     {layerOf(t, noted(good, timestampNote, `{"SignedRFC3161Timestamp":""}`)), reason.LegacyLayerMalformed},
		"key-unknown":     {layerOf(t, verifytest.NewKey(t).Sign2(t, image, payload)), reason.SignatureInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := evidence.Parse(c.raw)
			if err == nil {
				_, err = evidence.Check(e, rootOf(t, s.Root()).With(key), []digest.Digest{image}, verifytest.Epoch().Add(time.Hour))
			}
			if code(err) != c.code {
				t.Errorf("%v, want %s", err, c.code)
			}
		})
	}
}

// TestN02LegacyPromiseForged: a layer of cosign 2 claims to be logged: the promise in the
// annotation is another log's, of another time, or nobody's.
func TestN02LegacyPromiseForged(t *testing.T) {
	s, stranger, k := verifytest.New(t), verifytest.New(t), verifytest.NewKey(t)
	key, err := trust.ParseKey(k.Public(t))
	if err != nil {
		t.Fatal(err)
	}
	payload := verifytest.Simple(t, image, nil)
	set := func(l evidence.Layer) object { return decode(t, []byte(l.Annotations[rekorNote])) }
	for name, change := range map[string]func(set, foreign object){
		"another log's": func(set, foreign object) { set["SignedEntryTimestamp"] = foreign["SignedEntryTimestamp"] },
		"later":         func(set, _ object) { set["Payload"].(object)["integratedTime"] = json.Number("1768478401") },
		"elsewhere":     func(set, _ object) { set["Payload"].(object)["logIndex"] = json.Number("2") },
		"nobody's":      func(set, _ object) { set["SignedEntryTimestamp"] = []byte("forged") },
	} {
		for kind, sign := range map[string]func(*verifytest.Sigstore) evidence.Layer{
			"keyless": func(s *verifytest.Sigstore) evidence.Layer {
				return s.Sign2(t, workflow, image, payload, verifytest.Options{})
			},
			"key": func(s *verifytest.Sigstore) evidence.Layer {
				return s.SignKey2(t, k, image, payload, verifytest.Options{})
			},
		} {
			l := sign(s)
			forged := set(l)
			change(forged, set(sign(stranger)))
			_, err := evidence.Check(parse(t, layerOf(t, noted(l, rekorNote, string(encode(t, forged))))), rootOf(t, s.Root()).With(key), []digest.Digest{image}, verifytest.Epoch().Add(time.Hour))
			if code(err) != reason.LogPromiseInvalid {
				t.Errorf("%s, %s: %v", name, kind, err)
			}
		}
	}
}

// TestN03LegacyEntryOfAnother: a layer of cosign 2 has a right promise of a log for an entry that is
// not of this signature: by the same key or certificate, of another payload or of
// another signature over the same.
func TestN03LegacyEntryOfAnother(t *testing.T) {
	s, k := verifytest.New(t), verifytest.NewKey(t)
	key, err := trust.ParseKey(k.Public(t))
	if err != nil {
		t.Fatal(err)
	}
	payload, elsewhere := verifytest.Simple(t, image, nil), verifytest.Simple(t, other, nil)
	statement := verifytest.Statement(t, evidence.PredicateSPDX, nil, image.Encoded())
	for name, pair := range map[string][2]evidence.Layer{
		"key, other payload":       {s.SignKey2(t, k, image, payload, verifytest.Options{}), s.SignKey2(t, k, image, elsewhere, verifytest.Options{})},
		"key, other signature":     {s.SignKey2(t, k, image, payload, verifytest.Options{}), s.SignKey2(t, k, image, payload, verifytest.Options{})},
		"keyless, other signature": {s.Sign2(t, workflow, image, payload, verifytest.Options{}), s.Sign2(t, workflow, image, payload, verifytest.Options{})},
		"an attestation's":         {s.Sign2(t, workflow, image, payload, verifytest.Options{}), s.Attest2(t, workflow, image, statement, verifytest.Options{})},
		"a signature's":            {s.Attest2(t, workflow, image, statement, verifytest.Options{}), s.Sign2(t, workflow, image, payload, verifytest.Options{})},
	} {
		l := noted(pair[0], rekorNote, pair[1].Annotations[rekorNote])
		_, err := evidence.Check(parse(t, layerOf(t, l)), rootOf(t, s.Root()).With(key), []digest.Digest{image}, verifytest.Epoch().Add(time.Hour))
		if code(err) != reason.LogMismatch {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestN28LegacyOtherSubject: a right signature of cosign 2 lies at another image's
// tag, or is asked about another image.
func TestN28LegacyOtherSubject(t *testing.T) {
	k := verifytest.NewKey(t)
	key, err := trust.ParseKey(k.Public(t))
	if err != nil {
		t.Fatal(err)
	}
	about := verifytest.Simple(t, image, nil)
	statement := verifytest.Statement(t, evidence.PredicateSPDX, nil, image.Encoded())
	for name, c := range map[string]struct {
		layer evidence.Layer
		asked []digest.Digest
	}{
		"moved":              {k.Sign2(t, other, about), []digest.Digest{other}},
		"moved, and asked":   {k.Sign2(t, other, about), []digest.Digest{other, image}},
		"not asked":          {k.Sign2(t, image, about), []digest.Digest{other}},
		"attestation, moved": {k.Attest2(t, other, statement), []digest.Digest{other, image}},
	} {
		_, err := evidence.Check(parse(t, layerOf(t, c.layer)), trust.Root{}.With(key), c.asked, now)
		if code(err) != reason.SubjectMismatch {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestN52LegacyAnnotations: everything about a layer of cosign 2 that nobody signed is
// changed, and what was signed and is optional: the claim stays the same.
func TestN52LegacyAnnotations(t *testing.T) {
	k := verifytest.NewKey(t)
	key, err := trust.ParseKey(k.Public(t))
	if err != nil {
		t.Fatal(err)
	}
	for name, l := range map[string]evidence.Layer{
		"annotations": noted(noted(k.Sign2(t, image, verifytest.Simple(t, image, nil)), "predicateType", evidence.PredicateSLSAProvenanceV1), "dev.sigstore.cosign/signer", "release"),
		"optional": k.Sign2(t, image, verifytest.Simple(t, image, map[string]any{"predicateType": evidence.PredicateSLSAProvenanceV1,
			"critical": object{"image": object{"docker-manifest-digest": other}}, "subject": other})),
		// A certificate that the key's signature does not need proves nothing of its own.
		"chain": noted(k.Sign2(t, image, verifytest.Simple(t, image, nil)), chainNote, "of nobody"),
	} {
		c, err := evidence.Check(parse(t, layerOf(t, l)), trust.Root{}.With(key), []digest.Digest{other, image}, now)
		if err != nil || c.PredicateType() != evidence.PredicateCosignSign || c.Subject() != image || c.Predicate() != nil || c.Signer().Key != key.ID() {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
		_, err = evidence.Check(parse(t, layerOf(t, l)), trust.Root{}.With(key), []digest.Digest{other}, now)
		if code(err) != reason.SubjectMismatch {
			t.Errorf("%s, about another: %v", name, err)
		}
	}
}

// FuzzLayer: what is read as a layer names a digest, and is proved to nobody.
func FuzzLayer(f *testing.F) {
	payload := `{"critical":{"identity":{"docker-reference":"a"},"image":{"docker-manifest-digest":"` + string(image) + `"},"type":"cosign container image signature"},"optional":null}`
	f.Add(evidence.SimpleSigningType, []byte(payload), "AA==", "", `{"SignedEntryTimestamp":"AA==","Payload":{"body":"e30=","integratedTime":1,"logIndex":1,"logID":"00"}}`, "")
	f.Add(evidence.DSSEType, []byte(`{"payloadType":"application/vnd.in-toto+json","payload":"e30=","signatures":[{"keyid":"","sig":"AA=="}]}`), "", "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n", "", `{"SignedRFC3161Timestamp":"AA=="}`)
	f.Fuzz(func(t *testing.T, mediaType string, payload []byte, signature, certificate, rekor, stamp string) {
		raw, err := evidence.Layer{Subject: image, MediaType: mediaType, Payload: payload, Annotations: map[string]string{
			signatureNote: signature, certificateNote: certificate, chainNote: certificate, rekorNote: rekor, timestampNote: stamp}}.Encode()
		if err != nil {
			t.Fatal(err)
		}
		e, err := evidence.Parse(raw)
		if err != nil {
			if strings.HasPrefix(string(code(err)), "no reason") {
				t.Fatalf("refused without a reason: %v", err)
			}
			return
		}
		if p := e.Preview(); mediaType == evidence.SimpleSigningType {
			var lenient struct {
				Critical struct {
					Image struct {
						Digest string `json:"docker-manifest-digest"`
					} `json:"image"`
				} `json:"critical"`
			}
			if err := json.Unmarshal(payload, &lenient); err != nil || len(p.Subjects) != 1 ||
				p.Subjects[0].SHA256 != "" && string(p.Subjects[0].SHA256) != lenient.Critical.Image.Digest {
				t.Fatalf("reads %+v, a lenient decoder reads %+v, %v", p, lenient, err)
			}
			if _, err := base64.StdEncoding.DecodeString(signature); err != nil {
				t.Fatal("a signature that is no base64")
			}
		}
		if c, err := evidence.Check(e, trust.Root{}, []digest.Digest{image}, now); err == nil || !c.Zero() {
			t.Fatal("proved to the Root that believes nobody")
		}
	})
}
