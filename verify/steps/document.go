package steps

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/in-toto/in-toto-golang/in_toto"
	"github.com/opencontainers/go-digest"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"github.com/secure-systems-lab/go-securesystemslib/signerverifier"

	"github.com/ztlaunch/ztlaunch/verify/content"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// MaxSize caps a layout or link, in bytes.
const MaxSize = 4 << 20

const maxSignatures = 64

// document is a layout or link that was parsed, and of which nothing is proved.
// It is in-toto-golang's Metadata, without the parts of that which sign, write
// files or believe certificates.
type document struct {
	sum        digest.Digest
	payload    any // in_toto.Layout or in_toto.Link
	signatures []in_toto.Signature
	signed     json.RawMessage // what a classic file holds under signed
	body       []byte          // what a DSSE envelope holds; nil for a classic file
}

// both are the members of the two forms.
type both struct {
	Signed      json.RawMessage     `json:"signed"`
	PayloadType string              `json:"payloadType"`
	Payload     string              `json:"payload"`
	Signatures  []in_toto.Signature `json:"signatures"`
}

// parse reads a layout or a link. code is the reason for what is neither.
func parse(what string, raw []byte, code reason.Code) (document, error) {
	bad := func(expected, found string, err error) (document, error) {
		return document{}, &reason.Error{Code: code, What: "parse " + what, Expected: expected, Found: found, Err: err}
	}
	if len(raw) > MaxSize {
		return bad(fmt.Sprintf("at most %d bytes", MaxSize), fmt.Sprintf("%d", len(raw)), nil)
	}
	var b both
	if err := content.DecodeJSON(what, raw, &b); err != nil {
		return document{}, err
	}
	if err := known(raw, &b); err != nil {
		return bad("", "", err)
	}
	d := document{sum: digest.FromBytes(raw), signed: b.Signed}
	inner := []byte(b.Signed)
	switch classic := b.Signed != nil; {
	case classic == (b.PayloadType != "" || b.Payload != ""):
		return bad("signed, or payloadType and payload", "both or neither", nil)
	case !classic && b.PayloadType != in_toto.PayloadType:
		return bad("payload type "+in_toto.PayloadType, fmt.Sprintf("%.80q", b.PayloadType), nil)
	case !classic:
		var err error
		if d.body, err = base64.StdEncoding.Strict().DecodeString(b.Payload); err != nil {
			return bad("", "", err)
		}
		inner = d.body
	}
	var err error
	if d.payload, err = payload(what, inner); err != nil {
		if refused, told := err.(*reason.Error); told { // of its JSON
			return document{}, refused
		}
		return bad("", "", err)
	}
	if d.signatures, err = signatures(b.Signatures, d.body != nil); err != nil {
		return bad("", "", err)
	}
	return d, nil
}

// known refuses members that v does not know.
func known(raw []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	return d.Decode(v)
}

// payload reads what is signed.
func payload(what string, raw []byte) (any, error) {
	var kind struct {
		Type string `json:"_type"`
	}
	if err := content.DecodeJSON(what, raw, &kind); err != nil {
		return nil, err
	}
	switch kind.Type {
	case "layout":
		var l in_toto.Layout
		if err := content.DecodeJSON(what, raw, &l); err != nil {
			return nil, err
		}
		if err := known(raw, &l); err != nil {
			return nil, err
		}
		return l, layoutShape(l)
	case "link":
		var l in_toto.Link
		if err := content.DecodeJSON(what, raw, &l); err != nil {
			return nil, err
		}
		if err := known(raw, &l); err != nil {
			return nil, err
		}
		// in-toto-golang takes no artifacts and an empty set of them for different.
		if l.Materials == nil {
			l.Materials = map[string]in_toto.HashObj{}
		}
		if l.Products == nil {
			l.Products = map[string]in_toto.HashObj{}
		}
		return l, linkShape(l)
	}
	return nil, fmt.Errorf("_type %.40q is neither layout nor link", kind.Type)
}

// signatures holds them to one form, each key id once.
func signatures(all []in_toto.Signature, inBase64 bool) (out []in_toto.Signature, err error) {
	if len(all) > maxSignatures {
		return nil, fmt.Errorf("%d signatures, at most %d", len(all), maxSignatures)
	}
	seen := map[string]bool{}
	for i, s := range all {
		if !keyID(s.KeyID) {
			return nil, fmt.Errorf("signatures[%d]: keyid %.80q is no lower-case hex", i, s.KeyID)
		}
		if seen[s.KeyID] {
			return nil, fmt.Errorf("signatures[%d]: a second one by %s", i, s.KeyID)
		}
		seen[s.KeyID] = true
		decode := hex.DecodeString
		if inBase64 {
			decode = base64.StdEncoding.Strict().DecodeString
		}
		if _, err := decode(s.Sig); err != nil {
			return nil, fmt.Errorf("signatures[%d]: %w", i, err)
		}
		out = append(out, in_toto.Signature{KeyID: s.KeyID, Sig: s.Sig}) // without a certificate: nothing asks for one
	}
	return out, nil
}

// short is how many digits of a key id the name of a file shows.
const short = 8

// keyID says whether a text is a key id: lower-case hex, as every in-toto writes
// it. Key ids are labels that a layout gives to keys, and prove nothing.
func keyID(s string) bool {
	return len(s) >= short && len(s) <= 128 && strings.Trim(s, "0123456789abcdef") == ""
}

// Sign is no part of reading.
func (d document) Sign(in_toto.Key) error { return errReading }

// Dump is no part of reading.
func (d document) Dump(string) error { return errReading }

var errReading = errors.New("documents are only read")

// GetPayload is the Layout or Link.
func (d document) GetPayload() any { return d.payload }

// Sigs are the signatures, without certificates.
func (d document) Sigs() []in_toto.Signature { return d.signatures }

// GetSignatureForKeyID is the signature beside which that key id stands.
func (d document) GetSignatureForKeyID(id string) (in_toto.Signature, error) {
	for _, s := range d.signatures {
		if s.KeyID == id {
			return s, nil
		}
	}
	return in_toto.Signature{}, fmt.Errorf("no signature by %s", id)
}

// VerifySignature proves the signature beside which the key's id stands, over the
// bytes as the file has them: not over what a struct made of them.
func (d document) VerifySignature(key in_toto.Key) error {
	sig, err := d.GetSignatureForKeyID(key.KeyID)
	if err != nil {
		return err
	}
	if d.body == nil {
		m := in_toto.Metablock{Signed: d.signed, Signatures: []in_toto.Signature{sig}}
		return m.VerifySignature(key)
	}
	by, err := verifier(key)
	if err != nil {
		return err
	}
	v, err := dsse.NewEnvelopeVerifier(by)
	if err != nil {
		return err
	}
	_, err = v.Verify(context.Background(), &dsse.Envelope{PayloadType: in_toto.PayloadType,
		Payload: base64.StdEncoding.EncodeToString(d.body), Signatures: []dsse.Signature{{KeyID: sig.KeyID, Sig: sig.Sig}}})
	return err
}

// verifier is what in-toto-golang makes of a key for its own envelopes, which
// cannot be made from memory.
func verifier(key in_toto.Key) (dsse.Verifier, error) {
	k := signerverifier.SSLibKey{KeyType: key.KeyType, KeyID: key.KeyID, Scheme: key.Scheme, KeyVal: signerverifier.KeyVal{Public: key.KeyVal.Public}}
	switch key.KeyType {
	case signerverifier.RSAKeyType:
		return signerverifier.NewRSAPSSSignerVerifierFromSSLibKey(&k)
	case signerverifier.ED25519KeyType:
		return signerverifier.NewED25519SignerVerifierFromSSLibKey(&k)
	case signerverifier.ECDSAKeyType:
		return signerverifier.NewECDSASignerVerifierFromSSLibKey(&k)
	}
	return nil, fmt.Errorf("keys of type %.20q are not known", key.KeyType)
}
