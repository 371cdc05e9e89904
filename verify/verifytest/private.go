package verifytest

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"testing"
	"time"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	"github.com/ztlaunch/ztlaunch/verify/evidence"
)

// Private is a certificate authority of somebody's own: a root and an
// intermediate, without OIDC and without logs.
type Private struct {
	root, issuer authority
}

// PrivateConfig changes a private authority as a whole.
type PrivateConfig struct {
	RootUntil, IssuerUntil time.Time // zero is ten years from the start
	Usage                  x509.ExtKeyUsage
	Shape                  func(*x509.Certificate) // changes the intermediate before it is issued
}

// NewPrivate starts an authority that issues certificates for code signing, or for
// c.Usage.
func NewPrivate(t testing.TB, c PrivateConfig) *Private {
	t.Helper()
	usage := x509.ExtKeyUsageCodeSigning
	if c.Usage != 0 {
		usage = c.Usage
	}
	until := func(at time.Time) time.Time {
		if at.IsZero() {
			return opened().AddDate(10, 0, 0)
		}
		return at
	}
	p := &Private{root: newAuthority(t, "private root", nil, until(c.RootUntil), ca(usage))}
	p.issuer = newAuthority(t, "private issuer", &p.root, until(c.IssuerUntil), func(x *x509.Certificate) {
		ca(usage)(x)
		if c.Shape != nil {
			c.Shape(x)
		}
	})
	return p
}

// PEM is the authority as a file: the intermediate, then the root.
func (p *Private) PEM() []byte { return append(block(p.issuer), block(p.root)...) }

// RootPEM is the root alone.
func (p *Private) RootPEM() []byte { return block(p.root) }

func block(a authority) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: certificate, Bytes: a.cert.Raw})
}

// PrivateOptions changes one attestation of a private authority.
type PrivateOptions struct {
	From, Until time.Time               // of the certificate; zero: the start, and a year later
	Template    func(*x509.Certificate) // changes the certificate before it is issued
	Key         *Key                    // whose key is certified; nil: a new one
	Chain       bool                    // write a bundle 0.2 with the intermediate, in place of 0.3
	Forged      bool                    // sign with a key that is not the certificate's
	Witness     *Sigstore               // logs and timestamps it; nil: nobody
	Witnessed   Options
}

// Certify issues a certificate in DER.
func (p *Private) Certify(t testing.TB, who evidence.Signer, public crypto.PublicKey, o PrivateOptions) []byte {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: serial(t), NotBefore: o.From, NotAfter: o.Until, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}, ExtraExtensions: []pkix.Extension{san(t, who)},
	}
	if o.From.IsZero() {
		template.NotBefore = opened()
	}
	if o.Until.IsZero() {
		template.NotAfter = template.NotBefore.AddDate(1, 0, 0)
	}
	if o.Template != nil {
		o.Template(template)
	}
	return create(t, template, p.issuer, public).Raw
}

// Attest signs an in-toto statement as who.SAN, and gives the bundle.
func (p *Private) Attest(t testing.TB, who evidence.Signer, statement []byte, o PrivateOptions) []byte {
	t.Helper()
	k := newKey(t)
	if o.Key != nil {
		k = o.Key.private
	}
	cert := p.Certify(t, who, k.Public(), o)
	if o.Forged {
		k = newKey(t)
	}
	b := envelope(t, k, statement)
	leaf := &protocommon.X509Certificate{RawBytes: cert}
	b.VerificationMaterial = &protobundle.VerificationMaterial{Content: &protobundle.VerificationMaterial_Certificate{Certificate: leaf}}
	if o.Chain {
		b.MediaType = "application/vnd.dev.sigstore.bundle+json;version=0.2"
		b.VerificationMaterial = &protobundle.VerificationMaterial{Content: &protobundle.VerificationMaterial_X509CertificateChain{
			X509CertificateChain: &protocommon.X509CertificateChain{Certificates: []*protocommon.X509Certificate{leaf, {RawBytes: p.issuer.cert.Raw}}},
		}}
	}
	if o.Witness != nil {
		o.Witness.witness(t, b, pem.Block{Type: certificate, Bytes: cert}, o.Witnessed.filled())
	}
	return write(t, b)
}
