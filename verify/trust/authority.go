package trust

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// MaxAuthoritySize caps an authority's PEM file, in bytes.
const MaxAuthoritySize = 256 << 10

// maxAuthority caps the certificates of one authority.
const maxAuthority = 16

// Authority is a private certificate authority: whoever holds a certificate that
// it issued may be named by a policy. The zero Authority issued nothing.
type Authority struct {
	roots, intermediates []*x509.Certificate // never written after ParseAuthority
	ids                  []string            // of the roots, sorted
}

// ParseAuthority reads the certificates of one authority. It refuses with
// trust-authority-malformed, trust-key-unsupported or trust-key-weak.
func ParseAuthority(raw []byte) (Authority, error) {
	const what = "read certificate authority"
	refuse := func(found string, err error) (Authority, error) {
		return Authority{}, &reason.Error{Code: reason.TrustAuthorityMalformed, What: what,
			Expected: "PEM blocks CERTIFICATE: one self-signed root or more, and intermediates", Found: found, Err: err,
			Next: "openssl x509 -in FILE -noout -text"}
	}
	if len(raw) > MaxAuthoritySize {
		return refuse(fmt.Sprintf("%d bytes", len(raw)), nil)
	}
	var a Authority
	seen := map[string]bool{}
	rest := raw
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		switch {
		case block.Type != "CERTIFICATE":
			return refuse("a block "+fmt.Sprintf("%.40q", block.Type), nil)
		case len(block.Headers) > 0:
			return refuse("PEM headers", nil)
		case seen[string(block.Bytes)]:
			return refuse("one certificate twice", nil)
		case len(seen) == maxAuthority:
			return refuse(fmt.Sprintf("more than %d certificates", maxAuthority), nil)
		}
		seen[string(block.Bytes)] = true
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return refuse("", err)
		}
		if err := issues(c); err != nil {
			return refuse(fmt.Sprintf("%.80q", c.Subject.String()), err)
		}
		if err := usable(c.PublicKey); err != nil {
			return Authority{}, err
		}
		if bytes.Equal(c.RawSubject, c.RawIssuer) && c.CheckSignatureFrom(c) == nil {
			a.roots = append(a.roots, c)
			a.ids = append(a.ids, AuthorityID(c))
		} else {
			a.intermediates = append(a.intermediates, c)
		}
	}
	switch {
	case bytes.Count(raw, []byte("-----BEGIN ")) != len(seen):
		return refuse("a broken PEM block", nil)
	case len(bytes.TrimSpace(rest)) > 0:
		return refuse("data after the last block", nil)
	case len(a.roots) == 0:
		return refuse(fmt.Sprintf("%d certificates, none of them a self-signed root", len(seen)), nil)
	}
	slices.Sort(a.ids)
	a.ids = slices.Compact(a.ids)
	return a, nil
}

// issues says why a certificate may not issue others.
func issues(c *x509.Certificate) error {
	switch {
	case !c.BasicConstraintsValid || !c.IsCA:
		return errors.New("a certificate that may not issue others")
	case c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageCertSign == 0:
		return errors.New("a key that may not sign certificates")
	}
	return nil
}

// AuthorityID is the name of an authority after its root: sha256:HEX over the
// SubjectPublicKeyInfo.
func AuthorityID(root *x509.Certificate) string {
	sum := sha256.Sum256(root.RawSubjectPublicKeyInfo)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Zero says that there is no authority.
func (a Authority) Zero() bool { return len(a.roots) == 0 }

// IDs are the names of the authority's roots, sorted.
func (a Authority) IDs() []string { return slices.Clone(a.ids) }

// Roots are the self-signed certificates that a chain must end in.
func (a Authority) Roots() []*x509.Certificate { return slices.Clone(a.roots) }

// Intermediates are certificates that may stand between.
func (a Authority) Intermediates() []*x509.Certificate { return slices.Clone(a.intermediates) }

// PEM is the authority as a file, the form that ParseAuthority reads: roots first.
func (a Authority) PEM() []byte {
	var b bytes.Buffer
	for _, c := range slices.Concat(a.roots, a.intermediates) {
		b.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	}
	return b.Bytes()
}

// Sum is sha256:HEX over every certificate, in whatever order a file lists them.
func (a Authority) Sum() string {
	var sums []string
	for _, c := range slices.Concat(a.roots, a.intermediates) {
		sum := sha256.Sum256(c.Raw)
		sums = append(sums, hex.EncodeToString(sum[:]))
	}
	slices.Sort(sums)
	sum := sha256.Sum256([]byte(strings.Join(sums, "\n")))
	return "sha256:" + hex.EncodeToString(sum[:])
}
