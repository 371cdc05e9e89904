package evidence_test

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/trust"
	"github.com/ztlaunch/ztlaunch/verify/verifytest"
)

// workflow is the signer of most of these tests.
var workflow = verifytest.GitHub("acme/agent", ".github/workflows/release.yml", "refs/tags/v1", "push")

// decode reads JSON to change it.
func decode(t *testing.T, raw []byte) object {
	t.Helper()
	var doc object
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

// entry is a bundle's log entry.
func entry(b object) object {
	return b["verificationMaterial"].(object)["tlogEntries"].([]any)[0].(object)
}

// checkpoint changes the text of the checkpoint of a bundle's log entry.
func checkpoint(b object, change func(string) string) object {
	c := entry(b)["inclusionProof"].(object)["checkpoint"].(object)
	c["envelope"] = change(c["envelope"].(string))
	return b
}

// text is the checkpoint of a bundle's log entry.
func text(b object) string {
	return entry(b)["inclusionProof"].(object)["checkpoint"].(object)["envelope"].(string)
}

// hint changes the key hint of a checkpoint's signature.
func hint(checkpoint string) string {
	at := strings.LastIndexByte(checkpoint, ' ') + 1
	first := byte('A')
	if checkpoint[at] == first {
		first = 'B'
	}
	return checkpoint[:at] + string(first) + checkpoint[at+1:]
}

// edit changes a bundle's log entry.
func edit(b object, change func(entry object)) object {
	change(entry(b))
	return b
}

// double gives a bundle's log entry twice.
func double(b object) object {
	v := b["verificationMaterial"].(object)
	v["tlogEntries"] = append(v["tlogEntries"].([]any), entry(b))
	return b
}

// flipped changes one bit of a base64 member.
func flipped(t *testing.T, doc object, member string) {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(doc[member].(string))
	if err != nil {
		t.Fatal(err)
	}
	doc[member] = flip(raw)
}

// proofHash changes one bit of an inclusion proof.
func proofHash(t *testing.T, e object) {
	t.Helper()
	p := e["inclusionProof"].(object)
	holder := object{"hash": p["hashes"].([]any)[0]}
	flipped(t, holder, "hash")
	p["hashes"] = []any{holder["hash"]}
}

// resigned replaces what is signed, or only the signature, by something that
// somebody else's key signed: the log entry no longer is of this envelope.
func resigned(t *testing.T, b object, payload []byte) object {
	t.Helper()
	d := b["dsseEnvelope"].(object)
	if payload == nil {
		var err error
		if payload, err = base64.StdEncoding.DecodeString(d["payload"].(string)); err != nil {
			t.Fatal(err)
		}
	}
	d["payload"] = payload
	d["signatures"] = []any{object{"sig": newP256(t).sign(t, pae(evidence.PayloadType, payload))}}
	return b
}

// keyed replaces the certificate by a reference to its bare key.
func keyed(t *testing.T, b object) object {
	t.Helper()
	return set(set(b, nil, "verificationMaterial", "certificate"), object{"hint": ""}, "verificationMaterial", "publicKey")
}

func rootOf(t *testing.T, raw []byte) trust.Root {
	t.Helper()
	r, err := trust.FromJSON(raw)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestKeylessRefuses(t *testing.T) {
	type options = verifytest.Options
	s, stranger := verifytest.New(t), verifytest.New(t)
	st := encode(t, statement())
	other := encode(t, set(statement(), "https://example.com/other", "predicateType"))
	v2 := options{Log: verifytest.RekorV2}
	attest := func(o options) object { return decode(t, s.Attest(t, workflow, st, o)) }
	// swapped is a good bundle with a member of another good bundle's entry.
	swapped := func(o options, payload []byte, members ...string) object {
		b, from := attest(o), decode(t, s.Attest(t, workflow, payload, o))
		for _, m := range members {
			entry(b)[m] = entry(from)[m]
		}
		return b
	}
	all := []string{"canonicalizedBody", "inclusionProof", "inclusionPromise", "integratedTime"}
	edited := func(change func(root object)) trust.Root {
		doc := decode(t, s.Root())
		change(doc)
		return rootOf(t, encode(t, doc))
	}
	field := func(doc object, list string) object { return doc[list].([]any)[0].(object) }
	epoch := verifytest.Epoch()
	stamp := func(d time.Duration) string { return epoch.Add(d).Format(time.RFC3339) }
	name := func(names ...asn1.RawValue) func(*x509.Certificate) {
		value, err := asn1.Marshal(names)
		if err != nil {
			t.Fatal(err)
		}
		return func(c *x509.Certificate) { c.ExtraExtensions[0].Value = value }
	}
	uri := asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 6, Bytes: []byte(workflow.SAN)}
	without := func(ids ...int) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			var kept []pkix.Extension
			for _, x := range c.ExtraExtensions {
				drop := false
				for _, id := range ids {
					drop = drop || x.Id.Equal(asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, id})
				}
				if !drop {
					kept = append(kept, x)
				}
			}
			c.ExtraExtensions = kept
		}
	}
	foreign := func(text string) string { // the same text, signed by the stranger's log
		theirs := decode(t, stranger.Attest(t, workflow, st, options{}))
		sig := entry(theirs)["inclusionProof"].(object)["checkpoint"].(object)["envelope"].(string)
		return text[:strings.Index(text, "\n\n")+2] + sig[strings.Index(sig, "\n\n")+2:]
	}

	root := rootOf(t, s.Root())
	expired := verifytest.NewWith(t, verifytest.Config{IssuerUntil: epoch.Add(-time.Hour)})

	for name, c := range map[string]struct {
		bundle any
		root   trust.Root
		code   reason.Code
	}{
		"good":    {attest(options{}), root, ""},
		"good-v2": {attest(v2), root, ""},

		"N01":             {swapped(options{}, other, all...), root, reason.LogMismatch},
		"N01-v2":          {swapped(v2, other, all...), root, reason.LogMismatch},
		"N02":             {edit(attest(options{}), func(e object) { flipped(t, e["inclusionPromise"].(object), "signedEntryTimestamp") }), root, reason.LogPromiseInvalid},
		"N02-time":        {edit(attest(options{}), func(e object) { e["integratedTime"] = json.Number(strconv.FormatInt(epoch.Unix()+1, 10)) }), root, reason.LogPromiseInvalid},
		"N02-unsigned":    {edit(attest(options{}), func(e object) { delete(e, "inclusionPromise") }), root, reason.TimestampAbsent},
		"N02-v0.1":        {set(edit(attest(options{}), func(e object) { delete(e, "inclusionPromise") }), "application/vnd.dev.sigstore.bundle+json;version=0.1", "mediaType"), root, reason.LogProofAbsent},
		"N03":             {swapped(options{}, st, all...), root, reason.LogMismatch}, // same payload, another certificate
		"N03-v2":          {swapped(v2, st, all...), root, reason.LogMismatch},
		"N04":             {double(attest(options{})), root, reason.LogDuplicate},
		"N05-proof":       {edit(attest(options{}), func(e object) { proofHash(t, e) }), root, reason.LogProofInvalid},
		"N05-proof-v2":    {edit(attest(v2), func(e object) { proofHash(t, e) }), root, reason.LogProofInvalid},
		"N05-index":       {edit(attest(options{}), func(e object) { e["inclusionProof"].(object)["logIndex"] = "0" }), root, reason.LogProofInvalid},
		"N05-other-proof": {swapped(options{}, other, "inclusionProof"), root, reason.LogProofInvalid},
		"N05-root-hash":   {checkpoint(attest(options{}), func(string) string { return text(attest(options{})) }), root, reason.LogCheckpointInvalid},
		"N05-root-v2":     {checkpoint(attest(v2), func(string) string { return text(attest(v2)) }), root, reason.LogProofInvalid},
		"N05-hint":        {checkpoint(attest(options{}), hint), root, reason.LogCheckpointInvalid},
		"N05-hint-v2":     {checkpoint(attest(v2), hint), root, reason.LogCheckpointInvalid},
		"N06":             {resigned(t, attest(options{}), other), root, reason.LogMismatch},
		"N06-v2":          {resigned(t, attest(v2), other), root, reason.LogMismatch},
		"N06-signature":   {resigned(t, attest(options{}), nil), root, reason.LogMismatch},
		"N06-sig-v2":      {resigned(t, attest(v2), nil), root, reason.LogMismatch},
		"N15-logged-key":  {keyed(t, attest(options{})), root, reason.SignatureUnknownKey},
		"log-absent":      {set(attest(options{}), nil, "verificationMaterial", "tlogEntries"), root, reason.LogAbsent},
		"N05-origin":      {checkpoint(attest(options{}), func(c string) string { return "x" + c }), root, reason.LogCheckpointInvalid},
		"N05-origin-v2":   {checkpoint(attest(v2), func(c string) string { return "x" + c }), root, reason.LogCheckpointInvalid},
		"N05-signer":      {checkpoint(attest(options{}), foreign), root, reason.LogCheckpointInvalid},
		"N05-signer-v2":   {checkpoint(attest(v2), foreign), root, reason.LogCheckpointInvalid},
		"N05-unsigned":    {checkpoint(attest(options{}), func(c string) string { return c[:strings.Index(c, "\n\n")+2] }), root, reason.LogCheckpointInvalid},
		"N05-unsigned-v2": {checkpoint(attest(v2), func(c string) string { return c[:strings.Index(c, "\n\n")+2] }), root, reason.LogCheckpointInvalid},
		"log-unknown":     {decode(t, stranger.Attest(t, workflow, st, options{})), root, reason.LogUnknown},
		"no-sigstore":     {attest(options{}), trust.Root{}, reason.TrustRootAbsent},

		"N07":        {attest(options{IssuedAt: epoch.Add(-time.Hour)}), root, reason.CertificateExpired},
		"N07-early":  {attest(options{IssuedAt: epoch.Add(time.Minute)}), root, reason.CertificateExpired},
		"N07-v2":     {attest(options{Log: verifytest.RekorV2, IssuedAt: epoch.Add(-time.Hour)}), root, reason.CertificateExpired},
		"N08":        {decode(t, expired.Attest(t, workflow, st, options{})), rootOf(t, expired.Root()), reason.CertificateAuthorityExpired},
		"N08-window": {attest(options{}), edited(func(r object) { field(r, "certificateAuthorities")["validFor"].(object)["end"] = stamp(-time.Hour) }), reason.CertificateAuthorityExpired},
		"N08-early":  {attest(options{}), edited(func(r object) { field(r, "certificateAuthorities")["validFor"].(object)["start"] = stamp(time.Hour) }), reason.CertificateAuthorityExpired},
		"other-root": {attest(options{}), edited(func(r object) { r["certificateAuthorities"] = decode(t, stranger.Root())["certificateAuthorities"] }), reason.CertificateUntrusted},

		"N10":         {attest(options{Log: verifytest.RekorV2, Stamp: verifytest.StampShadowed}), root, reason.TimestampInvalid},
		"N10-forged":  {attest(options{Log: verifytest.RekorV2, Stamp: verifytest.StampForged}), root, reason.TimestampInvalid},
		"N10-unknown": {attest(options{Log: verifytest.RekorV2, StampedBy: stranger}), root, reason.TimestampInvalid},
		"N10-payload": {attest(options{Log: verifytest.RekorV2, StampBytes: []byte("another signature")}), root, reason.TimestampInvalid},
		"N11":         {attest(options{Log: verifytest.RekorV2, Stamp: verifytest.StampNone}), root, reason.TimestampAbsent},
		"N12":         {attest(v2), edited(func(r object) { field(r, "timestampAuthorities")["validFor"].(object)["end"] = stamp(-time.Hour) }), reason.TimestampInvalid},
		"N12-log": {attest(options{}), edited(func(r object) {
			field(r, "tlogs")["publicKey"].(object)["validFor"].(object)["end"] = stamp(-time.Hour)
		}), reason.LogPromiseInvalid},

		"forged":    {attest(options{Forged: true}), root, reason.SignatureInvalid},
		"forged-v2": {attest(options{Log: verifytest.RekorV2, Forged: true}), root, reason.SignatureInvalid},

		"sct-absent":  {attest(options{SCT: verifytest.SCTAbsent}), root, reason.SCTAbsent},
		"sct-forged":  {attest(options{SCT: verifytest.SCTForged}), root, reason.SCTInvalid},
		"sct-unknown": {attest(options{}), edited(func(r object) { r["ctlogs"] = decode(t, stranger.Root())["ctlogs"] }), reason.SCTInvalid},
		"sct-window": {attest(options{}), edited(func(r object) {
			field(r, "ctlogs")["publicKey"].(object)["validFor"].(object)["end"] = stamp(-time.Hour)
		}), reason.SCTInvalid},
		"no-ct-logs": {attest(options{SCT: verifytest.SCTAbsent}), edited(func(r object) { delete(r, "ctlogs") }), ""},

		"two-names":   {attest(options{Template: name(uri, uri)}), root, reason.CertificateIdentity},
		"no-name":     {attest(options{Template: name()}), root, reason.CertificateIdentity},
		"ip-name":     {attest(options{Template: name(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 7, Bytes: []byte{127, 0, 0, 1}})}), root, reason.CertificateIdentity},
		"nul-name":    {attest(options{Template: name(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 1, Bytes: []byte("a@b\x00c")})}), root, reason.CertificateIdentity},
		"no-issuer":   {attest(options{Template: without(1, 8)}), root, reason.CertificateIdentity},
		"old-issuer":  {attest(options{Template: without(8)}), root, ""},
		"two-issuers": {attest(options{Template: func(c *x509.Certificate) { c.ExtraExtensions[1].Value = []byte("https://evil.example") }}), root, reason.CertificateIdentity},
		"no-eku":      {attest(options{Template: func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }}), root, reason.CertificateUntrusted},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := evidence.Parse(encode(t, c.bundle))
			var claim evidence.Claim
			if err == nil {
				claim, err = evidence.Check(e, c.root, []digest.Digest{image}, epoch.Add(time.Hour))
			}
			if c.code != "" {
				refused(t, claim, err, c.code)
			} else if err != nil || claim.Signer().SAN != workflow.SAN {
				t.Errorf("signed by %v: %v", claim.Signer(), err)
			}
		})
	}
}

// A diagnosis only names a cause: with nothing wrong it still refuses.
func TestDiagnoseNeverAccepts(t *testing.T) {
	s := verifytest.New(t)
	for _, version := range []verifytest.Version{verifytest.RekorV1, verifytest.RekorV2} {
		e := parse(t, s.Attest(t, workflow, encode(t, statement()), verifytest.Options{Log: version}))
		err := evidence.Diagnose(e, rootOf(t, s.Root()), image)
		if code(err) != reason.EnvelopeUnproved || !strings.Contains(err.Error(), "the cause") {
			t.Errorf("%v, want %s", err, reason.EnvelopeUnproved)
		}
	}
}

// Of several witnesses the earliest counts: it is the oldest that the signature
// is proved to be.
func TestEarliestTime(t *testing.T) {
	s := verifytest.New(t)
	root, epoch := rootOf(t, s.Root()), verifytest.Epoch()
	for _, c := range []struct {
		stamp  time.Duration
		want   time.Duration
		source evidence.TimeSource
	}{{-30 * time.Second, -30 * time.Second, evidence.TimeTSA}, {30 * time.Second, 0, evidence.TimeLog}, {0, 0, evidence.TimeLog}} {
		e := parse(t, s.Attest(t, workflow, encode(t, statement()), verifytest.Options{StampAt: epoch.Add(c.stamp)}))
		claim, err := evidence.Check(e, root, []digest.Digest{image}, epoch.Add(time.Hour))
		if at, source := claim.Time(); err != nil || !at.Equal(epoch.Add(c.want)) || source != c.source {
			t.Errorf("stamped %v after the log: %v from %v, %v", c.stamp, at, source, err)
		}
	}
	// Every witness must see a valid certificate.
	e := parse(t, s.Attest(t, workflow, encode(t, statement()), verifytest.Options{StampAt: epoch.Add(time.Hour)}))
	c, err := evidence.Check(e, root, []digest.Digest{image}, epoch.Add(2*time.Hour))
	refused(t, c, err, reason.CertificateExpired)
}

// A time in the future is a wrong clock here or a lying witness there.
func TestFuture(t *testing.T) {
	s := verifytest.New(t)
	root := rootOf(t, s.Root())
	for version, o := range map[string]verifytest.Options{"v1": {}, "v2": {Log: verifytest.RekorV2}} {
		e := parse(t, s.Attest(t, workflow, encode(t, statement()), o))
		if _, err := evidence.Check(e, root, []digest.Digest{image}, verifytest.Epoch().Add(-5*time.Minute)); err != nil {
			t.Errorf("%s, clocks five minutes apart: %v", version, err)
		}
		c, err := evidence.Check(e, root, []digest.Digest{image}, verifytest.Epoch().Add(-5*time.Minute-time.Second))
		refused(t, c, err, reason.TimestampFuture)
	}
}
