package evidence_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"os"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/trust"
)

// now is when these tests happen.
var now = time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)

// image is the manifest that they are about.
var image = digest.FromString("image")

// object is a JSON object that a test can change before it is written.
type object = map[string]any

// statement says an empty cosign signature of image.
func statement() object {
	return object{
		"_type":         evidence.StatementV1,
		"subject":       []any{object{"name": "registry.example/agent", "digest": object{"sha256": image.Encoded()}}},
		"predicateType": evidence.PredicateCosignSign,
		"predicate":     object{"n": 1},
	}
}

// pae is what a DSSE signature covers (DSSE protocol, v1.0.2).
func pae(payloadType string, payload []byte) []byte {
	return fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(payloadType), payloadType, len(payload), payload)
}

// signer is a private key and the hash that it signs with; 0 signs the message.
type signer struct {
	crypto.Signer
	hash crypto.Hash
}

func (s signer) sign(t *testing.T, message []byte) []byte {
	t.Helper()
	sum := message
	if s.hash != 0 {
		h := s.hash.New()
		h.Write(message)
		sum = h.Sum(nil)
	}
	sig, err := s.Sign(rand.Reader, sum, s.hash)
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

func (s signer) key(t *testing.T) trust.Key {
	t.Helper()
	k, err := trust.NewKey(s.Public())
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// hint is the name that cosign gives a key.
func (s signer) hint(t *testing.T) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(s.Public())
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(der)
	return base64.StdEncoding.EncodeToString(sum[:])
}

func newEC(t *testing.T, curve elliptic.Curve, hash crypto.Hash) signer {
	t.Helper()
	k, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return signer{k, hash}
}

func newP256(t *testing.T) signer { return newEC(t, elliptic.P256(), crypto.SHA256) }

func newEd(t *testing.T, hash crypto.Hash) signer {
	t.Helper()
	_, k, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return signer{k, hash}
}

func newRSA(t *testing.T) signer {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return signer{k, crypto.SHA256}
}

// readRSA is a key that takes long to make.
func readRSA(t *testing.T, name string) signer {
	t.Helper()
	raw, err := os.ReadFile("testdata/" + name + ".pem")
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(raw)
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return signer{k.(*rsa.PrivateKey), crypto.SHA256}
}

// seal signs a statement and gives the bundle as an object to change.
func seal(t *testing.T, s signer, st object) object {
	t.Helper()
	return sealRaw(t, s, encode(t, st))
}

func sealRaw(t *testing.T, s signer, payload []byte) object {
	t.Helper()
	return object{
		"mediaType":            evidence.MediaType,
		"verificationMaterial": object{"publicKey": object{"hint": s.hint(t)}},
		"dsseEnvelope": object{
			"payload": payload, "payloadType": evidence.PayloadType,
			"signatures": []any{object{"sig": s.sign(t, pae(evidence.PayloadType, payload))}},
		},
	}
}

// edited replaces what a bundle says, and leaves its signature.
func edited(t *testing.T, b object, payload []byte) object {
	t.Helper()
	return set(b, payload, "dsseEnvelope", "payload")
}

// sealMessage signs bare bytes.
func sealMessage(t *testing.T, s signer, message []byte) object {
	t.Helper()
	sum := sha256.Sum256(message)
	return object{
		"mediaType":            evidence.MediaType,
		"verificationMaterial": object{"publicKey": object{"hint": s.hint(t)}},
		"messageSignature": object{
			"messageDigest": object{"algorithm": "SHA2_256", "digest": sum[:]},
			"signature":     s.sign(t, message),
		},
	}
}

// set changes the member at a path; a nil value removes it.
func set(doc object, value any, path ...string) object {
	at := doc
	for _, key := range path[:len(path)-1] {
		at = at[key].(object)
	}
	if key := path[len(path)-1]; value == nil {
		delete(at, key)
	} else {
		at[key] = value
	}
	return doc
}

// clone is a copy of an object's own members.
func clone(doc object) object { return maps.Clone(doc) }

func encode(t *testing.T, v any) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// parse reads what must be well-formed.
func parse(t *testing.T, v any) evidence.Envelope {
	t.Helper()
	raw, ok := v.([]byte)
	if !ok {
		raw = encode(t, v)
	}
	e, err := evidence.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// flip changes one bit in the middle.
func flip(b []byte) []byte {
	c := bytes.Clone(b)
	c[len(c)/2] ^= 1
	return c
}

func code(err error) reason.Code {
	if e, ok := reason.Of(err); ok {
		return e.Code
	}
	if err != nil {
		return reason.Code("no reason: " + err.Error())
	}
	return ""
}

// refused demands exactly this refusal, and no Claim beside it.
func refused(t *testing.T, c evidence.Claim, err error, want reason.Code) {
	t.Helper()
	if code(err) != want {
		t.Errorf("%v, want %s", err, want)
	}
	if r, ok := reason.Of(err); ok && r.Next == "" {
		t.Errorf("%v: no next step", err)
	}
	if !c.Zero() {
		t.Error("a refused envelope leaves a claim")
	}
}

// spki is the public key in DER.
func spki(t *testing.T, s signer) []byte {
	t.Helper()
	block, _ := pem.Decode(s.key(t).PEM())
	return block.Bytes
}
