package evidence_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/trust"
	"github.com/ztlaunch/ztlaunch/verify/verifytest"
)

func TestKeylessRefuses(t *testing.T) {
	x := newStage(t)
	root := x.root
	name := func(names ...asn1.RawValue) func(*x509.Certificate) {
		value, err := asn1.Marshal(names)
		if err != nil {
			t.Fatal(err)
		}
		return func(c *x509.Certificate) { c.ExtraExtensions[0].Value = value }
	}
	named := func(tag int, text string) asn1.RawValue {
		return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, Bytes: []byte(text)}
	}
	uri := named(6, workflow.SAN)
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
	theirs := func(list string) trust.Root {
		return x.edited(t, func(r object) { r[list] = decode(t, x.stranger.Root())[list] })
	}
	try(t, map[string]trial{
		"good":    {x.attest(t, options{}), root, ""},
		"good-v2": {x.attest(t, v2), root, ""},

		"log-absent":  {set(x.attest(t, options{}), nil, "verificationMaterial", "tlogEntries"), root, reason.LogAbsent},
		"log-unknown": {x.stranger.Attest(t, workflow, x.st, options{}), root, reason.LogUnknown},
		"no-sigstore": {x.attest(t, options{}), trust.Root{}, reason.TrustRootAbsent},
		"other-root":  {x.attest(t, options{}), theirs("certificateAuthorities"), reason.CertificateUntrusted},

		"forged":    {x.attest(t, options{Forged: true}), root, reason.SignatureInvalid},
		"forged-v2": {x.attest(t, options{Log: verifytest.RekorV2, Forged: true}), root, reason.SignatureInvalid},

		"sct-absent":  {x.attest(t, options{SCT: verifytest.SCTAbsent}), root, reason.SCTAbsent},
		"sct-forged":  {x.attest(t, options{SCT: verifytest.SCTForged}), root, reason.SCTInvalid},
		"sct-unknown": {x.attest(t, options{}), theirs("ctlogs"), reason.SCTInvalid},
		"sct-window":  {x.attest(t, options{}), x.edited(t, window("ctlogs", "end", -time.Hour)), reason.SCTInvalid},
		"no-ct-logs":  {x.attest(t, options{SCT: verifytest.SCTAbsent}), x.edited(t, func(r object) { delete(r, "ctlogs") }), ""},

		"two-names":   {x.attest(t, options{Template: name(uri, uri)}), root, reason.CertificateIdentity},
		"no-name":     {x.attest(t, options{Template: name()}), root, reason.CertificateIdentity},
		"ip-name":     {x.attest(t, options{Template: name(named(7, "\x7f\x00\x00\x01"))}), root, reason.CertificateIdentity},
		"host-name":   {x.attest(t, options{Template: name(named(2, "ci.acme.example"))}), root, reason.CertificateIdentity},
		"nul-name":    {x.attest(t, options{Template: name(named(1, "a@b\x00c"))}), root, reason.CertificateIdentity},
		"no-issuer":   {x.attest(t, options{Template: without(1, 8)}), root, reason.CertificateIdentity},
		"old-issuer":  {x.attest(t, options{Template: without(8)}), root, ""},
		"two-issuers": {x.attest(t, options{Template: func(c *x509.Certificate) { c.ExtraExtensions[1].Value = []byte("https://evil.example") }}), root, reason.CertificateIdentity},
		"no-eku":      {x.attest(t, options{Template: func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }}), root, reason.CertificateUntrusted},
	})
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
