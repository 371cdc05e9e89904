package evidence_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/trust"
	"github.com/ztlaunch/ztlaunch/verify/verifytest"
)

type private = verifytest.PrivateOptions

// dev is whom the private authorities of these tests certify.
var dev = evidence.Signer{SAN: "dev@acme.example", SANType: "email"}

func authority(t *testing.T, raw []byte) trust.Authority {
	t.Helper()
	a, err := trust.ParseAuthority(raw)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// believes is a Root with the authorities alone.
func believes(t *testing.T, pems ...[]byte) trust.Root {
	t.Helper()
	var r trust.Root
	for _, raw := range pems {
		r = r.WithAuthorities(authority(t, raw))
	}
	return r
}

// A private authority needs neither issuer nor log; the signer is its name and
// the authority, whatever the bundle's version and the kind of name.
func TestPrivateAuthority(t *testing.T) {
	x, p, other := newStage(t), verifytest.NewPrivate(t, verifytest.PrivateConfig{}), verifytest.NewPrivate(t, verifytest.PrivateConfig{})
	root := believes(t, other.PEM(), p.PEM())
	id := authority(t, p.PEM()).IDs()[0]
	for name, c := range map[string]struct {
		who    evidence.Signer
		o      private
		root   trust.Root
		logs   int
		source evidence.TimeSource
	}{
		"email":            {dev, private{}, root, 0, evidence.TimeNone},
		"uri":              {evidence.Signer{SAN: "spiffe://acme.example/ci", SANType: "uri"}, private{}, root, 0, evidence.TimeNone},
		"dns":              {evidence.Signer{SAN: "ci.acme.example", SANType: "dns"}, private{}, root, 0, evidence.TimeNone},
		"other":            {evidence.Signer{SAN: "dev!acme", SANType: "other"}, private{}, root, 0, evidence.TimeNone},
		"chain":            {dev, private{Chain: true}, believes(t, p.RootPEM()), 0, evidence.TimeNone},
		"no-usages":        {dev, private{Template: func(c *x509.Certificate) { c.ExtKeyUsage = nil }}, root, 0, evidence.TimeNone},
		"logged":           {dev, private{Witness: x.s}, x.root.WithAuthorities(root.Authorities()...), 1, evidence.TimeLog},
		"two-logs":         {dev, private{Witness: x.s, Witnessed: options{Also: []verifytest.Version{verifytest.RekorV2}}}, x.root.WithAuthorities(root.Authorities()...), 2, evidence.TimeLog},
		"stamped":          {dev, private{Witness: x.s, Witnessed: v2}, x.root.WithAuthorities(root.Authorities()...), 1, evidence.TimeTSA},
		"logged-elsewhere": {dev, private{Witness: x.stranger}, x.root.WithAuthorities(root.Authorities()...), 0, evidence.TimeNone},
		"over-and-logged":  {dev, private{Witness: x.s, Until: epoch.Add(time.Minute)}, x.root.WithAuthorities(root.Authorities()...), 1, evidence.TimeLog},
	} {
		t.Run(name, func(t *testing.T) {
			e := parse(t, p.Attest(t, c.who, x.st, c.o))
			claim, err := evidence.Check(e, c.root, []digest.Digest{image}, epoch.Add(time.Hour))
			if err != nil {
				t.Fatal(err)
			}
			want := c.who
			want.Authority = id
			if got := claim.Signer(); got != want || got.Keyless() || !got.Certified() {
				t.Errorf("signed by %+v, want %+v", got, want)
			}
			if at, source := claim.Time(); len(claim.Logs()) != c.logs || source != c.source || at.IsZero() != (source == evidence.TimeNone) {
				t.Errorf("held by %v, at %v from %v", claim.Logs(), at, source)
			}
			if e.Preview().Signer.SAN != c.who.SAN {
				t.Errorf("previews %+v", e.Preview().Signer)
			}
		})
	}
}

// Nobody but the root's authorities certifies: not another one of the same names,
// not one whose root the bundle brings, and not without the intermediate.
func TestPrivateAuthorityRefuses(t *testing.T) {
	x, p, other := newStage(t), verifytest.NewPrivate(t, verifytest.PrivateConfig{}), verifytest.NewPrivate(t, verifytest.PrivateConfig{})
	root := believes(t, p.PEM())
	signed := func(o private) []byte { return p.Attest(t, dev, x.st, o) }
	brought := decode(t, signed(private{Chain: true}))
	chain := brought["verificationMaterial"].(object)["x509CertificateChain"].(object)
	many := decode(t, signed(private{Chain: true}))
	long := many["verificationMaterial"].(object)["x509CertificateChain"].(object)
	for range 8 {
		long["certificates"] = append(long["certificates"].([]any), long["certificates"].([]any)[1])
	}
	chain["certificates"] = append(chain["certificates"].([]any), object{"rawBytes": authority(t, p.PEM()).Roots()[0].Raw})
	narrow := verifytest.NewPrivate(t, verifytest.PrivateConfig{Shape: func(c *x509.Certificate) {
		c.PermittedEmailAddresses, c.PermittedDNSDomainsCritical = []string{"other.example"}, true
	}})
	try(t, map[string]trial{
		"good":          {signed(private{}), root, ""},
		"other":         {signed(private{}), believes(t, other.PEM()), reason.CertificateUntrusted},
		"brings-root":   {brought, believes(t, other.PEM()), reason.CertificateUntrusted},
		"no-between":    {signed(private{}), believes(t, p.RootPEM()), reason.CertificateUntrusted},
		"long-chain":    {many, root, reason.EnvelopeCertificate},
		"outside-names": {narrow.Attest(t, dev, x.st, private{}), believes(t, narrow.PEM()), reason.CertificateUntrusted},
		"forged":        {signed(private{Forged: true}), root, reason.SignatureInvalid},
		"payload":       {edited(t, decode(t, signed(private{})), x.other), root, reason.SignatureInvalid},
		"two-names": {signed(private{Template: func(c *x509.Certificate) {
			c.ExtraExtensions, c.EmailAddresses = nil, []string{"dev@acme.example", "root@acme.example"}
		}}), root, reason.CertificateIdentity},
		"no-name": {signed(private{Template: func(c *x509.Certificate) {
			c.ExtraExtensions, c.Subject = nil, pkix.Name{CommonName: "dev@acme.example"}
		}}), root, reason.CertificateIdentity},
		"no-roots": {signed(private{}), x.root, reason.CertificateIdentity},
		"log-of-another": {set(decode(t, signed(private{Witness: x.s})), decode(t, p.Attest(t, dev, x.other, private{Witness: x.s}))["verificationMaterial"].(object)["tlogEntries"], "verificationMaterial", "tlogEntries"),
			x.root.WithAuthorities(root.Authorities()...), reason.LogMismatch},
	})
}

// A certificate must be one for signing: a host's certificate of the same
// authority, or one that issues others, signs nothing.
func TestCertificateUsage(t *testing.T) {
	x, p := newStage(t), verifytest.NewPrivate(t, verifytest.PrivateConfig{})
	servers := verifytest.NewPrivate(t, verifytest.PrivateConfig{Usage: x509.ExtKeyUsageServerAuth})
	root := believes(t, p.PEM())
	with := func(change func(*x509.Certificate)) []byte { return p.Attest(t, dev, x.st, private{Template: change}) }
	try(t, map[string]trial{
		"server":    {with(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), root, reason.CertificateUsage},
		"any":       {with(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }), root, reason.CertificateUsage},
		"no-usage":  {with(func(c *x509.Certificate) { c.KeyUsage = 0 }), root, reason.CertificateUsage},
		"encrypts":  {with(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }), root, reason.CertificateUsage},
		"issues":    {with(func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }), root, reason.CertificateUsage},
		"authority": {servers.Attest(t, dev, x.st, private{}), believes(t, servers.PEM()), reason.CertificateUsage},
	})
}

// The certificate of a private authority had expired now, where nobody vouches
// for a time, or when the log or the timestamp authority saw the signature.
func TestN07LeafOfPrivateAuthorityExpired(t *testing.T) {
	x, p := newStage(t), verifytest.NewPrivate(t, verifytest.PrivateConfig{})
	root := x.root.WithAuthorities(authority(t, p.PEM()))
	try(t, map[string]trial{
		"now":     {p.Attest(t, dev, x.st, private{Until: epoch}), root, reason.CertificateExpired},
		"not-yet": {p.Attest(t, dev, x.st, private{From: epoch.Add(2 * time.Hour)}), root, reason.CertificateExpired},
		"logged":  {p.Attest(t, dev, x.st, private{Until: epoch.Add(-time.Hour), Witness: x.s}), root, reason.CertificateExpired},
		"stamped": {p.Attest(t, dev, x.st, private{Until: epoch.Add(-time.Hour), Witness: x.s, Witnessed: v2}), root, reason.CertificateExpired},
		"strange": {p.Attest(t, dev, x.st, private{Until: epoch.Add(time.Minute), Witness: x.stranger}), root, reason.CertificateExpired},
		"in-time": {p.Attest(t, dev, x.st, private{Until: epoch.Add(time.Minute), Witness: x.s}), root, ""},
	})
}

// The intermediate or the root of a private authority had expired, though the
// leaf is valid: every certificate of the chain must be.
func TestN08PrivateIssuerExpired(t *testing.T) {
	x := newStage(t)
	long := private{Until: epoch.AddDate(5, 0, 0)}
	issuer := verifytest.NewPrivate(t, verifytest.PrivateConfig{IssuerUntil: epoch})
	root := verifytest.NewPrivate(t, verifytest.PrivateConfig{RootUntil: epoch})
	logged := private{Until: long.Until, Witness: x.s}
	try(t, map[string]trial{
		"issuer":         {issuer.Attest(t, dev, x.st, long), believes(t, issuer.PEM()), reason.CertificateAuthorityExpired},
		"brought":        {issuer.Attest(t, dev, x.st, private{Until: long.Until, Chain: true}), believes(t, issuer.RootPEM()), reason.CertificateAuthorityExpired},
		"root":           {root.Attest(t, dev, x.st, long), believes(t, root.PEM()), reason.CertificateAuthorityExpired},
		"logged-in-time": {issuer.Attest(t, dev, x.st, logged), x.root.WithAuthorities(authority(t, issuer.PEM())), ""},
	})
}

// A certificate of one sort stands where another is expected: with an OIDC issuer
// it is no private authority's, without one it is not keyless, and a bare key is
// neither; nor does the certificate's own key, believed as a key, make it one.
func TestN26MethodMismatch(t *testing.T) {
	x, p, k := newStage(t), verifytest.NewPrivate(t, verifytest.PrivateConfig{}), verifytest.NewKey(t)
	key, err := trust.ParseKey(k.Public(t))
	if err != nil {
		t.Fatal(err)
	}
	all := x.keys.With(key).WithAuthorities(authority(t, p.PEM()))
	posing := p.Attest(t, workflow, x.st, private{Template: func(c *x509.Certificate) {
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: []int{1, 3, 6, 1, 4, 1, 57264, 1, 1}, Value: []byte(workflow.Issuer)})
	}, Witness: x.s})
	certified := p.Attest(t, dev, x.st, private{Key: &k})
	try(t, map[string]trial{
		"private-poses-as-keyless": {posing, all, reason.CertificateUntrusted},
		"private-without-root":     {certified, x.keys.With(key), reason.CertificateIdentity},
		"keyless-without-root":     {x.attest(t, options{}), believes(t, p.PEM()).With(key), reason.TrustRootAbsent},
		"certificate-for-key":      {certified, trust.Root{}.With(key), reason.TrustRootAbsent},
		"key-for-certificate":      {bare(t, decode(t, certified)), believes(t, p.PEM()), reason.SignatureUnknownKey},
	})
	for name, raw := range map[string][]byte{"certificate": certified, "key": k.Attest(t, x.st)} {
		c, err := evidence.Check(parse(t, raw), all, []digest.Digest{image}, epoch.Add(time.Hour))
		if err != nil || c.Key() != key.ID() || (c.Signer().Key != "") != (name == "key") {
			t.Errorf("%s: proved by %s as %v: %v", name, c.Key(), c.Signer(), err)
		}
	}
}
