package evidence

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"time"

	ctx509util "github.com/google/certificate-transparency-go/x509util"
	"github.com/sigstore/sigstore-go/pkg/root"
	sigverify "github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// diagnose names the stage at which sigstore-go refused a bundle with a
// certificate. It runs the stages one by one, in sigstore-go's order, and ends
// at the first that fails. It always returns a refusal: if no stage fails
// alone, the cause is envelope-unproved.
func (s signed) diagnose(m root.TrustedMaterial, cause error) error {
	times, err := sigverify.VerifyTlogEntry(s, m, 1, true)
	if err != nil {
		return s.diagnoseLog(m, err)
	}
	stamps, failures, err := sigverify.VerifySignedTimestamp(s, m)
	for _, t := range stamps {
		times = append(times, *t)
	}
	if err != nil || len(times) == 0 {
		given, _ := s.Timestamps() // an unreadable one counts as none
		if len(given) == 0 {
			return s.refuse(reason.TimestampAbsent, "a time from a log or a timestamp authority", "none", err)
		}
		return s.refuse(reason.TimestampInvalid, "a timestamp by an authority of the root, over this signature",
			fmt.Sprintf("%d others", len(given)), errors.Join(append(failures, err)...))
	}
	leaf := leafOf(s.GetVerificationMaterial())
	if leaf == nil {
		return s.refuse(reason.EnvelopeCertificate, "", "", cause)
	}
	handled(leaf)
	var chains [][]*x509.Certificate
	for _, t := range times {
		if chains, err = sigverify.VerifyLeafCertificate(t.Time, leaf, m); err != nil {
			return s.diagnoseChain(m, leaf, t.Time, err)
		}
	}
	if len(m.CTLogs()) > 0 {
		if err := sigverify.VerifySignedCertificateTimestamp(chains, 1, m); err != nil {
			if given, err := ctx509util.ParseSCTsFromCertificate(leaf.Raw); err != nil || len(given) == 0 {
				return s.refuse(reason.SCTAbsent, "a signed certificate timestamp", "none", err)
			}
			return s.refuse(reason.SCTInvalid, "a signed certificate timestamp of a log of the root", "", err)
		}
	}
	content, err := s.SignatureContent()
	if err != nil {
		return s.refuse(reason.EnvelopeMalformed, "", "", err)
	}
	material, err := s.VerificationContent()
	if err != nil {
		return s.refuse(reason.EnvelopeMalformed, "", "", err)
	}
	if content.EnvelopeContent() == nil || sigverify.VerifySignature(content, material, m) != nil {
		return s.refuse(reason.SignatureInvalid, "a signature by the certificate's key", "", cause)
	}
	return s.refuse(reason.EnvelopeUnproved, "", "", cause)
}

// diagnoseChain says why no authority of the root stands behind a certificate
// at a time: it has expired, its issuer has, or nobody in the root issued it.
func (s signed) diagnoseChain(m root.TrustedMaterial, leaf *x509.Certificate, at time.Time, cause error) error {
	when := at.UTC().Format(time.RFC3339)
	if at.Before(leaf.NotBefore) || at.After(leaf.NotAfter) {
		return s.refuse(reason.CertificateExpired, "a certificate valid at "+when, span(leaf.NotBefore, leaf.NotAfter), nil)
	}
	for _, authority := range m.FulcioCertificateAuthorities() {
		ca, ok := authority.(*root.FulcioCertificateAuthority)
		if !ok {
			continue
		}
		for _, issuer := range append(ca.Intermediates[:len(ca.Intermediates):len(ca.Intermediates)], ca.Root) {
			if leaf.CheckSignatureFrom(issuer) != nil {
				continue
			}
			for _, w := range append(ca.Intermediates[:len(ca.Intermediates):len(ca.Intermediates)], ca.Root) {
				if at.Before(w.NotBefore) || at.After(w.NotAfter) {
					return s.refuse(reason.CertificateAuthorityExpired, "an issuer valid at "+when, span(w.NotBefore, w.NotAfter), nil)
				}
			}
			if at.Before(ca.ValidityPeriodStart) || !ca.ValidityPeriodEnd.IsZero() && at.After(ca.ValidityPeriodEnd) {
				return s.refuse(reason.CertificateAuthorityExpired, "an authority that the root trusts at "+when,
					span(ca.ValidityPeriodStart, ca.ValidityPeriodEnd), nil)
			}
		}
	}
	return s.refuse(reason.CertificateUntrusted, "a certificate issued by an authority of the root", fmt.Sprintf("%q", leaf.Issuer.String()), cause)
}

// span is a window of validity in words.
func span(from, until time.Time) string {
	return fmt.Sprintf("[%s, %s]", bound(from), bound(until))
}

// handled tells crypto/x509 that the name was read: Go knows no OtherName, and
// Fulcio marks it critical.
func handled(leaf *x509.Certificate) {
	var rest []asn1.ObjectIdentifier
	for _, id := range leaf.UnhandledCriticalExtensions {
		if !id.Equal(cryptoutils.SANOID) {
			rest = append(rest, id)
		}
	}
	leaf.UnhandledCriticalExtensions = rest
}
