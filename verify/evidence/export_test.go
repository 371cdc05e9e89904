package evidence

import (
	"errors"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	sigverify "github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/ztlaunch/ztlaunch/verify/trust"
)

// Diagnose asks what is wrong with an envelope, whether or not anything is.
func Diagnose(e Envelope, r trust.Root, subject digest.Digest) error {
	b, err := bundle.NewBundle(e.bundle)
	if err != nil {
		return err
	}
	m, err := r.Sigstore()
	if err != nil {
		return err
	}
	return signed{Bundle: b, envelope: e, subject: subject}.diagnose(m, errors.New("the cause"))
}

// HeldBy asks sigstore-go whether so many logs hold the signature.
func HeldBy(e Envelope, r trust.Root, k trust.Key, threshold int) error {
	b, err := bundle.NewBundle(e.bundle)
	if err != nil {
		return err
	}
	m, err := r.Sigstore()
	if err != nil {
		return err
	}
	v, err := verifier(k)
	if err != nil {
		return err
	}
	_, err = sigverify.VerifyTlogEntry(b, material{key: v, TrustedMaterial: m}, threshold, true)
	return err
}

// Transparent asks sigstore-go whether so many logs know the certificate.
func Transparent(e Envelope, r trust.Root, at time.Time, threshold int) error {
	m, err := r.Sigstore()
	if err != nil {
		return err
	}
	leaf := leafOf(e.bundle.GetVerificationMaterial())
	handled(leaf)
	chains, err := sigverify.VerifyLeafCertificate(at, leaf, m)
	if err != nil {
		return err
	}
	return sigverify.VerifySignedCertificateTimestamp(chains, threshold, m)
}
