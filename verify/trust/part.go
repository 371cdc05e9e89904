package trust

import (
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"

	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	prototrust "github.com/sigstore/protobuf-specs/gen/pb-go/trustroot/v1"
)

// Role is what a part of a Sigstore root is believed for.
type Role string

// The roles, in the order of Parts.
const (
	Issuer  Role = "certificate-authority"
	RekorV1 Role = "rekor-v1" // named by the digest of its key
	RekorV2 Role = "rekor-v2" // named by the key of its checkpoints
	CTLog   Role = "ct-log"
	Stamper Role = "timestamp-authority"
)

// Part is one authority or log of a Sigstore root.
type Part struct {
	Role        Role
	ID          string    // a log's ID or the digest of an authority's certificates, in hex
	Name        string    // the URL, or whom the first certificate names
	Key         string    // "ECDSA P-256": a log's key, or that of an authority's first certificate
	From, Until time.Time // both inclusive; zero Until: open
	content     [sha256.Size]byte
}

// Current says whether the part may be used for what happens at t.
func (p Part) Current(t time.Time) bool {
	return !t.Before(p.From) && (p.Until.IsZero() || !t.After(p.Until))
}

// Parts are the authorities and logs of the Sigstore root, in the order of the
// file within each role. Without a root it refuses with trust-root-absent.
func (r Root) Parts() ([]Part, error) {
	if _, err := r.Sigstore(); err != nil {
		return nil, err
	}
	m, err := r.sigstore.load() // the same again
	if err != nil {
		return nil, err
	}
	var all []Part
	for _, ca := range m.file.GetCertificateAuthorities() {
		all = append(all, authority(Issuer, ca))
	}
	for _, log := range m.file.GetTlogs() {
		all = append(all, logPart(RekorV2, log))
	}
	for _, log := range m.file.GetCtlogs() {
		all = append(all, logPart(CTLog, log))
	}
	for _, tsa := range m.file.GetTimestampAuthorities() {
		all = append(all, authority(Stamper, tsa))
	}
	return all, nil
}

// authority is a part whose identity is its chain of certificates: the URL and
// the subject beside it decide nothing.
func authority(role Role, ca *prototrust.CertificateAuthority) Part {
	var chain [][]byte
	for _, c := range ca.GetCertChain().GetCertificates() {
		chain = append(chain, c.GetRawBytes())
	}
	p := Part{Role: role, Name: ca.GetUri(), content: sum(role, chain...)}
	p.ID = hex.EncodeToString(p.content[:])
	if len(chain) > 0 {
		if cert, err := x509.ParseCertificate(chain[0]); err == nil {
			p.Name, p.Key = cmp.Or(p.Name, cert.Subject.String()), kind(cert.PublicKey)
		}
	}
	return p.within(ca.GetValidFor())
}

// logPart is a part whose identity is its key, how it hashes, its ID and the URL,
// which is the origin of its checkpoints.
func logPart(role Role, log *prototrust.TransparencyLogInstance) Part {
	key := log.GetPublicKey().GetRawBytes()
	if name := sha256.Sum256(key); role == RekorV2 && string(name[:]) == string(log.GetLogId().GetKeyId()) {
		role = RekorV1
	}
	p := Part{Role: role, ID: hex.EncodeToString(log.GetLogId().GetKeyId()), Name: log.GetBaseUrl(),
		content: sum(role, key, log.GetLogId().GetKeyId(), log.GetCheckpointKeyId().GetKeyId(), []byte(log.GetBaseUrl()),
			[]byte(log.GetHashAlgorithm().String()), []byte(log.GetPublicKey().GetKeyDetails().String()))}
	if public, err := x509.ParsePKIXPublicKey(key); err == nil {
		p.Key = kind(public)
	} else if public, err := x509.ParsePKCS1PublicKey(key); err == nil {
		p.Key = kind(public)
	}
	return p.within(log.GetPublicKey().GetValidFor())
}

func (p Part) within(r *protocommon.TimeRange) Part {
	p.From = r.GetStart().AsTime()
	if r.GetEnd() != nil {
		p.Until = r.GetEnd().AsTime()
	}
	return p
}

// sum is over a role and some fields, each with its length before it.
func sum(role Role, fields ...[]byte) (out [sha256.Size]byte) {
	h := sha256.New()
	for _, f := range append([][]byte{[]byte(role)}, fields...) {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(f))))
		h.Write(f)
	}
	h.Sum(out[:0])
	return out
}

// kind names a key's algorithm and size.
func kind(public crypto.PublicKey) string {
	switch k := public.(type) {
	case *ecdsa.PublicKey:
		return "ECDSA " + k.Curve.Params().Name
	case ed25519.PublicKey:
		return "Ed25519"
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA %d", k.N.BitLen())
	}
	return fmt.Sprintf("%T", public)
}
