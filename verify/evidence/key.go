package evidence

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	sigverify "github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/trust"
)

// keyed proves a bundle that names a public key: it tries the keys of the Root
// and no other.
func (s signed) keyed(r trust.Root) (proof, error) {
	hint := s.GetVerificationMaterial().GetPublicKey().GetHint()
	keys := r.Keys()
	var known trust.Key // the key that the hint names, or the only one
	name := false
	for _, k := range keys {
		named, isName := k.Named(hint)
		if named || len(keys) == 1 && !isName {
			known = k
		}
		name = name || isName
	}
	found := "a key without a hint"
	if hint != "" {
		found = "a key with the hint " + trust.Spell(hint) // of its DER or PEM form, or anything
	}
	unknown := s.refuse(reason.SignatureUnknownKey, fmt.Sprintf("one of %d trusted keys", len(keys)), found, nil)
	if len(keys) == 0 || name && known.Zero() {
		return proof{}, unknown
	}
	refusal := unknown
	if !known.Zero() {
		refusal = s.refuse(reason.SignatureInvalid, "a signature by "+known.ID(), "", nil)
	}
	for _, k := range keys {
		v, err := verifier(k)
		if err != nil {
			return proof{}, err
		}
		if s.signature(v) != nil {
			continue
		}
		p, err := s.witnessed(k, v, r)
		if err == nil {
			return p, nil
		}
		refusal = err // the same key may be listed with another window
	}
	return proof{}, refusal
}

// signature proves the signature alone, by one key, whatever the bundle says of
// keys and certificates. That the statement is about what was asked is already
// known.
func (s signed) signature(v keyVerifier) error {
	content, err := s.SignatureContent()
	if err != nil {
		return err
	}
	only := material{key: v, TrustedMaterial: &root.BaseTrustedMaterial{}}
	if s.bare() {
		return sigverify.VerifySignatureWithArtifacts(content, new(bundle.PublicKey), only, []io.Reader{bytes.NewReader(s.message)})
	}
	return sigverify.VerifySignature(content, new(bundle.PublicKey), only)
}

// witnessed proves when a valid signature by k was made, as far as the Root
// can tell, and that k was in its window then.
func (s signed) witnessed(k trust.Key, only keyVerifier, r trust.Root) (proof, error) {
	p := proof{signer: Signer{Key: k.ID()}, key: k.ID()}
	if err := s.observed(&p, r, only); err != nil {
		return proof{}, err
	}
	judged := p.times
	if len(judged) == 0 {
		judged = []witnessed{{s.now, TimeNone}}
	}
	for _, t := range judged {
		if err := s.inWindow(k, t.at); err != nil {
			return proof{}, err
		}
	}
	return p, nil
}

// inWindow refuses a signature made when the key was not to be used.
func (s signed) inWindow(k trust.Key, at time.Time) error {
	if k.Valid(at) {
		return nil
	}
	return s.refuse(reason.KeyOutsideWindow, "a signature in "+span(k.Window()), at.UTC().Format(time.RFC3339), nil)
}

// bound is one end of a window in words.
func bound(t time.Time) string {
	if t.IsZero() {
		return "any time"
	}
	return t.UTC().Format(time.RFC3339)
}

// material is what sigstore-go may believe while one key is tried: that key,
// whatever the bundle calls it, and the logs and authorities of the Root.
type material struct {
	root.TrustedMaterial
	key keyVerifier
}

func (m material) PublicKeyVerifier(string) (root.TimeConstrainedVerifier, error) { return m.key, nil }

// keyVerifier verifies with one key, in each way in which that kind of key is
// used.
type keyVerifier struct {
	key  trust.Key
	ways []signature.Verifier
}

func verifier(k trust.Key) (keyVerifier, error) {
	v := keyVerifier{key: k}
	add := func(way signature.Verifier, err error) error {
		v.ways = append(v.ways, way)
		return err
	}
	var err error
	switch pub := k.Public().(type) {
	case *ecdsa.PublicKey:
		switch pub.Curve {
		case elliptic.P384():
			err = add(signature.LoadECDSAVerifier(pub, crypto.SHA384))
		case elliptic.P521():
			err = add(signature.LoadECDSAVerifier(pub, crypto.SHA512))
		}
		err = errors.Join(err, add(signature.LoadECDSAVerifier(pub, crypto.SHA256)))
	case ed25519.PublicKey:
		err = errors.Join(add(signature.LoadED25519Verifier(pub)), add(signature.LoadED25519phVerifier(pub)))
	default:
		err = add(signature.LoadVerifier(pub, crypto.SHA256))
	}
	return v, err
}

// PublicKey is the key.
func (v keyVerifier) PublicKey(...signature.PublicKeyOption) (crypto.PublicKey, error) {
	return v.key.Public(), nil
}

// ValidAtTime says whether the key may sign at t.
func (v keyVerifier) ValidAtTime(t time.Time) bool { return v.key.Valid(t) }

// VerifySignature tries each way in turn.
func (v keyVerifier) VerifySignature(sig, message io.Reader, opts ...signature.VerifyOption) error {
	s, err := io.ReadAll(sig)
	if err != nil {
		return err
	}
	m, err := io.ReadAll(message)
	if err != nil {
		return err
	}
	err = errors.New("no way to verify")
	for _, way := range v.ways {
		if err = way.VerifySignature(bytes.NewReader(s), bytes.NewReader(m), opts...); err == nil {
			return nil
		}
	}
	return err
}
