package verifytest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/digitorus/timestamp"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"google.golang.org/protobuf/encoding/protojson"
)

// Options changes one attestation. The zero Options make a good one in Rekor
// v1.
type Options struct {
	At         time.Time // when it is signed, logged and timestamped; zero: Epoch
	IssuedAt   time.Time // start of the certificate's ten minutes; zero: a minute before At
	Log        Version
	Also       []Version // hold it too: the other log, or the same one in another place
	SCT        SCT
	Template   func(*x509.Certificate) // changes the certificate before it is issued
	StampedBy  *Sigstore               // whose authority timestamps it; nil: this instance's
	StampAt    time.Time               // when it is timestamped; zero: At, and in Rekor v1 not at all
	Stamp      Stamp
	StampBytes []byte // timestamp these instead of the signature
	Forged     bool   // sign with a key that is not the certificate's
}

// Stamp says what timestamp a bundle carries.
type Stamp uint8

// The kinds of timestamp.
const (
	StampGood     Stamp = iota
	StampNone           // none, where there would be one
	StampForged         // names the authority's certificate, signed by another key
	StampShadowed       // signed by a stranger, the authority's certificate before his in the token
)

// GitHub is who a GitHub Actions workflow is, with every field that Fulcio
// writes for it: repository "acme/agent", workflow ".github/workflows/x.yml",
// ref "refs/tags/v1", trigger "push".
func GitHub(repository, workflow, ref, trigger string) evidence.Signer {
	const commit = "0123456789abcdef0123456789abcdef01234567"
	uri := "https://github.com/" + repository
	config := uri + "/" + workflow + "@" + ref
	owner := uri[:len(uri)-len(repository)+strings.IndexByte(repository, '/')]
	return evidence.Signer{
		Issuer: "https://token.actions.githubusercontent.com", SAN: config, SANType: "uri",
		BuildSignerURI: config, BuildSignerDigest: commit, RunnerEnvironment: "github-hosted",
		SourceRepositoryURI: uri, SourceRepositoryDigest: commit, SourceRepositoryRef: ref,
		SourceRepositoryIdentifier: "1001", SourceRepositoryOwnerURI: owner, SourceRepositoryOwnerIdentifier: "1002",
		BuildConfigURI: config, BuildConfigDigest: commit, BuildTrigger: trigger,
		RunInvocationURI: uri + "/actions/runs/1003/attempts/1", SourceRepositoryVisibilityAtSigning: "public",
		GitHubWorkflowTrigger: trigger, GitHubWorkflowSHA: commit, GitHubWorkflowName: "release",
		GitHubWorkflowRepository: repository, GitHubWorkflowRef: ref,
	}
}

// Email is who a person with an e-mail address is.
func Email(address, issuer string) evidence.Signer {
	return evidence.Signer{Issuer: issuer, SAN: address, SANType: "email"}
}

// Attest signs an in-toto statement as who and gives the bundle.
func (s *Sigstore) Attest(t testing.TB, who evidence.Signer, statement []byte, o Options) []byte {
	t.Helper()
	o = o.filled()
	k := newKey(t)
	cert := s.issue(t, who, k, o)
	if o.Forged {
		k = newKey(t)
	}
	b := envelope(t, k, statement)
	b.VerificationMaterial = &protobundle.VerificationMaterial{Content: &protobundle.VerificationMaterial_Certificate{
		Certificate: &protocommon.X509Certificate{RawBytes: cert.Raw},
	}}
	s.witness(t, b, pem.Block{Type: certificate, Bytes: cert.Raw}, o)
	return write(t, b)
}

// AttestKey signs an in-toto statement with a key, logs it and gives the
// bundle.
func (s *Sigstore) AttestKey(t testing.TB, k Key, statement []byte, o Options) []byte {
	t.Helper()
	b := k.bundle(t, statement)
	s.witness(t, b, pem.Block{Type: publicKey, Bytes: spki(t, k.private.Public())}, o.filled())
	return write(t, b)
}

func (o Options) filled() Options {
	if o.At.IsZero() {
		o.At = Epoch()
	}
	if o.IssuedAt.IsZero() {
		o.IssuedAt = o.At.Add(-time.Minute)
	}
	if o.StampAt.IsZero() && o.Log == RekorV2 && len(o.Also) == 0 {
		o.StampAt = o.At
	}
	return o
}

// witness adds the log entry and the timestamp.
func (s *Sigstore) witness(t testing.TB, b *protobundle.Bundle, by pem.Block, o Options) {
	t.Helper()
	b.VerificationMaterial.TlogEntries = []*protorekor.TransparencyLogEntry{s.entry(t, b, by, o.Log, 1, o)}
	for _, v := range o.Also {
		index := int64(1)
		if v == o.Log {
			index = 0
		}
		b.VerificationMaterial.TlogEntries = append(b.VerificationMaterial.TlogEntries, s.entry(t, b, by, v, index, o))
	}
	if !o.StampAt.IsZero() && o.Stamp != StampNone {
		b.VerificationMaterial.TimestampVerificationData = s.stamp(t, b.GetDsseEnvelope().GetSignatures()[0].GetSig(), o)
	}
}

// stamp is an RFC 3161 response over the signature.
func (s *Sigstore) stamp(t testing.TB, sig []byte, o Options) *protobundle.TimestampVerificationData {
	t.Helper()
	by := s.tsa
	if o.StampedBy != nil {
		by = o.StampedBy.tsa
	}
	if o.StampBytes != nil {
		sig = o.StampBytes
	}
	sum := sha256.Sum256(sig)
	token := timestamp.Timestamp{
		HashAlgorithm: crypto.SHA256, HashedMessage: sum[:], Time: o.StampAt, SerialNumber: big.NewInt(1),
		Policy: []int{1, 3, 6, 1, 4, 1, 57264, 2}, AddTSACertificate: true,
	}
	switch o.Stamp {
	case StampForged:
		by.key = newKey(t)
	case StampShadowed:
		by = New(t).tsa
	}
	raw, err := token.CreateResponseWithOpts(by.cert, by.key, crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	if o.Stamp == StampShadowed {
		raw = shadow(t, raw, s.tsa.cert)
	}
	return &protobundle.TimestampVerificationData{Rfc3161Timestamps: []*protocommon.RFC3161SignedTimestamp{{SignedTimestamp: raw}}}
}

// shadow puts a certificate before those of a timestamp response. They stand
// outside of what is signed (RFC 5652, section 5.1).
func shadow(t testing.TB, raw []byte, first *x509.Certificate) []byte {
	t.Helper()
	var response struct {
		Status asn1.RawValue
		Token  struct {
			Type asn1.ObjectIdentifier
			Data struct {
				Version                                    int
				Algorithms, Content, Certificates, Signers asn1.RawValue
			} `asn1:"explicit,tag:0"`
		}
	}
	if rest, err := asn1.Unmarshal(raw, &response); err != nil || len(rest) > 0 {
		t.Fatalf("timestamp response: %v, %d bytes left", err, len(rest))
	}
	bag := &response.Token.Data.Certificates
	*bag = asn1.RawValue{Class: bag.Class, Tag: bag.Tag, IsCompound: true, Bytes: append(bytes.Clone(first.Raw), bag.Bytes...)}
	return der(t, response)
}

// SignBlob signs bytes that are no statement with the key and gives the bundle, as
// cosign sign-blob does.
func (k Key) SignBlob(t testing.TB, blob []byte) []byte {
	t.Helper()
	sum := sha256.Sum256(blob)
	b := k.bundle(t, nil)
	b.Content = &protobundle.Bundle_MessageSignature{MessageSignature: &protocommon.MessageSignature{
		MessageDigest: &protocommon.HashOutput{Algorithm: protocommon.HashAlgorithm_SHA2_256, Digest: sum[:]},
		Signature:     sign(t, k.private, blob),
	}}
	return write(t, b)
}

// Key is a key pair for signatures without a certificate.
type Key struct{ private *ecdsa.PrivateKey }

// NewKey makes a key pair.
func NewKey(t testing.TB) Key {
	t.Helper()
	return Key{newKey(t)}
}

// Public is the public half as a PEM file.
func (k Key) Public(t testing.TB) []byte {
	t.Helper()
	return pem.EncodeToMemory(&pem.Block{Type: publicKey, Bytes: spki(t, k.private.Public())})
}

// Attest signs an in-toto statement with the key and gives the bundle.
func (k Key) Attest(t testing.TB, statement []byte) []byte {
	t.Helper()
	return write(t, k.bundle(t, statement))
}

func (k Key) bundle(t testing.TB, statement []byte) *protobundle.Bundle {
	t.Helper()
	b := envelope(t, k.private, statement)
	sum := sha256.Sum256(spki(t, k.private.Public()))
	b.VerificationMaterial = &protobundle.VerificationMaterial{Content: &protobundle.VerificationMaterial_PublicKey{
		PublicKey: &protocommon.PublicKeyIdentifier{Hint: base64.StdEncoding.EncodeToString(sum[:])},
	}}
	return b
}

func envelope(t testing.TB, k *ecdsa.PrivateKey, statement []byte) *protobundle.Bundle {
	t.Helper()
	return &protobundle.Bundle{
		MediaType: evidence.MediaType,
		Content: &protobundle.Bundle_DsseEnvelope{DsseEnvelope: &protodsse.Envelope{
			Payload: statement, PayloadType: evidence.PayloadType,
			Signatures: []*protodsse.Signature{{Sig: sign(t, k, pae(evidence.PayloadType, statement))}},
		}},
	}
}

func write(t testing.TB, b *protobundle.Bundle) []byte {
	t.Helper()
	raw, err := protojson.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// Statement writes an in-toto Statement v1 about the hex SHA-256 digests.
func Statement(t testing.TB, predicateType string, predicate any, sha256s ...string) []byte {
	t.Helper()
	subjects := []any{}
	for _, sum := range sha256s {
		subjects = append(subjects, object{"name": "", "digest": object{"sha256": sum}})
	}
	raw, err := json.Marshal(object{
		"_type": evidence.StatementV1, "subject": subjects, "predicateType": predicateType, "predicate": predicate,
	})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
