// Package verifytest is a Sigstore instance in memory, for tests: what
// httptest is to HTTP. It has a certificate authority that issues certificates
// of Fulcio's shape with every extension, two certificate-transparency logs, two
// transparency logs (Rekor v1 and v2) and a timestamp authority, and it gives
// out the trusted_root.json that describes them and the bundles that they
// would have signed. There is no network, no server and no clock: everything
// happens at Epoch unless a test says otherwise.
//
// Nothing here shares code with what checks it. Certificates, signed
// certificate timestamps, log entries, promises, proofs and checkpoints are
// written down from their specifications (RFC 5280, RFC 6962, Rekor's entry
// types, C2SP signed notes); only the RFC 3161 token comes from a library.
package verifytest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"testing"
	"time"

	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	prototrust "github.com/sigstore/protobuf-specs/gen/pb-go/trustroot/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Epoch is when attestations are made unless Options.At says otherwise.
func Epoch() time.Time { return time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC) }

// opened is since when the instance exists.
func opened() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }

// Sigstore is one instance. Two of them trust each other as little as any two.
type Sigstore struct {
	root, issuer   authority // certificates
	stampRoot, tsa authority // timestamps
	ct, ct2        log
	rekor, tiles   log
	trusted        []byte
}

// Config changes an instance as a whole.
type Config struct {
	// IssuerUntil is the end of validity of the certificate that issues
	// certificates; zero is ten years from the start.
	IssuerUntil time.Time
}

// New starts an instance.
func New(t testing.TB) *Sigstore {
	t.Helper()
	return NewWith(t, Config{})
}

// NewWith starts an instance that differs from the usual.
func NewWith(t testing.TB, c Config) *Sigstore {
	t.Helper()
	until := c.IssuerUntil
	if until.IsZero() {
		until = opened().AddDate(10, 0, 0)
	}
	s := &Sigstore{
		ct:    log{key: newKey(t), url: "https://ct.sigstore.test"},
		ct2:   log{key: newKey(t), url: "https://ct2.sigstore.test"},
		rekor: log{key: newKey(t), url: "https://rekor.sigstore.test"},
		tiles: log{key: newKey(t), url: "https://log2026.sigstore.test"},
	}
	s.root = newAuthority(t, "sigstore root", nil, opened().AddDate(20, 0, 0), ca(x509.ExtKeyUsageCodeSigning))
	s.issuer = newAuthority(t, "sigstore issuer", &s.root, until, ca(x509.ExtKeyUsageCodeSigning))
	s.stampRoot = newAuthority(t, "sigstore timestamp root", nil, opened().AddDate(20, 0, 0), ca(x509.ExtKeyUsageTimeStamping))
	s.tsa = newAuthority(t, "sigstore timestamps", &s.stampRoot, opened().AddDate(10, 0, 0), stamps)
	s.trusted = s.describe(t)
	return s
}

// Root is the instance's trusted_root.json.
func (s *Sigstore) Root() []byte { return bytes.Clone(s.trusted) }

func (s *Sigstore) describe(t testing.TB) []byte {
	t.Helper()
	raw, err := protojson.Marshal(&prototrust.TrustedRoot{
		MediaType:              "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
		Tlogs:                  []*prototrust.TransparencyLogInstance{s.rekor.instance(t), s.tiles.instance(t)},
		Ctlogs:                 []*prototrust.TransparencyLogInstance{s.ct.instance(t), s.ct2.instance(t)},
		CertificateAuthorities: []*prototrust.CertificateAuthority{chain("https://fulcio.sigstore.test", s.issuer, s.root)},
		TimestampAuthorities:   []*prototrust.CertificateAuthority{chain("https://tsa.sigstore.test", s.tsa, s.stampRoot)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func chain(uri string, all ...authority) *prototrust.CertificateAuthority {
	c := &prototrust.CertificateAuthority{Uri: uri, CertChain: &protocommon.X509CertificateChain{}, ValidFor: always()}
	for _, a := range all {
		c.CertChain.Certificates = append(c.CertChain.Certificates, &protocommon.X509Certificate{RawBytes: a.cert.Raw})
	}
	return c
}

func always() *protocommon.TimeRange { return &protocommon.TimeRange{Start: timestamppb.New(opened())} }

// newKey makes an ECDSA P-256 key, the kind that everybody here signs with.
func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// sign signs SHA-256 of a message, in ASN.1.
func sign(t testing.TB, k *ecdsa.PrivateKey, message []byte) []byte {
	t.Helper()
	sum := sha256.Sum256(message)
	sig, err := k.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

// spki is a public key in DER.
func spki(t testing.TB, k crypto.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return der
}
