package evidence

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/trust"
)

// maxCarried caps the intermediates that a bundle may bring along.
const maxCarried = 8

// certified proves a bundle that carries a certificate of a private authority.
func (s signed) certified(r trust.Root, leaf *x509.Certificate) (proof, error) {
	kind, san, err := name(leaf)
	if err != nil {
		return proof{}, s.refuse(reason.CertificateIdentity, "one subject alternative name", "", err)
	}
	handled(leaf)
	c, err := s.chains(r, leaf)
	if err != nil {
		return proof{}, err
	}
	if !c.known(leaf, nil) {
		return proof{}, s.refuse(reason.CertificateUntrusted, "a certificate issued by an authority of the policy", fmt.Sprintf("%.120q", leaf.Issuer.String()), nil)
	}
	if why := usage(leaf); why != "" {
		return proof{}, s.refuse(reason.CertificateUsage, "a certificate for digital signatures and, if it states extended usages, for code signing", why, nil)
	}
	key, err := trust.NewKey(leaf.PublicKey)
	if err != nil {
		return proof{}, s.refuse(reason.CertificateUntrusted, "a certificate for a key that is strong enough", "", err)
	}
	v, err := verifier(key)
	if err != nil {
		return proof{}, err
	}
	if err := s.signature(v); err != nil {
		return proof{}, s.refuse(reason.SignatureInvalid, "a signature by the certificate's key", "", err)
	}
	p := proof{signer: Signer{SAN: san, SANType: kind}, key: key.ID(), begun: leaf.NotBefore.UTC()}
	if err := s.observed(&p, r, keyVerifier{}); err != nil {
		return proof{}, err
	}
	times := []time.Time{s.now}
	if len(p.times) > 0 {
		times = nil
		for _, t := range p.times {
			times = append(times, t.at)
		}
	}
	p.signer.Authority, err = c.root(leaf, times)
	if err != nil {
		return proof{}, s.diagnoseAuthority(c, leaf, times, err)
	}
	p.certificates = issuers(leaf, slices.Concat(c.between, c.roots))
	return p, nil
}

// usage says why a certificate may not sign; "" if it may.
func usage(leaf *x509.Certificate) string {
	switch {
	case leaf.IsCA:
		return "a certificate that issues others"
	case leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return "no key usage digitalSignature"
	case len(leaf.ExtKeyUsage)+len(leaf.UnknownExtKeyUsage) > 0 && !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageCodeSigning):
		return "extended usages without codeSigning"
	}
	return ""
}

// chains is everything of which a chain can be made: the roots, sorted by name,
// and what may stand between.
type chains struct {
	roots, between []*x509.Certificate
}

func (s signed) chains(r trust.Root, leaf *x509.Certificate) (c chains, err error) {
	for _, a := range r.Authorities() {
		c.roots = append(c.roots, a.Roots()...)
		c.between = append(c.between, a.Intermediates()...)
	}
	slices.SortStableFunc(c.roots, func(a, b *x509.Certificate) int {
		return strings.Compare(trust.AuthorityID(a), trust.AuthorityID(b))
	})
	carried := s.GetVerificationMaterial().GetX509CertificateChain().GetCertificates()
	if len(carried) > maxCarried+1 {
		return chains{}, s.refuse(reason.EnvelopeCertificate, fmt.Sprintf("at most %d intermediates", maxCarried), fmt.Sprint(len(carried)-1), nil)
	}
	for _, raw := range carried {
		i, err := x509.ParseCertificate(raw.GetRawBytes())
		if err != nil {
			return chains{}, s.refuse(reason.EnvelopeCertificate, "", "", err)
		}
		if i.IsCA && !i.Equal(leaf) {
			c.between = append(c.between, i)
		}
	}
	return c, nil
}

// known says whether signatures lead from a certificate to a root, whatever the
// time and the constraints; path are the certificates on the way there.
func (c chains) known(from *x509.Certificate, path *[]*x509.Certificate) bool {
	seen := map[string]bool{}
	var walk func(from *x509.Certificate, way []*x509.Certificate) bool
	walk = func(from *x509.Certificate, way []*x509.Certificate) bool {
		for _, next := range slices.Concat(c.roots, c.between) {
			if seen[string(next.Raw)] || !bytes.Equal(from.RawIssuer, next.RawSubject) || from.CheckSignatureFrom(next) != nil {
				continue
			}
			seen[string(next.Raw)] = true
			if slices.Contains(c.roots, next) || walk(next, append(way, next)) {
				if path != nil && *path == nil {
					*path = append(slices.Clone(way), next)
				}
				return true
			}
		}
		return false
	}
	return walk(from, nil)
}

// root is the name of the first root to which a certificate chains at each of the
// times.
func (c chains) root(leaf *x509.Certificate, times []time.Time) (string, error) {
	between := x509.NewCertPool()
	for _, i := range c.between {
		between.AddCert(i)
	}
	var all []error
	for _, r := range c.roots {
		alone := x509.NewCertPool()
		alone.AddCert(r)
		holds := true
		for _, t := range times {
			_, err := leaf.Verify(x509.VerifyOptions{Roots: alone, Intermediates: between, CurrentTime: t,
				KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}})
			if err != nil {
				holds, all = false, append(all, err)
				break
			}
		}
		if holds {
			return trust.AuthorityID(r), nil
		}
	}
	return "", errors.Join(all...)
}

// diagnoseAuthority says why a certificate that an authority issued does not
// chain to it at one of the times.
func (s signed) diagnoseAuthority(c chains, leaf *x509.Certificate, times []time.Time, cause error) error {
	var path []*x509.Certificate
	c.known(leaf, &path)
	for _, t := range times {
		when := t.UTC().Format(time.RFC3339)
		if t.Before(leaf.NotBefore) || t.After(leaf.NotAfter) {
			return s.refuse(reason.CertificateExpired, "a certificate valid at "+when, span(leaf.NotBefore, leaf.NotAfter), nil)
		}
		for _, i := range path {
			if t.Before(i.NotBefore) || t.After(i.NotAfter) {
				return s.refuse(reason.CertificateAuthorityExpired, "an issuer valid at "+when, span(i.NotBefore, i.NotAfter), nil)
			}
		}
	}
	var invalid x509.CertificateInvalidError
	if errors.As(cause, &invalid) && invalid.Reason == x509.IncompatibleUsage {
		return s.refuse(reason.CertificateUsage, "authorities that may issue certificates for code signing", "", cause)
	}
	return s.refuse(reason.CertificateUntrusted, "a chain that holds to an authority of the policy", fmt.Sprintf("%.120q", leaf.Issuer.String()), cause)
}
