package evidence

import (
	"errors"

	"github.com/opencontainers/go-digest"
	"github.com/sigstore/sigstore-go/pkg/bundle"
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
