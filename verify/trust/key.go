package trust

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// MaxKeySize caps a public key file, in bytes.
const MaxKeySize = 16 << 10

// Key is a public key that may sign, within a window of time. The zero Key
// matches nothing.
type Key struct {
	id          string
	der         string // SubjectPublicKeyInfo
	public      crypto.PublicKey
	from, until time.Time // zero: unbounded
}

// ParseKey reads a PEM "PUBLIC KEY" file. It refuses with trust-key-malformed,
// trust-key-unsupported or trust-key-weak.
func ParseKey(raw []byte) (Key, error) {
	const what = "read public key"
	malformed := func(found string, err error) (Key, error) {
		return Key{}, &reason.Error{
			Code: reason.TrustKeyMalformed, What: what,
			Expected: "one PEM block PUBLIC KEY", Found: found, Err: err,
		}
	}
	if len(raw) > MaxKeySize {
		return malformed(fmt.Sprintf("%d bytes", len(raw)), nil)
	}
	block, rest := pem.Decode(raw)
	switch {
	case block == nil:
		return malformed("no PEM block", nil)
	case block.Type != "PUBLIC KEY":
		return malformed(block.Type, nil)
	case bytes.Count(raw, []byte("-----BEGIN ")) != 1:
		return malformed("several PEM blocks", nil)
	case len(bytes.TrimSpace(rest)) > 0:
		return malformed("data after the block", nil)
	case len(block.Headers) > 0:
		return malformed("PEM headers", nil)
	}
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return malformed("", err)
	}
	return NewKey(public)
}

// NewKey takes a key that is already in memory, under the same rules.
func NewKey(public crypto.PublicKey) (Key, error) {
	if err := usable(public); err != nil {
		return Key{}, err
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return Key{}, &reason.Error{Code: reason.TrustKeyMalformed, What: "read public key", Err: err}
	}
	sum := sha256.Sum256(der)
	return Key{id: "sha256:" + hex.EncodeToString(sum[:]), der: string(der), public: public}, nil
}

func usable(public crypto.PublicKey) error {
	const supported = "ECDSA P-256, P-384 or P-521, Ed25519, or RSA of 2048 to 8192 bits"
	refuse := func(code reason.Code, found string) error {
		return &reason.Error{Code: code, What: "read public key", Expected: supported, Found: found}
	}
	switch k := public.(type) {
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256(), elliptic.P384(), elliptic.P521():
			return nil
		}
		return refuse(reason.TrustKeyUnsupported, "ECDSA "+k.Curve.Params().Name)
	case ed25519.PublicKey:
		return nil
	case *rsa.PublicKey:
		bits := k.N.BitLen()
		switch {
		case bits < 2048:
			return refuse(reason.TrustKeyWeak, fmt.Sprintf("RSA of %d bits", bits))
		case bits > 8192:
			return refuse(reason.TrustKeyUnsupported, fmt.Sprintf("RSA of %d bits", bits))
		}
		return nil
	}
	return refuse(reason.TrustKeyUnsupported, fmt.Sprintf("%T", public))
}

// Within is the same key, valid only in [from, until]; a zero bound is open.
func (k Key) Within(from, until time.Time) Key {
	k.from, k.until = from, until
	return k
}

// ID is sha256:HEX over the SubjectPublicKeyInfo.
func (k Key) ID() string { return k.id }

// Public is the key itself.
func (k Key) Public() crypto.PublicKey { return k.public }

// PEM is the key as a file, the form that ParseKey reads.
func (k Key) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte(k.der)})
}

// Window is the time in which the key may sign; a zero bound is open.
func (k Key) Window() (from, until time.Time) { return k.from, k.until }

// Valid says whether the key may sign at t. Both bounds are inclusive.
func (k Key) Valid(t time.Time) bool {
	return (k.from.IsZero() || !t.Before(k.from)) && (k.until.IsZero() || !t.After(k.until))
}

// Zero says that there is no key.
func (k Key) Zero() bool { return k.public == nil }

// Named says whether a hint found in an envelope is one of this key's names,
// and whether the hint is a name at all. A hint is nobody's promise: it serves
// to say "signed by a key that you do not have" instead of "signature invalid".
//
// The names in use are SHA-256 over the DER form in base64 (cosign,
// sigstore-go), the same with the prefix SHA256: (npm) or in hex, and SHA-256
// over the PEM text in hex (OpenSSF model signing). Anything else is a label
// that names no key.
func (k Key) Named(hint string) (named, name bool) {
	sum, ok := hashName(hint)
	if !ok {
		return false, false
	}
	der, text := sha256.Sum256([]byte(k.der)), sha256.Sum256(k.PEM())
	return !k.Zero() && (sum == der || sum == text), true
}

// Spell writes a hint that is a key's name the one way in which ztlaunch writes
// names of keys, "sha256:" and hex; any other hint is quoted.
func Spell(hint string) string {
	if sum, ok := hashName(hint); ok {
		return "sha256:" + hex.EncodeToString(sum[:])
	}
	return strconv.Quote(hint)
}

func hashName(hint string) (sum [32]byte, ok bool) {
	var raw []byte
	var err error
	hint = strings.TrimPrefix(strings.TrimPrefix(hint, "SHA256:"), "sha256:")
	if len(hint) == hex.EncodedLen(len(sum)) {
		raw, err = hex.DecodeString(hint)
	} else {
		raw, err = base64.StdEncoding.DecodeString(hint)
	}
	return sum, err == nil && copy(sum[:], raw) == len(sum) && len(raw) == len(sum)
}

func compareKeys(a, b Key) int {
	return cmp.Or(strings.Compare(a.id, b.id), a.from.Compare(b.from), a.until.Compare(b.until))
}
