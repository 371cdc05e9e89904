// Package sign is the only maker of signatures: a Key and a Statement become a
// Sigstore bundle.
//
// # Keys
//
// A private key is a PEM block "ENCRYPTED SIGSTORE PRIVATE KEY" (or, from old
// versions of cosign, "ENCRYPTED COSIGN PRIVATE KEY") around a PKCS#8 key that
// is sealed with NaCl secretbox under a scrypt key of the passphrase. The code
// that writes and opens it is cosign's own, so the files are interchangeable.
// New keys are ECDSA P-256. The passphrase may be empty.
//
// # Bundles
//
// A signature is a DSSE envelope over an in-toto Statement v1, payload type
// application/vnd.in-toto+json, in a bundle of media type
// application/vnd.dev.sigstore.bundle.v0.3+json without a log entry. As cosign
// v3 writes it, publicKey.hint is the base64 SHA-256 of the key's
// SubjectPublicKeyInfo; in a model signature it is the hex SHA-256 of the PEM
// text (OpenSSF Model Signing v1.0). ECDSA signs with the curve's own SHA-2,
// RSA with PKCS#1 v1.5 and SHA-256, Ed25519 pure.
//
// A file that is no statement is signed as it is: the bundle then holds a
// messageSignature with the file's SHA-256, as cosign sign-blob writes it.
//
// The JSON is compact, and apart from the signature the same statement always
// makes the same bytes.
//
// # What it does not do
//
// It logs nothing, timestamps nothing, asks for no certificate and writes no
// file. It does not hold predicates to a schema, nor to the I-JSON rules under
// which verify/evidence will read them: whoever signs somebody's document
// checks the result as anybody would.
package sign

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"github.com/sigstore/cosign/v2/pkg/cosign"
	"github.com/sigstore/cosign/v2/pkg/types"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"google.golang.org/protobuf/encoding/protojson"
)

// maxKeySize caps a private key file, in bytes.
const maxKeySize = 64 << 10

// Pair is a new key as two files: the private half, to be kept at mode 0600,
// and the public half.
type Pair struct {
	Private, Public []byte // PEM
}

// Generate makes an ECDSA P-256 key and seals it with the passphrase.
func Generate(passphrase []byte) (Pair, error) {
	k, err := cosign.GenerateKeyPair(func(bool) ([]byte, error) { return passphrase, nil })
	if err != nil {
		return Pair{}, fmt.Errorf("generate key: %w", err)
	}
	return Pair{Private: k.PrivateBytes, Public: k.PublicBytes}, nil
}

// Key is a private key, open. The zero Key signs nothing.
type Key struct {
	signer signature.Signer
	der    []byte // SubjectPublicKeyInfo
}

// Load opens a private key file. It refuses with sign-key-malformed,
// sign-key-type or sign-key-passphrase.
func Load(raw, passphrase []byte) (Key, error) {
	const what = "open private key"
	refuse := func(code reason.Code, expected, found, next string, err error) (Key, error) {
		return Key{}, &reason.Error{Code: code, What: what, Expected: expected, Found: found, Next: next, Err: err}
	}
	const expected = cosign.SigstorePrivateKeyPemType
	if len(raw) > maxKeySize {
		return refuse(reason.SignKeyMalformed, fmt.Sprintf("at most %d bytes", maxKeySize), fmt.Sprint(len(raw)), "", nil)
	}
	block, rest := pem.Decode(raw)
	switch {
	case block == nil:
		return refuse(reason.SignKeyMalformed, expected, "no PEM block", "", nil)
	case len(bytes.TrimSpace(rest)) > 0:
		return refuse(reason.SignKeyMalformed, expected, "data after the block", "", nil)
	case block.Type != cosign.SigstorePrivateKeyPemType && block.Type != cosign.CosignPrivateKeyPemType:
		return refuse(reason.SignKeyType, expected, block.Type, "cosign import-key-pair --key FILE", nil)
	case !json.Valid(block.Bytes):
		return refuse(reason.SignKeyMalformed, "a sealed key", "no JSON", "", nil)
	}
	// No load options: Ed25519 signs pure, as DSSE is verified everywhere.
	sv, err := cosign.LoadPrivateKey(raw, passphrase, &[]signature.LoadOption{})
	if err != nil {
		return refuse(reason.SignKeyPassphrase, "the key's passphrase", "", "export COSIGN_PASSWORD, with the passphrase of this key", err)
	}
	public, err := sv.PublicKey()
	if err != nil {
		return refuse(reason.SignKeyMalformed, "", "", "", err)
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return refuse(reason.SignKeyMalformed, "", "", "", err)
	}
	return Key{signer: sv, der: der}, nil
}

// Public is the public half as a PEM file.
func (k Key) Public() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: k.der})
}

// Zero says that there is no key.
func (k Key) Zero() bool { return k.signer == nil }

// Sign puts a statement into an envelope and signs it. The statement is signed
// as it is, byte for byte.
func Sign(k Key, statement []byte) ([]byte, error) {
	return bundle(k, statement, k.hint())
}

// hint is the key's name as cosign writes it.
func (k Key) hint() string {
	sum := sha256.Sum256(k.der)
	return base64.StdEncoding.EncodeToString(sum[:])
}

func bundle(k Key, statement []byte, hint string) ([]byte, error) {
	if k.Zero() {
		return nil, errors.New("sign statement: no key")
	}
	if !json.Valid(statement) {
		return nil, errors.New("sign statement: not JSON")
	}
	const payloadType = types.IntotoPayloadType
	sig, err := k.signer.SignMessage(bytes.NewReader(dsse.PAE(payloadType, statement)))
	if err != nil {
		return nil, fmt.Errorf("sign statement: %w", err)
	}
	return write(&protobundle.Bundle{
		VerificationMaterial: material(hint),
		Content: &protobundle.Bundle_DsseEnvelope{DsseEnvelope: &protodsse.Envelope{
			Payload: statement, PayloadType: payloadType, Signatures: []*protodsse.Signature{{Sig: sig}},
		}},
	})
}

// material names the key by a hint.
func material(hint string) *protobundle.VerificationMaterial {
	return &protobundle.VerificationMaterial{
		Content: &protobundle.VerificationMaterial_PublicKey{PublicKey: &protocommon.PublicKeyIdentifier{Hint: hint}},
	}
}

// write gives a bundle its media type, and its JSON.
func write(b *protobundle.Bundle) ([]byte, error) {
	b.MediaType = "application/vnd.dev.sigstore.bundle.v0.3+json"
	loose, err := protojson.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("write bundle: %w", err)
	}
	var out bytes.Buffer // protojson varies its white space on purpose
	if err := json.Compact(&out, loose); err != nil {
		return nil, fmt.Errorf("write bundle: %w", err)
	}
	return out.Bytes(), nil
}
