package evidence

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
)

// leafOf is the certificate that a bundle says signed it, or nil.
func leafOf(v *protobundle.VerificationMaterial) *x509.Certificate {
	raw := v.GetCertificate().GetRawBytes()
	if chain := v.GetX509CertificateChain().GetCertificates(); len(chain) > 0 {
		raw = chain[0].GetRawBytes()
	}
	leaf, err := x509.ParseCertificate(raw)
	if err != nil {
		return nil
	}
	return leaf
}

// identity reads who a certificate was issued to, byte for byte: a rule
// compares these strings exactly, so nothing is normalised. It is an error when
// the certificate has no name, more than one, a host's name, or two issuers.
func identity(leaf *x509.Certificate) (Signer, error) {
	kind, san, err := name(leaf)
	if err != nil {
		return Signer{}, err
	}
	if kind == "dns" {
		return Signer{}, errors.New("subject alternative name of a host")
	}
	x, err := certificate.ParseExtensions(leaf.Extensions)
	if err != nil {
		return Signer{}, err
	}
	if x.Issuer == "" {
		return Signer{}, errors.New("no OIDC issuer")
	}
	for _, e := range leaf.Extensions {
		if e.Id.Equal(certificate.OIDIssuer) && //nolint:staticcheck // old certificates carry it, and it must not contradict
			string(e.Value) != x.Issuer {
			return Signer{}, fmt.Errorf("two issuers, %q and %q", e.Value, x.Issuer)
		}
	}
	return Signer{
		Issuer: x.Issuer, SAN: san, SANType: kind,
		BuildSignerURI:                      x.BuildSignerURI,
		BuildSignerDigest:                   x.BuildSignerDigest,
		RunnerEnvironment:                   x.RunnerEnvironment,
		SourceRepositoryURI:                 x.SourceRepositoryURI,
		SourceRepositoryDigest:              x.SourceRepositoryDigest,
		SourceRepositoryRef:                 x.SourceRepositoryRef,
		SourceRepositoryIdentifier:          x.SourceRepositoryIdentifier,
		SourceRepositoryOwnerURI:            x.SourceRepositoryOwnerURI,
		SourceRepositoryOwnerIdentifier:     x.SourceRepositoryOwnerIdentifier,
		BuildConfigURI:                      x.BuildConfigURI,
		BuildConfigDigest:                   x.BuildConfigDigest,
		BuildTrigger:                        x.BuildTrigger,
		RunInvocationURI:                    x.RunInvocationURI,
		SourceRepositoryVisibilityAtSigning: x.SourceRepositoryVisibilityAtSigning,
		GitHubWorkflowTrigger:               x.GithubWorkflowTrigger,
		GitHubWorkflowSHA:                   x.GithubWorkflowSHA,
		GitHubWorkflowName:                  x.GithubWorkflowName,
		GitHubWorkflowRepository:            x.GithubWorkflowRepository,
		GitHubWorkflowRef:                   x.GithubWorkflowRef,
	}, nil
}

// issued says whether a certificate names an OIDC issuer: then it is Fulcio's
// kind of certificate, and no private authority is asked about it.
func issued(leaf *x509.Certificate) bool {
	for _, e := range leaf.Extensions {
		if e.Id.Equal(certificate.OIDIssuer) || e.Id.Equal(certificate.OIDIssuerV2) { //nolint:staticcheck // old certificates carry it
			return true
		}
	}
	return false
}

// Tags of a GeneralName (RFC 5280, section 4.2.1.6).
const (
	tagOther = 0
	tagEmail = 1
	tagDNS   = 2
	tagURI   = 6
)

// name is the one subject alternative name. It is read from the extension
// itself, because url.URL does not give back every URI as it was written.
func name(leaf *x509.Certificate) (kind, san string, err error) {
	for _, e := range leaf.Extensions {
		if !e.Id.Equal(cryptoutils.SANOID) {
			continue
		}
		var names []asn1.RawValue
		if rest, err := asn1.Unmarshal(e.Value, &names); err != nil || len(rest) > 0 {
			return "", "", fmt.Errorf("subject alternative name: malformed")
		}
		if len(names) != 1 || names[0].Class != asn1.ClassContextSpecific {
			return "", "", fmt.Errorf("%d subject alternative names, want one", len(names))
		}
		switch names[0].Tag {
		case tagEmail:
			kind, san = "email", string(names[0].Bytes)
		case tagDNS:
			kind, san = "dns", string(names[0].Bytes)
		case tagURI:
			kind, san = "uri", string(names[0].Bytes)
		case tagOther:
			kind = "other"
			if san, err = cryptoutils.UnmarshalOtherNameSAN(leaf.Extensions); err != nil {
				return "", "", err
			}
		default:
			return "", "", fmt.Errorf("subject alternative name of kind %d", names[0].Tag)
		}
		if san == "" || bytes.IndexByte([]byte(san), 0) >= 0 {
			return "", "", fmt.Errorf("subject alternative name %q", san)
		}
		return kind, san, nil
	}
	return "", "", errors.New("no subject alternative name")
}
