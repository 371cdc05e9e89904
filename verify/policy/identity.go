package policy

import (
	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/trust"
)

// Identity is somebody whom a policy believes: a key, the fields of a keyless
// certificate, or a name that a private authority certifies. A signer of one sort
// is never an identity of another.
type Identity struct {
	name        string
	key         trust.Key
	file        string // that holds the key; "" if the policy does
	keyless     Keyless
	certificate Certificate
}

// Name is the name that demands use.
func (id Identity) Name() string { return id.name }

// Key is the key of a key identity, else the zero Key.
func (id Identity) Key() trust.Key { return id.key }

// Keyless are the certificate fields of a keyless identity.
func (id Identity) Keyless() Keyless { return id.keyless }

// Certificate is what a private authority must have certified, else zero.
func (id Identity) Certificate() Certificate { return id.certificate }

// String is the identity in one line, for people.
func (id Identity) String() string {
	switch {
	case !id.key.Zero():
		return "key " + id.key.ID()
	case !id.certificate.zero():
		return id.certificate.String()
	}
	return id.keyless.String()
}

// Difference is one field in which a signer is not the identity.
type Difference struct{ Field, Expected, Found string }

// Differences are the fields in which a signer is not this identity; none
// means that the signer is this identity.
func (id Identity) Differences(s evidence.Signer) []Difference {
	switch {
	case !id.key.Zero():
		if s.Key == id.key.ID() {
			return nil
		}
		if s.Key != "" {
			return []Difference{{"key", id.key.ID(), s.Key}}
		}
		return []Difference{{"signer", "key " + id.key.ID(), s.String()}}
	case !id.certificate.zero():
		if !s.Certified() {
			return []Difference{{"signer", "a certificate of " + id.String(), s.String()}}
		}
		return id.certificate.differences(s)
	case !s.Keyless():
		return []Difference{{"signer", "a certificate with " + id.String(), s.String()}}
	}
	return id.keyless.differences(s)
}
