package evidence

import (
	"bytes"
	"crypto/x509"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/sigstore/sigstore-go/pkg/root"
)

// Witness is one transparency log or timestamp authority of the Root that
// vouches for a signature.
type Witness struct {
	Log    string    // the log's ID in lower-case hex; "" for a timestamp authority
	At     time.Time // by when the signature existed; zero for a log that signs no time
	Source TimeSource
}

// Witnesses are all that vouch for the signature, logs first.
func (c Claim) Witnesses() []Witness { return slices.Clone(c.witnesses) }

// Certificates are the SHA-256 digests of the certificate that signed, in DER, and
// of every certificate of the Root that may have issued it; none for a key.
func (c Claim) Certificates() []digest.Digest { return slices.Clone(c.certificates) }

// stamped adds the timestamp authorities among proved times to the logs.
func stamped(logs []Witness, proved []witnessed) []Witness {
	for _, t := range proved {
		if t.source == TimeTSA {
			logs = append(logs, Witness{At: t.at.UTC(), Source: TimeTSA})
		}
	}
	return logs
}

// fulcio are the certificates of a root's authorities.
func fulcio(m root.TrustedMaterial) (all []*x509.Certificate) {
	for _, ca := range m.FulcioCertificateAuthorities() {
		if f, ok := ca.(*root.FulcioCertificateAuthority); ok {
			all = append(append(all, f.Intermediates...), f.Root)
		}
	}
	return all
}

// issuers are the digests of a certificate and of the known authorities above it,
// found by name: an authority that shares the name of the one that issued it is
// among them, whichever of the two did.
func issuers(leaf *x509.Certificate, known []*x509.Certificate) []digest.Digest {
	all := []digest.Digest{digest.FromBytes(leaf.Raw)}
	below := []*x509.Certificate{leaf}
	for len(below) > 0 {
		child := below[0]
		below = below[1:]
		for _, above := range known {
			if above == nil || !bytes.Equal(child.RawIssuer, above.RawSubject) {
				continue
			}
			if sum := digest.FromBytes(above.Raw); !slices.Contains(all, sum) {
				all = append(all, sum)
				below = append(below, above)
			}
		}
	}
	return all
}
