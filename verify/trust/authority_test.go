package trust

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// issued is a certificate and its key.
type issued struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func issue(t *testing.T, name string, by *issued, shape func(*x509.Certificate)) issued {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(int64(len(name))), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2036, 1, 1, 0, 0, 0, 0, time.UTC),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	if shape != nil {
		shape(template)
	}
	parent, signer := template, k
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, k.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return issued{c, k}
}

func block(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

func TestParseAuthority(t *testing.T) {
	root := issue(t, "root", nil, nil)
	other := issue(t, "another root", nil, nil)
	between := issue(t, "between", &root, nil)
	file := slices.Concat([]byte("our authority\n"), block(between.cert), []byte("\nits root\n"), block(root.cert))
	a, err := ParseAuthority(file)
	if err != nil || a.Zero() || len(a.Roots()) != 1 || len(a.Intermediates()) != 1 || !slices.Equal(a.IDs(), []string{AuthorityID(root.cert)}) {
		t.Fatalf("%v: %d roots, %d intermediates: %v", a.IDs(), len(a.Roots()), len(a.Intermediates()), err)
	}
	again, err := ParseAuthority(a.PEM())
	if err != nil || again.Sum() != a.Sum() {
		t.Errorf("read back: %v", err)
	}
	two, err := ParseAuthority(slices.Concat(block(other.cert), file))
	if err != nil || len(two.IDs()) != 2 || !slices.IsSorted(two.IDs()) || two.Sum() == a.Sum() {
		t.Errorf("two roots: %v: %v", two.IDs(), err)
	}
	r := Root{}.WithAuthorities(a)
	if r.Zero() || r.Keyless() || len(r.WithAuthorities(again, Authority{}).Authorities()) != 1 || len(r.WithAuthorities(two).Authorities()) != 2 {
		t.Error("a Root counts authorities wrongly")
	}
	digests := map[string]bool{}
	for _, r := range []Root{{}, r, Root{}.WithAuthorities(two), r.WithAuthorities(two), r.With(testKey(t, 1)), Root{}.With(testKey(t, 1))} {
		if digests[r.Digest().String()] {
			t.Errorf("two Roots have the digest %s", r.Digest())
		}
		digests[r.Digest().String()] = true
	}
	if r.WithAuthorities(two).Digest() != (Root{}).WithAuthorities(two, a, two).Digest() {
		t.Error("order or repetition of authorities changes the digest")
	}
}

func TestParseAuthorityRefuses(t *testing.T) {
	root := issue(t, "root", nil, nil)
	between := issue(t, "between", &root, nil)
	leaf := issue(t, "leaf", &root, func(c *x509.Certificate) { c.IsCA, c.KeyUsage = false, x509.KeyUsageDigitalSignature })
	stamp := issue(t, "stamp", nil, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign })
	good := block(root.cert)
	weak := func() []byte {
		k, err := rsa.GenerateKey(rand.Reader, 1024)
		if err != nil {
			t.Fatal(err)
		}
		template := *root.cert
		template.PublicKey = nil
		der, err := x509.CreateCertificate(rand.Reader, &template, root.cert, k.Public(), root.key)
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	}()
	var many []byte
	for i := range maxAuthority + 1 {
		many = append(many, block(issue(t, strings.Repeat("x", i+1), nil, nil).cert)...)
	}
	for name, c := range map[string]struct {
		raw  []byte
		code reason.Code
	}{
		"empty":     {nil, reason.TrustAuthorityMalformed},
		"no-root":   {block(between.cert), reason.TrustAuthorityMalformed},
		"leaf":      {append(block(leaf.cert), good...), reason.TrustAuthorityMalformed},
		"no-issuer": {block(stamp.cert), reason.TrustAuthorityMalformed},
		"twice":     {append(bytes.Clone(good), good...), reason.TrustAuthorityMalformed},
		"key":       {append(bytes.Clone(good), testKey(t, 1).PEM()...), reason.TrustAuthorityMalformed},
		"trailing":  {append(bytes.Clone(good), "more"...), reason.TrustAuthorityMalformed},
		"cut":       {append(bytes.Clone(good), block(between.cert)[:100]...), reason.TrustAuthorityMalformed},
		"broken":    {pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}), reason.TrustAuthorityMalformed},
		"headers":   {pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Headers: map[string]string{"a": "b"}, Bytes: root.cert.Raw}), reason.TrustAuthorityMalformed},
		"many":      {many, reason.TrustAuthorityMalformed},
		"too-large": {append(bytes.Repeat([]byte("#"), MaxAuthoritySize), good...), reason.TrustAuthorityMalformed},
		"weak":      {append(bytes.Clone(good), weak...), reason.TrustKeyWeak},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := ParseAuthority(c.raw)
			if code(err) != c.code || !a.Zero() {
				t.Errorf("%v, want %s", err, c.code)
			}
			if name == "twice" && !strings.Contains(err.Error(), "one certificate twice") {
				t.Errorf("%v does not say what is wrong", err)
			}
		})
	}
}

func FuzzParseAuthority(f *testing.F) {
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		a, err := ParseAuthority(raw)
		if err != nil {
			if code(err) == "" || !a.Zero() {
				t.Fatalf("refused without a reason: %v", err)
			}
			return
		}
		if again, err := ParseAuthority(a.PEM()); err != nil || again.Sum() != a.Sum() {
			t.Fatalf("read back: %v", err)
		}
	})
}
